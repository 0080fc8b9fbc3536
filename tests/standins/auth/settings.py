"""What GoTrue's variables say (its internal/conf/configuration.go), as far as the stand-in knows them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.standins.service import flag, variable
from tests.standins.tokens import Keys, parse


@dataclass(frozen=True)
class Settings:
    """Settings; times in seconds."""

    database_url: str
    host: str
    port: int
    issuer: str
    audience: str
    group: str
    admin_roles: frozenset[str]
    token_seconds: int
    autoconfirm: bool
    signup: bool
    anonymous: bool
    password_length: int
    rotate: bool
    reuse_seconds: int
    pool: int
    keys: Keys

    @classmethod
    def of_environment(cls) -> Settings:
        """The settings of this process. Raises SystemExit, which says what is missing."""
        url = variable("GOTRUE_DB_DATABASE_URL", "DATABASE_URL")
        keys = parse(variable("GOTRUE_JWT_KEYS"))
        secret = variable("GOTRUE_JWT_SECRET")
        for name, value in {"GOTRUE_DB_DATABASE_URL": url, "GOTRUE_SITE_URL": variable("GOTRUE_SITE_URL"),
                            "API_EXTERNAL_URL": variable("API_EXTERNAL_URL"), "GOTRUE_JWT_SECRET": secret}.items():  # fmt: skip
            if not value:
                raise SystemExit(f"required key {name} missing value")
        signers = sum("sign" in each.get("key_ops", []) for each in keys)
        if keys and signers != 1:
            raise SystemExit(f'GOTRUE_JWT_KEYS has {signers} signing keys; exactly one has "sign" in its key_ops')
        methods = variable("GOTRUE_JWT_VALID_METHODS", "GOTRUE_JWT_VALIDMETHODS", default="HS256,ES256,RS256").split(",")
        return cls(
            database_url=url,
            host=variable("GOTRUE_API_HOST", default="0.0.0.0"),
            port=int(variable("GOTRUE_API_PORT", "PORT", default="8081")),
            issuer=variable("GOTRUE_JWT_ISSUER", "API_EXTERNAL_URL"),
            audience=variable("GOTRUE_JWT_AUD", default="authenticated"),
            group=variable("GOTRUE_JWT_DEFAULT_GROUP_NAME", default="authenticated"),
            admin_roles=frozenset(variable("GOTRUE_JWT_ADMIN_ROLES", default="service_role,supabase_admin").split(",")),
            token_seconds=int(variable("GOTRUE_JWT_EXP", default="3600")),
            autoconfirm=flag("GOTRUE_MAILER_AUTOCONFIRM"),
            signup=not flag("GOTRUE_DISABLE_SIGNUP"),
            anonymous=flag("GOTRUE_EXTERNAL_ANONYMOUS_USERS_ENABLED"),
            password_length=max(6, int(variable("GOTRUE_PASSWORD_MIN_LENGTH", default="6"))),
            rotate=flag("GOTRUE_SECURITY_REFRESH_TOKEN_ROTATION_ENABLED", default=True),
            reuse_seconds=int(variable("GOTRUE_SECURITY_REFRESH_TOKEN_REUSE_INTERVAL", default="0")),
            pool=int(variable("GOTRUE_DB_MAX_POOL_SIZE", default="10")),
            keys=Keys(keys, secret if not keys or "HS256" in methods else None),
        )
