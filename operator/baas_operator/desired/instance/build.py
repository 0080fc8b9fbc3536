"""BaasInstance -> manifests and secret requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.group import API_VERSION
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.images import Images
from baas_operator.desired.instance import isolation, names
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.engines import ENGINES, blueprint
from baas_operator.desired.instance.exposure import exposure_manifests
from baas_operator.desired.instance.gateway_pod import ISSUER
from baas_operator.desired.instance.isolation import Party, isolation_manifests
from baas_operator.desired.instance.keys import key_secrets
from baas_operator.desired.instance.logins import RoleLogin, role_password
from baas_operator.desired.instance.manifests import build_component
from baas_operator.desired.instance.monitoring import monitoring_manifests
from baas_operator.desired.instance.probes import probe_secrets, probe_sql
from baas_operator.desired.instance.programs import ProgramFacts, build_programs, program_flows
from baas_operator.desired.meta import OPERATOR_NAMESPACE, Manifest, Owner
from baas_operator.desired.secrets import SecretRequest
from baas_operator.desired.sql_job import build_sql_job


@dataclass(frozen=True)
class InstanceFacts:
    """What the manifests depend on besides the spec.

    `jwks`: the public key set, None while it is not made; `kids`, `signing_kids`, `signer`, `versions`, `standby_schema`, `logins`,
    `pooled`, `https`: see engine.py; `bootstrap_wanted`: the SQL Job may run, as the database takes writes; `started`: components that may
    start, as what they need is there, None for all; `replicas`: pods of those that something else scales, by component; `kinds`: those of
    others that the cluster has (api/kinds.py, OPTIONAL_KINDS); `programs`: of workers and jobs; `passwords`: the digest of those that the
    bootstrap sets (see sql_job.py), empty while not all of them are there; `database_uid`: of the DatabaseReplica that is bootstrapped;
    `bootstrap_where`: see sql_job.py.
    """

    hard_spread: bool = True
    jwks: str | None = None
    kids: tuple[str, ...] = ()
    bootstrap_wanted: bool = True
    started: frozenset[str] | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)
    operator_namespace: str = OPERATOR_NAMESPACE
    monitoring_namespace: str = ""
    monitoring_labels: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    programs: ProgramFacts = field(default_factory=ProgramFacts)
    signing_kids: tuple[str, ...] = ()
    signer: str | None = None
    standby_schema: str | None = None
    logins: Mapping[str, RoleLogin] = field(default_factory=dict)
    pooled: bool = True
    https: bool = True
    passwords: str = ""
    database_uid: str = ""
    bootstrap_where: Mapping[str, Any] = field(default_factory=dict)


def instance_secrets(spec: BaasInstanceSpec, owner: Owner) -> list[SecretRequest]:
    """Signing key, API keys, and one Secret a database role; they outlive the object unless its data goes with it."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    sql_name = names.sql_name(owner.name)
    host = f"{database_names.rw_service(names.database_name(owner.name, spec))}.{owner.namespace}.svc"
    return [
        *key_secrets(owner, names.SECRETS, issuer=ISSUER, owned=owned),
        role_password(
            owner, "owner", owned=owned,
            host=host, port=str(database_names.POSTGRES_PORT), dbname=sql_name,
            uri=f"postgresql://{{username}}:{{password}}@{host}:{database_names.POSTGRES_PORT}/{sql_name}"
                "?target_session_attrs=primary&connect_timeout=5&sslmode=require",
        ),
        *ENGINES[spec.engine].secrets(spec, owner),
        *probe_secrets(spec, owner),
    ]  # fmt: skip


def components(spec: BaasInstanceSpec, owner: Owner, images: Images, facts: InstanceFacts) -> list[Component]:
    """The components that the backend has, whether they may start or not."""
    given = Given(
        owner, spec, images, facts.jwks or "", facts.kids, facts.versions, facts.signing_kids, facts.signer,
        gateways=facts.replicas.get("gateway"), standby_schema=facts.standby_schema, logins=facts.logins, pooled=facts.pooled,
        https=facts.https,
    )  # fmt: skip
    return blueprint(given)


def build_instance(
    spec: BaasInstanceSpec, owner: Owner, images: Images, facts: InstanceFacts, parts: Sequence[Component] | None = None
) -> list[Manifest]:
    """All children of a BaasInstance, in the order in which they are applied. `parts`: what `components` says of the same, from who has
    asked already."""
    made: list[Manifest] = []
    policy = spec.deletion_policy.value
    database = names.database_name(owner.name, spec)
    if spec.database_ref is None:
        made.append(owner.child(API_VERSION, "DatabaseReplica", database, "database", spec={"deletionPolicy": policy}))
    if spec.queue_ref is None:
        queue = names.queue_name(owner.name, spec)
        streams = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in spec.streams]
        declared = {"streams": streams} if streams else {}  # without any, they are whoever's who writes them there
        made.append(owner.child(API_VERSION, "EventQueue", queue, "queue", spec={"deletionPolicy": policy} | declared))
    parts = components(spec, owner, images, facts) if parts is None else parts
    made += isolation_manifests(
        spec, owner, parts, [isolation.BOOTSTRAP, *(Party(each, flows) for each, flows in program_flows(spec).items())],
        operator_namespace=facts.operator_namespace, monitoring_namespace=facts.monitoring_namespace,
    )  # fmt: skip
    if facts.bootstrap_wanted:
        by_name = {each.name: each for each in instance_secrets(spec, owner)}
        wanted = ENGINES[spec.engine].bootstrap(spec, owner, facts.logins)
        made += build_sql_job(
            owner, f"{owner.name}-bootstrap", "bootstrap", image=images.postgres,
            sql=wanted.sql + probe_sql(spec, owner), host=database_names.rw_service(database),
            superuser_secret=database_names.role_secret(database, database_names.SUPERUSER),
            roles={folder: by_name[names.role_secret(owner.name, who)] for folder, (who, _) in wanted.files.items()},
            keys={folder: key for folder, (_, key) in wanted.files.items() if key != "password"}, passwords=facts.passwords,
            database_uid=facts.database_uid, where=facts.bootstrap_where,
        )  # fmt: skip
    if facts.jwks is not None:
        for component in parts:
            if facts.started is None or component.name in facts.started:
                made += build_component(owner, component, hard_spread=facts.hard_spread, replicas=wanted_replicas(spec, component, facts))
        made += build_programs(owner, spec, ENGINES[spec.engine].program_keys(owner), facts.programs, login=facts.logins.get("owner"))
    made += exposure_manifests(spec, owner, kinds=facts.kinds)
    return made + monitoring_manifests(owner, parts, kinds=facts.kinds, labels=facts.monitoring_labels)


def wanted_replicas(spec: BaasInstanceSpec, component: Component, facts: InstanceFacts) -> int:
    """Pods of a component: none while the backend hibernates, and as many as there are where an autoscaler says so."""
    if spec.hibernate:
        return 0
    scaling = component.options.autoscaling
    if scaling is None:
        return component.options.replicas
    there = facts.replicas.get(component.name, component.options.replicas) or component.options.replicas
    return min(max(there, scaling.min_replicas), scaling.max_replicas)
