"""GoTrue, storage-api, postgres-meta and functions as components. Their variables are those of their own configuration files."""

from __future__ import annotations

from baas_operator.api.instance.supabase import Auth, Functions, Meta, Storage
from baas_operator.desired import quantity
from baas_operator.desired.database import names as database_names
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import GIVE_UP_SECONDS, Component, Flow, Mount
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.gateway_pod import ISSUER
from baas_operator.desired.key_set import SIGNER_ANNOTATION
from baas_operator.desired.pods import http_probe

AUTH_PORT = 9999
STORAGE_PORT = 5000
META_PORT = 8080
FUNCTIONS_PORT = 9000
FUNCTIONS_HEALTH_PORT = 9001
FUNCTION_SECONDS = 60
"""How long one call of a function may take."""
_POOL = "10"
_METHODS = "RS256,ES256"
"""What a token may be signed with: keys that are drawn are of the first kind, older and brought ones may be of the other."""
_KEYS = "/etc/baas/keys"
_OWNER = "/etc/baas/owner"
_META = "/etc/baas/meta"
_NO_MAIL = "GOTRUE_SMTP_HOST"
_DATABASE = Flow("database", database_names.POSTGRES_PORT)


def public_url(given: Given) -> str:
    """Where clients reach the backend: its first host, or the gateway's Service."""
    hosts = given.spec.hosts
    if not hosts:
        return names.gateway_url(given.owner)
    return f"https://{hosts[0]}"


def auth(given: Given, options: Auth) -> Component:
    """GoTrue. It migrates its tables when it starts: of pods that start at once, one may lose that race; it ends, and starts again."""
    name, url = given.owner.name, public_url(given)
    said = {*options.settings, *(each.name for each in options.env)}
    mails = _NO_MAIL in said
    defaults = {
        # Without a mail server nobody could ever confirm an address.
        "GOTRUE_MAILER_AUTOCONFIRM": "false" if mails else "true",
        "GOTRUE_EXTERNAL_EMAIL_ENABLED": "true",
        "GOTRUE_SECURITY_REFRESH_TOKEN_ROTATION_ENABLED": "true",
        # A client whose answer was lost comes again with the token that it has.
        "GOTRUE_SECURITY_REFRESH_TOKEN_REUSE_INTERVAL": "10",
        "GOTRUE_DB_MAX_POOL_SIZE": _POOL,
        # Who has a connection to the pooler waits there longer than who needs one.
        "GOTRUE_DB_MAX_IDLE_POOL_SIZE": _POOL,
        # A connection to a server that is no primary any more has to end some time.
        "GOTRUE_DB_CONN_MAX_LIFETIME": "60s",
        "GOTRUE_DB_CONN_MAX_IDLE_TIME": "30s",
    }
    fixed = {
        "API_EXTERNAL_URL": f"{url}/auth/v1",
        "GOTRUE_API_HOST": "0.0.0.0",  # noqa: S104 - inside the pod
        "GOTRUE_API_PORT": str(AUTH_PORT),
        "GOTRUE_DB_DRIVER": "postgres",
        "GOTRUE_JWT_ADMIN_ROLES": "service_role",
        "GOTRUE_JWT_AUD": "authenticated",
        "GOTRUE_JWT_DEFAULT_GROUP_NAME": "authenticated",
        "GOTRUE_JWT_EXP": str(options.token_seconds),
        "GOTRUE_JWT_ISSUER": ISSUER,
        # Two spellings: which one counts depends on GoTrue's version. The secret, which GoTrue insists on, signs nothing.
        "GOTRUE_JWT_VALID_METHODS": _METHODS,
        "GOTRUE_JWT_VALIDMETHODS": _METHODS,
        "GOTRUE_SITE_URL": options.site_url or url,
    }
    signing = names.signing_key_secret(name)
    return Component(
        name="auth",
        options=options,
        image=options.image or given.images.auth,
        uid=1000,
        ports={"http": AUTH_PORT},
        headless=True,
        env={key: value for key, value in defaults.items() if key not in said} | options.settings | fixed,
        secret_env={
            "GOTRUE_DB_DATABASE_URL": (names.role_secret(name, "auth"), names.POOLER_URI if given.pooled else "uri"),
            "GOTRUE_JWT_SECRET": (names.service_secret(name, "auth"), "secret"),
            "GOTRUE_JWT_KEYS": (signing, "gotrue-keys.json"),
        },
        kids=given.signing_kids,
        annotations={SIGNER_ANNOTATION: given.signer or ""},
        rolls=(given.signer or "", *given.signing_kids),
        needs_database=True,
        flows=(_DATABASE, Flow("outside")),  # mail relays, other identity providers
        startup=http_probe("/settings", AUTH_PORT, period=2, failures=90),
        # GoTrue says only that it answers: what it does without a database the gateway sees, and takes it out.
        readiness=http_probe("/health", AUTH_PORT, period=3, failures=2),
        liveness=http_probe("/settings", AUTH_PORT, period=10, failures=6),
        cpu="50m",
        memory="64Mi",
    )


def storage(given: Given, options: Storage) -> Component:
    """storage-api, on the bucket that the user names."""
    assert options.s3 is not None
    name, s3 = given.owner.name, options.s3
    credentials = s3.credentials.secret_name
    size = str(quantity.parse_bytes(options.file_size_limit))
    return Component(
        name="storage",
        options=options,
        image=options.image or given.images.storage,
        uid=1000,
        ports={"http": STORAGE_PORT},
        headless=True,
        env={
            "SERVER_HOST": "0.0.0.0",  # noqa: S104 - inside the pod
            "SERVER_PORT": str(STORAGE_PORT),
            "TENANT_ID": name,
            "STORAGE_PUBLIC_URL": f"{public_url(given)}/storage/v1",
            "DATABASE_MAX_CONNECTIONS": _POOL,
            "DATABASE_CONNECTION_TIMEOUT": "5000" if given.pooled else "3000",
            # The bootstrap made the roles, and grants what they need.
            "DB_INSTALL_ROLES": "false",
            "DB_SUPER_USER": names.service_role(name, "storage"),
            "JWT_JWKS": given.jwks,
            "STORAGE_BACKEND": "s3",
            "STORAGE_S3_BUCKET": s3.bucket,
            "STORAGE_S3_ENDPOINT": s3.endpoint.rstrip("/"),
            "STORAGE_S3_FORCE_PATH_STYLE": "true" if s3.path_style else "false",
            "STORAGE_S3_REGION": s3.region,
            "STORAGE_S3_CLIENT_TIMEOUT": "30000",
            # Object stores other than Amazon's do not know all of the newer checksums.
            "STORAGE_S3_REQUEST_CHECKSUM_CALCULATION": "WHEN_REQUIRED",
            "STORAGE_S3_RESPONSE_CHECKSUM_VALIDATION": "WHEN_REQUIRED",
            "UPLOAD_FILE_SIZE_LIMIT": size,
            "UPLOAD_FILE_SIZE_LIMIT_STANDARD": size,
            "IMAGE_TRANSFORMATION_ENABLED": "false",
            "PG_QUEUE_ENABLE": "false",
            "LOG_LEVEL": "warn",
            # By a pooler it would otherwise connect for each request anew, however many there are at once (its source, pool.ts).
            **({"DATABASE_POOL_MODE": "recycled"} if given.pooled else {}),
        },
        secret_env={
            "DATABASE_URL": (names.role_secret(name, "storage"), "uri"),
            **({"DATABASE_POOL_URL": (names.role_secret(name, "storage"), names.POOLER_URI)} if given.pooled else {}),
            # Signs URLs of files; tokens of users are signed by the key set.
            "AUTH_JWT_SECRET": (names.service_secret(name, "storage"), "secret"),
            "AWS_ACCESS_KEY_ID": (credentials, "accessKeyId"),
            "AWS_SECRET_ACCESS_KEY": (credentials, "secretAccessKey"),
        },
        kids=given.kids,
        rolls=(given.versions.get(credentials, ""),),
        needs_database=True,
        flows=(_DATABASE, Flow("outside", s3.place[1])),
        startup=http_probe("/status", STORAGE_PORT, period=2, failures=90),
        readiness=http_probe("/health", STORAGE_PORT, period=3, failures=2, timeout=3),
        liveness=http_probe("/status", STORAGE_PORT, period=10, failures=6),
        cpu="50m",
        memory="128Mi",
    )


def meta(given: Given, options: Meta) -> Component:
    """postgres-meta, as the owner of the database and no more than that."""
    name = given.owner.name
    database = names.database_name(name, given.spec)
    return Component(
        name="meta",
        options=options,
        image=options.image or given.images.meta,
        uid=1000,
        ports={"http": META_PORT, "metrics": META_PORT + 1},
        headless=True,
        env={
            "PG_META_HOST": "0.0.0.0",  # noqa: S104 - inside the pod
            "PG_META_PORT": str(META_PORT),
            "PG_META_DB_HOST": f"{database_names.rw_service(database)}.{given.owner.namespace}.svc",
            "PG_META_DB_PORT": str(database_names.POSTGRES_PORT),
            "PG_META_DB_NAME": names.sql_name(name),
            "PG_META_DB_PASSWORD_FILE": f"{_OWNER}/password",
            "PG_META_DB_SSL_MODE": "no-verify",  # TLS, as node-postgres calls what libpq calls `require`
            "PG_CONN_TIMEOUT_SECS": "3",
            # Who knows it may have postgres-meta connect anywhere (header `pg`); its default is known to everybody.
            "CRYPTO_KEY_FILE": f"{_META}/secret",
            "PG_META_SHUTDOWN_GRACE_PERIOD_SECS": str(GIVE_UP_SECONDS),
        },
        secret_env={"PG_META_DB_USER": (names.role_secret(name, "owner"), "username")},  # it takes turns (logins.py)
        mounts=(
            Mount(_OWNER, secret=names.role_secret(name, "owner"), items={"password": "password"}),
            Mount(_META, secret=names.service_secret(name, "meta"), items={"secret": "secret"}),
        ),
        optional=True,
        flows=(_DATABASE,),
        scrape=META_PORT + 1,
        startup=http_probe("/health", META_PORT, period=2, failures=60),
        readiness=http_probe("/health", META_PORT, period=3, failures=2),
        liveness=http_probe("/health", META_PORT, period=10, failures=6),
        cpu="20m",
        memory="192Mi",
    )


def functions(given: Given, options: Functions) -> Component:
    """Functions of the user's own. The dispatcher sees a changed ConfigMap, and a changed key set, by itself."""
    name = given.owner.name
    keys = names.api_keys_secret(name)
    allowed = sorted({"SUPABASE_*", "FUNCTIONS_*", "JWKS_FILE", *(each.name for each in options.env)})
    return Component(
        name="functions",
        options=options,
        image=options.image or given.images.functions,
        uid=65532,
        ports={"http": FUNCTIONS_PORT, "health": FUNCTIONS_HEALTH_PORT},
        headless=True,
        args=(f"--allow-env={','.join(allowed)}", "/app/main.ts"),
        env={
            "FUNCTIONS_PORT": str(FUNCTIONS_PORT),
            "FUNCTIONS_HEALTH_PORT": str(FUNCTIONS_HEALTH_PORT),
            "FUNCTIONS_TIMEOUT_SECONDS": str(FUNCTION_SECONDS),
            "FUNCTIONS_DRAIN_SECONDS": str(GIVE_UP_SECONDS),
            "JWKS_FILE": f"{_KEYS}/jwks.json",
            "SUPABASE_URL": names.gateway_url(given.owner),
        },
        secret_env={"SUPABASE_ANON_KEY": (keys, "anon"), "SUPABASE_SERVICE_ROLE_KEY": (keys, "service_role")},
        mounts=(Mount("/functions", config_map=options.config_map),) if options.config_map else (),
        config={"jwks.json": given.jwks},
        config_mount=_KEYS,
        hot=True,
        kids=given.kids,
        rolls=(given.versions.get(keys, ""),),
        flows=(Flow("gateway", names.GATEWAY_PORT), Flow("outside")),
        scrape=FUNCTIONS_HEALTH_PORT,
        startup=http_probe("/live", FUNCTIONS_HEALTH_PORT, period=1, failures=60),
        readiness=http_probe("/health", FUNCTIONS_HEALTH_PORT, period=3, failures=2),
        liveness=http_probe("/live", FUNCTIONS_HEALTH_PORT, period=10, failures=6),
        cpu="50m",
        memory="128Mi",
    )
