"""What the pods of the parse engine are told, as files: the image's own configuration (images/parse-server), and valkey.conf."""

from __future__ import annotations

import json
from typing import Any

from baas_operator.api.instance.parse import Server
from baas_operator.desired.instance.component import GIVE_UP_SECONDS
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.exposure import fronted

SERVER_PORT, ADMIN_PORT, DASHBOARD_PORT, CACHE_PORT = 1337, 1338, 4040, 6379
SERVER_PATH, DASHBOARD_PATH = "/parse", "/dashboard"
CONFIG = "/etc/baas/config"
KEYS = "/etc/baas/keys"
DATABASE = "/etc/baas/database"
CACHE = "/etc/baas/cache"
S3 = "/etc/baas/s3"
LOGIN = "/etc/baas/login"
CLOUD = "/cloud"
_POOL = 10
KEY_NAMES = ("masterKey", "readOnlyMasterKey", "maintenanceKey", "javascriptKey", "clientKey", "restAPIKey")
"""Parse's keys, as its options name them; clients show one of the last three."""
DASHBOARD_KEYS = ("masterKey", "readOnlyMasterKey", "javascriptKey")
VALKEY = f"""\
# Nothing is kept on disk: what is lost here is looked up, or told, again.
bind 0.0.0.0
port {CACHE_PORT}
protected-mode no
dir /tmp
save ""
appendonly no
maxmemory 64mb
maxmemory-policy allkeys-lru
tcp-keepalive 10
include {CACHE}/valkey.conf
"""


def keys_secret(instance: str) -> str:
    """Secret with Parse's keys."""
    return f"{instance}-parse-keys"


def cache_secret(instance: str) -> str:
    """Secret with the password of the caches."""
    return f"{instance}-cache"


def dashboard_secret(instance: str) -> str:
    """Secret with who may log in to the dashboard."""
    return f"{instance}-dashboard"


def app_id(given: Given) -> str:
    """The application id that clients send."""
    return (given.spec.components.server or Server()).app_id or given.owner.name


def server_config(given: Given, server: Server) -> str:
    """What server.mjs reads, as JSON. It names where secrets are and holds none."""
    made: dict[str, Any] = {
        "port": SERVER_PORT,
        "adminPort": ADMIN_PORT,
        "mountPath": SERVER_PATH,
        "drainSeconds": GIVE_UP_SECONDS,
        "options": _options(given, server),
        "keys": {name: f"{KEYS}/{name}" for name in KEY_NAMES},
        "database": {
            "uriFile": f"{DATABASE}/uri",
            "tls": True,
            "poolSize": _POOL,
            "queryTimeoutMs": server.query_timeout_seconds * 1000,
        },
        "cache": _cache(given),
        "cloud": f"{CLOUD}/main.js",
    }
    if server.s3:
        made["s3"] = {
            "endpoint": server.s3.endpoint,
            "bucket": server.s3.bucket,
            "region": server.s3.region,
            "pathStyle": server.s3.path_style,
            "accessKeyFile": f"{S3}/accessKeyId",
            "secretKeyFile": f"{S3}/secretAccessKey",
        }
    return _text(made)


def dashboard_config(given: Given) -> str:
    """What dashboard.mjs reads, as JSON."""
    return _text(
        {
            "port": DASHBOARD_PORT,
            "mountPath": DASHBOARD_PATH,
            "serverURL": SERVER_PATH,
            "appId": app_id(given),
            "appName": given.owner.name,
            "trustProxy": _proxies(given),
            "keys": {name: f"{KEYS}/{name}" for name in DASHBOARD_KEYS},
            "userFile": f"{LOGIN}/username",
            "passwordFile": f"{LOGIN}/password",
            "cookieSecretFile": f"{LOGIN}/cookieSecret",
            "cache": _cache(given),
        }
    )


def _cache(given: Given) -> dict[str, Any]:
    """A headless Service: its name has an address for each cache."""
    return {"hosts": [f"{given.owner.name}-cache.{given.owner.namespace}.svc:{CACHE_PORT}"], "passwordFile": f"{CACHE}/password"}


def _options(given: Given, server: Server) -> dict[str, Any]:
    """Options of Parse Server itself (its documentation, ParseServerOptions)."""
    made: dict[str, Any] = {
        "appId": app_id(given),
        "trustProxy": _proxies(given),
        "masterKeyIps": server.master_key_ips,
        "readOnlyMasterKeyIps": server.master_key_ips,
        "allowClientClassCreation": server.client_class_creation,
        "sessionLength": server.session_seconds,
        # A request that a client sends again with the same id is done once.
        "idempotencyOptions": {"paths": [".*"], "ttl": 300},
        "liveQuery": {"classNames": server.live_query.classes if server.live_query else []},
        "logLevel": "warn",
        # At these levels Parse Server would write down what clients send.
        "logLevels": {"triggerAfter": "silent", "triggerBeforeSuccess": "silent", "cloudFunctionSuccess": "silent"},
        # Defaults that its next version has, and that are the safer ones (its DEPRECATIONS.md).
        "fileUpload": {"allowedFileUrlDomains": _file_hosts(given)},
        "pages": {"encodePageParamHeaders": True},
        "requestComplexity": {
            "includeDepth": 10, "includeCount": 100, "subqueryDepth": 10, "queryDepth": 10, "graphQLDepth": 20, "graphQLFields": 200,
            "batchRequestLimit": 100,
        },
        "protectedFieldsOwnerExempt": False,
        "protectedFieldsTriggerExempt": True,
        "protectedFieldsSaveResponseExempt": False,
        "installation": {"duplicateDeviceTokenActionEnforceAuth": True},
        "allowAggregationForReadOnlyMasterKey": False,
    }  # fmt: skip
    if given.spec.hosts:
        made["publicServerURL"] = f"{_scheme(given)}://{given.spec.hosts[0]}{SERVER_PATH}"
    return made


def _file_hosts(given: Given) -> list[str]:
    """Hosts that the address of a file may name: those that files are fetched from, which any may be where none are said."""
    owner, hosts = given.owner, given.spec.hosts
    return [*hosts, *(f"{owner.name}-gateway.{owner.namespace}{end}" for end in ("", ".svc", ".svc.cluster.local"))] if hosts else ["*"]


def _proxies(given: Given) -> int:
    """Proxies in front whose X-Forwarded-For is believed: each adds who speaks to it, and master keys are taken by the client's address."""
    return 1 + int(fronted(given.spec.components.gateway))


def _scheme(given: Given) -> str:
    """With an Ingress or an HTTPRoute in front, TLS is theirs."""
    gateway = given.spec.components.gateway
    return "https" if gateway.tls or gateway.ingress or gateway.http_route else "http"


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
