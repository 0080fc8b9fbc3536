"""DatabaseReplica -> manifests and secret requests."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import RESERVED_ROLES, DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.database.access import build_access
from baas_operator.desired.database.certificates import build_ca_bundle
from baas_operator.desired.database.members import build_members
from baas_operator.desired.database.monitoring import exporter_sql
from baas_operator.desired.database.patroni import config_file
from baas_operator.desired.database.pooler import build_pooler, pooler_secret
from baas_operator.desired.database.routing import Endpoint, build_routing
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import disruption_budget
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.desired.sql_job import build_sql_job
from baas_operator.desired.text import render


@dataclass(frozen=True)
class DatabaseFacts:
    """What the manifests depend on besides the spec.

    `databases_wanted`: the SQL Job may run, as there is a primary. `members_per_zone`: what to expect before any pod has a place. `ca`:
    the authority's certificate (PEM), None while it is not drawn.
    """

    hard_spread: bool = True
    pooler_hard_spread: bool = True
    slice_now: Manifest | None = None
    leader: Endpoint | None = None
    databases_wanted: bool = True
    members_per_zone: int = 1
    ca: str | None = None


def database_secrets(spec: DatabaseReplicaSpec, owner: Owner) -> list[SecretRequest]:
    """One Secret a role that has a password: the replicator has a certificate instead.

    They outlive the object unless its data goes with it: without them retained data has no key.
    """
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    made = [
        password(owner, names.role_secret(owner.name, role), names.COMPONENT, role, owned=owned)
        for role in (names.SUPERUSER, names.REWIND, "patroni")
    ]
    made.append(pooler_secret(owner, owned=owned))
    host = f"{names.rw_service(owner.name)}.{owner.namespace}.svc"
    pooler = f"{names.pooler_service(owner.name)}.{owner.namespace}.svc"
    by_role: dict[str, str] = {}
    for database, role in names.database_owners(spec).items():
        by_role.setdefault(role, database)
    for role, database in sorted(by_role.items()):
        made.append(
            password(
                owner, names.role_secret(owner.name, role), names.COMPONENT, role, owned=owned,
                host=host, port=str(names.POSTGRES_PORT), dbname=database,
                uri=f"postgresql://{{username}}:{{password}}@{host}:{names.POSTGRES_PORT}/{database}?sslmode=require",
                extra={
                    "pooler_host": pooler,
                    "pooler_uri": f"postgresql://{{username}}:{{password}}@{pooler}:{names.POSTGRES_PORT}/{database}?sslmode=require",
                } if spec.pooler.replicas else None,
            )
        )  # fmt: skip
    return made


def _databases_job(spec: DatabaseReplicaSpec, owner: Owner, image: str) -> list[Manifest]:
    owners = names.database_owners(spec)
    if not names.runs_sql(spec):
        return []
    roles = sorted(set(owners.values()))
    folders = {role: role.replace("_", "-") for role in roles}
    sql = render(
        "databases.sql.j2",
        roles=[{"name": role, "file": folders[role]} for role in roles],
        databases=[{"name": name, "owner": role} for name, role in sorted(owners.items())],
        pooler=names.POOLER if spec.pooler.replicas else None,
        not_through_pooler=sorted(RESERVED_ROLES),
    )
    if spec.monitoring.enabled:
        sql += exporter_sql()
    if spec.pooler.replicas:
        folders[names.POOLER] = names.POOLER
    return build_sql_job(
        owner, f"{owner.name}-databases", "databases", image=image, sql=sql, host=names.rw_service(owner.name),
        superuser_secret=names.role_secret(owner.name, names.SUPERUSER),
        roles={folders[each.fixed["username"]]: each for each in database_secrets(spec, owner)
               if each.fixed["username"] in folders},
    )  # fmt: skip


def build_database(spec: DatabaseReplicaSpec, owner: Owner, images: Images, facts: DatabaseFacts) -> list[Manifest]:
    """All children of a DatabaseReplica, in the order in which they are applied."""
    text = config_file(spec, owner, members_per_zone=facts.members_per_zone)
    made = [
        *build_access(owner),
        owner.child("v1", "ConfigMap", f"{owner.name}-patroni", names.COMPONENT, data={"patroni.yml": text}),
        *build_ca_bundle(owner, facts.ca),
        *build_routing(owner, current=facts.slice_now, leader=facts.leader),
        disruption_budget(owner, owner.name, names.COMPONENT),
        build_members(spec, owner, images, config_text=_static_part(text), hard_spread=facts.hard_spread),
    ]
    made += build_pooler(spec, owner, images, hard_spread=facts.pooler_hard_spread)
    if facts.databases_wanted:
        made += _databases_job(spec, owner, spec.image or images.postgres)
    return made


def _static_part(text: str) -> str:
    """Patroni's file without its `bootstrap` section: that one is read once in a cluster's life, so it rolls no pod."""
    before, _, rest = text.partition("bootstrap:\n")
    return before + rest.partition("postgresql:\n")[2]
