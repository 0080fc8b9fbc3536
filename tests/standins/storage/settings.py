"""What storage-api's variables say (its src/config.ts), as far as the stand-in knows them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.standins.service import flag, variable
from tests.standins.tokens import Keys, parse


@dataclass(frozen=True)
class Settings:
    """Settings; sizes in bytes."""

    database_url: str
    host: str
    port: int
    tenant: str
    bucket: str
    endpoint: str
    region: str
    path_style: bool
    access_key: str
    secret_key: str
    file_bytes: int
    anon_role: str
    service_role: str
    pool: int
    keys: Keys
    url_keys: Keys

    @classmethod
    def of_environment(cls) -> Settings:
        """The settings of this process. Raises SystemExit, which says what is missing."""
        secret = variable("AUTH_JWT_SECRET", "PGRST_JWT_SECRET")
        keys = parse(variable("JWT_JWKS"))
        needed = {
            # storage-api makes its tables by the second one in any case.
            "DATABASE_URL": variable("DATABASE_POOL_URL", "DATABASE_URL"), "AUTH_JWT_SECRET": secret,
            "STORAGE_S3_BUCKET": variable("STORAGE_S3_BUCKET", "GLOBAL_S3_BUCKET"),
            "STORAGE_S3_ENDPOINT": variable("STORAGE_S3_ENDPOINT", "GLOBAL_S3_ENDPOINT"),
            "STORAGE_S3_REGION": variable("STORAGE_S3_REGION", "REGION"),
            "UPLOAD_FILE_SIZE_LIMIT": variable("UPLOAD_FILE_SIZE_LIMIT", "FILE_SIZE_LIMIT"),
        }  # fmt: skip
        for name, value in needed.items():
            if not value:
                raise SystemExit(f"{name} is undefined")
        if variable("STORAGE_BACKEND", default="s3") != "s3":
            raise SystemExit("STORAGE_BACKEND: the stand-in keeps files on s3 alone")
        return cls(
            database_url=needed["DATABASE_URL"],
            host=variable("SERVER_HOST", "HOST", default="0.0.0.0"),
            port=int(variable("SERVER_PORT", "PORT", default="5000")),
            tenant=variable("TENANT_ID", "PROJECT_REF", default="storage-single-tenant"),
            bucket=needed["STORAGE_S3_BUCKET"],
            endpoint=needed["STORAGE_S3_ENDPOINT"].rstrip("/"),
            region=needed["STORAGE_S3_REGION"],
            path_style=flag("STORAGE_S3_FORCE_PATH_STYLE", "GLOBAL_S3_FORCE_PATH_STYLE"),
            access_key=variable("AWS_ACCESS_KEY_ID"),
            secret_key=variable("AWS_SECRET_ACCESS_KEY"),
            file_bytes=int(needed["UPLOAD_FILE_SIZE_LIMIT"]),
            anon_role=variable("DB_ANON_ROLE", default="anon"),
            service_role=variable("DB_SERVICE_ROLE", default="service_role"),
            pool=int(variable("DATABASE_MAX_CONNECTIONS", default="20")),
            keys=Keys(keys, secret),
            url_keys=Keys([], secret),
        )
