"""The supabase engine: which components there are and how each is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.instance.supabase import Auth, Functions, Meta, Reads, Rest, Storage
from baas_operator.desired import quantity
from baas_operator.desired.database import names as database_names
from baas_operator.desired.instance import names
from baas_operator.desired.instance import supabase_services as services
from baas_operator.desired.instance.component import DRAIN_SECONDS, Beside, Component, Flow, Mount
from baas_operator.desired.instance.engine import Bootstrap, EngineDefinition, Given
from baas_operator.desired.instance.gateway.model import WAIT_SECONDS, Route, Upstream
from baas_operator.desired.instance.logins import RoleLogin, role_password
from baas_operator.desired.instance.probes import READS, SCHEMA_ANNOTATION, probe_schemas
from baas_operator.desired.meta import Owner
from baas_operator.desired.pods import http_probe
from baas_operator.desired.secrets import SecretRequest
from baas_operator.desired.text import render

_REST_ADMIN_PORT = 3001
_CHECK_PORT = 3002
_CHECK_ADMIN_PORT = 3003
_REST_POOL = 10
_MOST_DRAIN_SECONDS = 60
"""Longer than that no pod stays for one statement, whatever statements may take."""
_KEYS = "/etc/baas/keys"
_DATABASE = "/etc/baas/database"
_FORM_BYTES = 1024 * 1024
"""What a form may have around the file in it."""
_FILE_SECONDS = 300
_OPEN_AUTH = ("/verify", "/callback", "/authorize", "/sso/saml/acs", "/sso/saml/metadata", "/.well-known/jwks.json")
_OPEN_STORAGE = ("/object/public/", "/object/sign/", "/object/upload/sign/")


@dataclass(frozen=True)
class _Parts:
    """What there is beside the data API; None is not there."""

    reads: Reads | None
    auth: Auth | None
    storage: Storage | None
    meta: Meta | None
    functions: Functions | None

    @classmethod
    def of(cls, spec: BaasInstanceSpec) -> _Parts:
        said = spec.components
        reads, auth, storage = said.reads or Reads(), said.auth or Auth(), said.storage or Storage()
        meta, functions = said.meta or Meta(), said.functions or Functions()
        return cls(
            reads if reads.enabled else None,
            auth if auth.enabled else None,
            storage if storage.s3 else None,
            meta if meta.enabled else None,
            functions if functions.config_map or functions.image else None,
        )


def _components(given: Given) -> list[Component]:
    there = _Parts.of(given.spec)
    made = [_postgrest(given, "rest", given.spec.components.rest or Rest(), "uri")]
    if there.reads:
        made.append(_postgrest(given, READS, there.reads, "standby-uri"))
    if there.auth:
        made.append(services.auth(given, there.auth))
    if there.storage:
        made.append(services.storage(given, there.storage))
    if there.meta:
        made.append(services.meta(given, there.meta))
    if there.functions:
        made.append(services.functions(given, there.functions))
    return made


def _postgrest(given: Given, name: str, options: Rest | Reads, uri: str) -> Component:
    """PostgREST: `rest` on the primary, `reads` on standbys (and on the primary where there is no standby)."""
    rest = given.spec.components.rest or Rest()
    writes = name == "rest"
    image = options.image or rest.image or given.images.postgrest
    env = {
        "PGRST_DB_URI": f"@{_DATABASE}/{uri}",
        "PGRST_DB_SCHEMAS": ",".join([*rest.schemas, *probe_schemas(given.spec)]),
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_POOL": str(_REST_POOL),
        "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "5",
        "PGRST_DB_POOL_MAX_IDLETIME": "30",
        # Sessions at a standby that was promoted stay there: until they end, the loss of the primary would take reads along.
        "PGRST_DB_POOL_MAX_LIFETIME": "1800" if writes else "60",
        "PGRST_DB_MAX_ROWS": str(rest.max_rows),
        # A standby takes no LISTEN (PostgreSQL manual, "Hot Standby"): there a change of the schema is seen when a pod starts, so pods are
        # rolled for one (policy/standby_schema.py).
        "PGRST_DB_CHANNEL_ENABLED": "true" if writes else "false",
        "PGRST_JWT_SECRET": f"@{_KEYS}/jwks.json",
        "PGRST_SERVER_PORT": str(names.REST_PORT),
        "PGRST_SERVER_HOST": "*4",
        "PGRST_ADMIN_SERVER_PORT": str(_REST_ADMIN_PORT),
        "PGRST_LOG_LEVEL": "warn",
    }
    return Component(
        name=name,
        options=options,
        image=image,
        uid=1000,
        ports={"http": names.REST_PORT, "admin": _REST_ADMIN_PORT},
        headless=True,  # the gateway balances over the pods itself, and checks each
        env=env,
        beside=(_check(image, env),) if writes else (),
        mounts=(Mount(_DATABASE, secret=names.role_secret(given.owner.name, "authenticator"), items={uri: uri}),),
        config={"jwks.json": given.jwks},
        config_mount=_KEYS,
        kids=given.kids,
        needs_database=True,
        optional=not writes,
        flows=(Flow("database", database_names.POSTGRES_PORT),),
        startup=http_probe("/live", _REST_ADMIN_PORT, period=2, failures=60),
        readiness=http_probe("/ready", _REST_ADMIN_PORT, period=3, failures=5),
        # /live says that the process answers; it never depends on the database.
        liveness=http_probe("/live", _REST_ADMIN_PORT, period=10, failures=8),
        cpu="50m" if writes else "20m",
        memory="64Mi",
        # PostgREST 12 ends on the spot when it is told to, with what it has under way. So it is told later than that can take.
        drain_seconds=DRAIN_SECONDS + min(rest.statement_seconds, _MOST_DRAIN_SECONDS),
        annotations={SCHEMA_ANNOTATION: given.standby_schema} if given.standby_schema and not writes else {},
    )


def _check(image: str, env: dict[str, str]) -> Beside:
    """Another PostgREST, which nobody asks for data: its /ready asks the database each time, over connections of its own to a server that
    takes writes. That of one which listens for changes of the schema tells of the listener's connection alone, which a frozen server keeps,
    and a busy pool would be taken for a dead database."""
    own = {
        "PGRST_DB_POOL": "2",
        "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "1",
        "PGRST_DB_CHANNEL_ENABLED": "false",
        "PGRST_SERVER_PORT": str(_CHECK_PORT),
        "PGRST_ADMIN_SERVER_PORT": str(_CHECK_ADMIN_PORT),
    }
    return Beside(
        name="check",
        image=image,
        env=env | own,
        ports={"check": _CHECK_ADMIN_PORT},
        startup=http_probe("/live", _CHECK_ADMIN_PORT, period=2, failures=60),
        # Slow to say no: the gateway finds out sooner by itself, and a pod that is out of DNS is not taken in again as soon as it may be.
        readiness=http_probe("/ready", _CHECK_ADMIN_PORT, period=3, failures=5),
        liveness=http_probe("/live", _CHECK_ADMIN_PORT, period=10, failures=8),
        cpu="10m",
        memory="32Mi",
    )


def _upstreams(given: Given) -> list[Upstream]:
    there = _Parts.of(given.spec)
    made = [
        _upstream(
            given,
            "rest",
            names.REST_PORT,
            _CHECK_ADMIN_PORT,
            "/ready",
            fallback=READS if there.reads else None,
            priority=0,
            postgrest=True,
            waits=True,
        )
    ]
    if there.reads:
        made.append(_upstream(given, READS, names.REST_PORT, _REST_ADMIN_PORT, "/ready", priority=0, postgrest=True))
    if there.auth:
        made.append(_upstream(given, "auth", services.AUTH_PORT, services.AUTH_PORT, "/health", priority=0, waits=True))
    if there.storage:
        made.append(_upstream(given, "storage", services.STORAGE_PORT, services.STORAGE_PORT, "/health", priority=1, waits=True))
    if there.functions:
        made.append(_upstream(given, "functions", services.FUNCTIONS_PORT, services.FUNCTIONS_HEALTH_PORT, "/health", priority=2))
    if there.meta:
        made.append(_upstream(given, "meta", services.META_PORT, services.META_PORT, "/health", priority=3))
    return made


def _upstream(
    given: Given, name: str, port: int, health_port: int, path: str, *,
    fallback: str | None = None, priority: int, postgrest: bool = False, waits: bool = False,
) -> Upstream:  # fmt: skip
    host = f"{given.owner.name}-{name}.{given.owner.namespace}.svc"
    return Upstream(name, host, port, health_port, path, fallback, priority, postgrest, waits)


def _routes(given: Given) -> list[Route]:
    """Of two that fit, the first counts. Ways without a key are those that people follow out of a mail, another site or a page: what they
    show instead is looked at behind the gateway."""
    there = _Parts.of(given.spec)
    statement = (given.spec.components.rest or Rest()).statement_seconds
    # A read may be sent twice, and a write wait before it runs.
    made = [Route("/rest/v1/", "rest", "api-key", timeout_seconds=2 * statement + WAIT_SECONDS, read_try_seconds=statement + 0.5)]
    if there.auth:
        made += [Route(f"/auth/v1{path}", "auth", "public", rewrite=path) for path in _OPEN_AUTH]
        made.append(Route("/auth/v1/admin/", "auth", "service-key", rewrite="/admin/"))
        made.append(Route("/auth/v1/", "auth", "api-key"))
    if there.storage:
        body = quantity.parse_bytes(there.storage.file_size_limit) + _FORM_BYTES
        made += [
            Route(f"/storage/v1{path}", "storage", "public", rewrite=path, timeout_seconds=_FILE_SECONDS, body_bytes=body)
            for path in _OPEN_STORAGE
        ]
        made.append(Route("/storage/v1/", "storage", "api-key", timeout_seconds=_FILE_SECONDS, body_bytes=body))
    if there.functions:
        seconds = services.FUNCTION_SECONDS + 5  # the dispatcher gives up first, and says why
        made.append(Route("/functions/v1/", "functions", "api-key", timeout_seconds=seconds, idempotent_reads=False))
    if there.meta:
        made.append(Route("/pg/", "meta", "service-key", timeout_seconds=60))
    return made


def _secrets(spec: BaasInstanceSpec, owner: Owner) -> list[SecretRequest]:
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    there = _Parts.of(spec)
    database = names.database_name(owner.name, spec)
    rw = database_names.rw_service(database)
    made = [
        role_password(
            owner, "authenticator", owned=owned, uri=_uri(owner, (rw,), "primary"),
            # The primary, too, for where there is no standby.
            extra={"standby-uri": _uri(owner, (database_names.ro_service(database), rw), "prefer-standby")},
        ),
    ]  # fmt: skip
    # GoTrue and storage-api can not tell what came to nothing, so nobody asks them again: where there is a pooler, it is asked for a
    # connection, and while the primary moves it lets them wait.
    pooler = database_names.pooler_service(database)
    if there.auth:
        # pgx and asyncpg know this much of libpq's options. A login at the pooler waits for the next primary, too.
        options = "?sslmode=require&application_name=auth"
        made.append(role_password(
            owner, "auth", owned=owned, uri=f"{_plain_uri(owner, rw)}{options}&connect_timeout=3&target_session_attrs=primary",
            extra={names.POOLER_URI: f"{_plain_uri(owner, pooler)}{options}&connect_timeout=5"},
        ))  # fmt: skip
    if there.storage:
        # node-postgres takes `require` for a check of the certificate, and names what libpq means by it `no-verify`.
        options = "?sslmode=no-verify&application_name=storage"
        made.append(role_password(
            owner, "storage", owned=owned, uri=_plain_uri(owner, rw) + options,
            extra={names.POOLER_URI: _plain_uri(owner, pooler) + options},
        ))  # fmt: skip
    for name, part in {"auth": there.auth, "storage": there.storage, "meta": there.meta}.items():
        if part:
            made.append(SecretRequest(owner, names.service_secret(owner.name, name), names.SECRETS, random=("secret",), owned=owned))
    return made


def _plain_uri(owner: Owner, *hosts: str) -> str:
    places = ",".join(f"{each}.{owner.namespace}.svc:{database_names.POSTGRES_PORT}" for each in hosts)
    return f"postgresql://{{username}}:{{password}}@{places}/{names.sql_name(owner.name)}"


def _uri(owner: Owner, hosts: tuple[str, ...], sessions: str) -> str:
    """Connection URI of the authenticator, with `{username}` and `{password}` still to be filled in.

    tcp_user_timeout and keepalives end a connection to a server that lost power within seconds, also one that is being made (libpq,
    "Connection parameters"; Linux, tcp(7)). A server that is merely busy has longer: whenever a connection can not be had, PostgREST throws
    away those that it has and reads its schema cache anew (its issue 3175 and pull request 4645), so who gives up early brings more of what
    it gave up for.
    """
    return (
        f"{_plain_uri(owner, *hosts)}?sslmode=require&target_session_attrs={sessions}&connect_timeout=5&tcp_user_timeout=3000"
        "&keepalives_idle=3&keepalives_interval=1&keepalives_count=3&application_name=postgrest"
    )


def _bootstrap(spec: BaasInstanceSpec, owner: Owner, logins: Mapping[str, RoleLogin]) -> Bootstrap:
    there = _Parts.of(spec)
    roles = [*(role for role in ("auth", "storage") if getattr(there, role)), "owner"]
    sql = render(
        "supabase.sql.j2",
        database=names.sql_name(owner.name),
        owner=logins["owner"].role,
        authenticator=logins["authenticator"].role,
        auth_admin=logins["auth"].role,
        storage_admin=logins["storage"].role,
        logins=logins,
        others=roles,
        schemas=(spec.components.rest or Rest()).schemas,
        statement_seconds=(spec.components.rest or Rest()).statement_seconds,
    )
    return Bootstrap.of(sql, ("authenticator", *roles), logins)


SUPABASE = EngineDefinition(_components, _upstreams, _routes, _secrets, _bootstrap)
