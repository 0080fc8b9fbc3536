"""BaasInstance -> manifests and secret requests."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.common import API_VERSION, DeletionPolicy
from baas_operator.api.instance import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.images import Images
from baas_operator.desired.instance import names, supabase
from baas_operator.desired.instance.component import build_component
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.desired.sql_job import build_sql_job

COMPONENT = "instance"


@dataclass(frozen=True)
class InstanceFacts:
    """What the manifests depend on besides the spec. `jwks`: the public key set, None while it is not made; `bootstrap_wanted`: the
    SQL Job may run, as the database takes writes; `started`: components that may start, as what they need is there."""

    hard_spread: bool = True
    jwks: str | None = None
    bootstrap_wanted: bool = True
    started: frozenset[str] = frozenset(supabase.COMPONENTS)


def instance_secrets(spec: BaasInstanceSpec, owner: Owner) -> list[SecretRequest]:
    """Signing key, API keys, and one Secret a database role; they outlive the object unless its data goes with it."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    sql_name = names.sql_name(owner.name)
    database = names.database_name(owner.name, spec)
    host = f"{database_names.rw_service(database)}.{owner.namespace}.svc"
    signing = names.signing_key_secret(owner.name)
    return [
        SecretRequest(owner, signing, COMPONENT, recipe="signing-key", owned=owned),
        SecretRequest(
            owner, names.api_keys_secret(owner.name), COMPONENT, recipe="api-keys", source=signing, owned=owned,
            fixed={"anon": "anon", "service_role": "service_role", "issuer": supabase.ISSUER},
        ),
        password(
            owner, names.role_secret(owner.name, "authenticator"), COMPONENT, f"{sql_name}_authenticator", owned=owned,
            uri=supabase.database_uri(owner, database),
        ),
        password(
            owner, names.role_secret(owner.name, "owner"), COMPONENT, f"{sql_name}_owner", owned=owned,
            host=host, port=str(database_names.POSTGRES_PORT), dbname=sql_name,
            uri=f"postgresql://{{username}}:{{password}}@{host}:{database_names.POSTGRES_PORT}/{sql_name}"
                "?target_session_attrs=primary&connect_timeout=5&sslmode=require",
        ),
    ]  # fmt: skip


def build_instance(spec: BaasInstanceSpec, owner: Owner, images: Images, facts: InstanceFacts) -> list[Manifest]:
    """All children of a BaasInstance, in the order in which they are applied."""
    made: list[Manifest] = []
    policy = spec.deletion_policy.value
    database = names.database_name(owner.name, spec)
    if spec.database_ref is None:
        made.append(owner.child(API_VERSION, "DatabaseReplica", database, "database", spec={"deletionPolicy": policy}))
    if spec.queue_ref is None:
        queue = names.queue_name(owner.name, spec)
        made.append(owner.child(API_VERSION, "EventQueue", queue, "queue", spec={"deletionPolicy": policy}))
    if facts.bootstrap_wanted:
        by_name = {each.name: each for each in instance_secrets(spec, owner)}
        made += build_sql_job(
            owner, f"{owner.name}-bootstrap", "bootstrap", image=images.postgres,
            sql=supabase.bootstrap_sql(owner.name, spec), host=database_names.rw_service(database),
            superuser_secret=database_names.role_secret(database, database_names.SUPERUSER),
            roles={role: by_name[names.role_secret(owner.name, role)] for role in ("authenticator", "owner")},
        )  # fmt: skip
    if facts.jwks is not None:
        for component in supabase.components(owner, spec, images, supabase.SupabaseFacts(facts.jwks)):
            if component.name in facts.started:
                made += build_component(owner, component, hard_spread=facts.hard_spread)
    return made
