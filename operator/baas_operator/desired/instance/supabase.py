"""The supabase engine: which components there are and how each is run. For now Envoy and PostgREST."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.instance import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.images import Images
from baas_operator.desired.instance import envoy, names
from baas_operator.desired.instance.component import Component
from baas_operator.desired.meta import Owner
from baas_operator.desired.pods import http_probe
from baas_operator.desired.text import render

COMPONENTS = ("gateway", "rest")
NEEDS_DATABASE = frozenset({"rest"})
"""Components that end, or answer no probe, when they start before their database and role are there."""
ISSUER = "baas-operator"
_REST_PORT = 3000
_REST_ADMIN_PORT = 3001
_REST_POOL = 10


@dataclass(frozen=True)
class SupabaseFacts:
    """What the components need to know: the public key set, as JSON."""

    jwks: str


def bootstrap_sql(instance: str, spec: BaasInstanceSpec) -> str:
    """SQL that makes the instance's database, roles and helper functions."""
    name = names.sql_name(instance)
    return render(
        "supabase.sql.j2",
        database=name,
        owner=f"{name}_owner",
        authenticator=f"{name}_authenticator",
        schemas=spec.components.rest.schemas,
    )


def _rest(owner: Owner, spec: BaasInstanceSpec, images: Images, facts: SupabaseFacts) -> Component:
    rest = spec.components.rest
    return Component(
        name="rest",
        image=rest.image or images.postgrest,
        uid=1000,
        replicas=rest.replicas,
        resources=rest.resources,
        ports={"http": _REST_PORT, "admin": _REST_ADMIN_PORT},
        headless=True,  # the gateway balances over the pods itself, and checks each
        env={
            "PGRST_DB_URI": "@/etc/baas/database/uri",
            "PGRST_DB_SCHEMAS": ",".join(rest.schemas),
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_POOL": str(_REST_POOL),
            "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "5",
            "PGRST_DB_POOL_MAX_IDLETIME": "30",
            "PGRST_DB_MAX_ROWS": str(rest.max_rows),
            "PGRST_JWT_SECRET": "@/etc/baas/jwks/jwks.json",
            "PGRST_SERVER_PORT": str(_REST_PORT),
            "PGRST_SERVER_HOST": "*4",
            "PGRST_ADMIN_SERVER_PORT": str(_REST_ADMIN_PORT),
            "PGRST_LOG_LEVEL": "warn",
        },
        secrets={"/etc/baas/database": names.role_secret(owner.name, "authenticator")},
        config={"jwks.json": facts.jwks},
        config_mount="/etc/baas/jwks",
        startup=http_probe("/live", _REST_ADMIN_PORT, period=2, failures=60),
        # /ready looks at the pool's connection and the schema cache; the connection is to a server that takes writes, as the URI
        # asks for target_session_attrs=primary.
        readiness=http_probe("/ready", _REST_ADMIN_PORT, period=3, failures=2),
        # /live says that the process answers; it never depends on the database.
        liveness=http_probe("/live", _REST_ADMIN_PORT, period=10, failures=6),
        cpu="50m",
        memory="64Mi",
    )


def _gateway(owner: Owner, spec: BaasInstanceSpec, images: Images, facts: SupabaseFacts) -> Component:
    gateway = spec.components.gateway
    config = envoy.envoy_config(
        rest_host=f"{owner.name}-rest.{owner.namespace}.svc",
        rest_port=_REST_PORT,
        rest_admin_port=_REST_ADMIN_PORT,
        issuer=ISSUER,
    )
    return Component(
        name="gateway",
        image=gateway.image or images.envoy,
        uid=101,
        replicas=gateway.replicas,
        resources=gateway.resources,
        ports={"http": names.GATEWAY_PORT, "health": envoy.HEALTH_PORT},
        command=("envoy",),
        args=("--config-path", f"{envoy.CONFIG_MOUNT}/envoy.yaml", "--concurrency", "1", "--log-level", "warning"),
        config={"envoy.yaml": config, "jwks.json": facts.jwks},
        config_mount=envoy.CONFIG_MOUNT,
        startup=http_probe(envoy.STARTED_PATH, envoy.HEALTH_PORT, period=1, failures=3600),
        readiness=http_probe("/ready", envoy.HEALTH_PORT, period=3, failures=2),
        liveness=http_probe("/ready", envoy.HEALTH_PORT, period=10, failures=6),
        service_type=gateway.service.type.value,
        node_port=gateway.service.node_port,
        cpu="50m",
        memory="64Mi",
    )


def components(owner: Owner, spec: BaasInstanceSpec, images: Images, facts: SupabaseFacts) -> list[Component]:
    """The components of the engine, the gateway last: it leads nowhere before the others are there."""
    return [_rest(owner, spec, images, facts), _gateway(owner, spec, images, facts)]


def database_uri(owner: Owner, database: str) -> str:
    """Connection URI of the authenticator, with `{username}` and `{password}` still to be filled in.

    tcp_user_timeout and keepalives end a connection to a server that lost power within seconds (libpq, "Connection parameters").
    """
    host = f"{database_names.rw_service(database)}.{owner.namespace}.svc"
    return (
        f"postgresql://{{username}}:{{password}}@{host}:{database_names.POSTGRES_PORT}/{names.sql_name(owner.name)}"
        "?sslmode=require&target_session_attrs=primary&connect_timeout=2&tcp_user_timeout=3000"
        "&keepalives_idle=3&keepalives_interval=1&keepalives_count=3&application_name=postgrest"
    )
