"""DatabaseReplica -> manifests and secret requests."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.database.access import build_access
from baas_operator.desired.database.certificates import build_ca_bundle
from baas_operator.desired.database.declared import build_declared, role_secrets
from baas_operator.desired.database.members import build_members
from baas_operator.desired.database.network import build_network
from baas_operator.desired.database.patroni import config_file, files
from baas_operator.desired.database.pooler import build_pooler, pooler_secret
from baas_operator.desired.database.routing import Endpoint, build_routing
from baas_operator.desired.images import Images
from baas_operator.desired.meta import OPERATOR_NAMESPACE, Manifest, Owner
from baas_operator.desired.pods import disruption_budget
from baas_operator.desired.secrets import SecretRequest, password


@dataclass(frozen=True)
class DatabaseFacts:
    """What the manifests depend on besides the spec.

    `databases_wanted`: the SQL Job may run, as there is a primary. `members_per_zone`: what to expect before any pod has a place. `ca`:
    the authority's certificate (PEM), None while it is not drawn. `operator_namespace`: whose pods may ask the members to move.
    `monitoring_namespace`: whose pods may ask Patroni for its metrics, empty for nobody's. `passwords`: the `digest` of those that the
    SQL Job sets. `gone`: addresses in the slice that no member has any more.
    """

    hard_spread: bool = True
    pooler_hard_spread: bool = True
    slice_now: Manifest | None = None
    gone: frozenset[str] = frozenset()
    leader: Endpoint | None = None
    databases_wanted: bool = True
    members_per_zone: int = 1
    ca: str | None = None
    operator_namespace: str = OPERATOR_NAMESPACE
    monitoring_namespace: str = ""
    passwords: str = ""


def database_secrets(spec: DatabaseReplicaSpec, owner: Owner) -> list[SecretRequest]:
    """One Secret a role that has a password: the replicator has a certificate instead.

    They outlive the object unless its data goes with it: without them retained data has no key.
    """
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    made = [
        password(
            owner, names.role_secret(owner.name, role), names.COMPONENT, role, owned=owned, rotates=role == names.SUPERUSER,
            remembers=role == names.SUPERUSER,
        )
        for role in (names.SUPERUSER, names.REWIND, "patroni")
    ]  # fmt: skip
    made.append(pooler_secret(owner, owned=owned))
    return [*made, *role_secrets(spec, owner)]


def build_database(spec: DatabaseReplicaSpec, owner: Owner, images: Images, facts: DatabaseFacts) -> list[Manifest]:
    """All children of a DatabaseReplica, in the order in which they are applied."""
    text = config_file(spec, owner, members_per_zone=facts.members_per_zone)
    made = [
        *build_access(owner),
        owner.child("v1", "ConfigMap", f"{owner.name}-patroni", names.COMPONENT, data=files(text)),
        *build_ca_bundle(owner, facts.ca),
        *build_network(spec, owner, operator_namespace=facts.operator_namespace, monitoring_namespace=facts.monitoring_namespace),
        *build_routing(owner, current=facts.slice_now, leader=facts.leader, gone=facts.gone),
        disruption_budget(owner, owner.name, names.COMPONENT),
        build_members(spec, owner, images, config_text=_static_part(text), hard_spread=facts.hard_spread),
    ]
    made += build_pooler(spec, owner, images, hard_spread=facts.pooler_hard_spread)
    if facts.databases_wanted:
        made += build_declared(spec, owner, spec.image or images.postgres, passwords=facts.passwords)
    return made


def _static_part(text: str) -> str:
    """Patroni's file without its `bootstrap` section: that one is read once in a cluster's life, so it rolls no pod."""
    before, _, rest = text.partition("bootstrap:\n")
    return before + rest.partition("postgresql:\n")[2]
