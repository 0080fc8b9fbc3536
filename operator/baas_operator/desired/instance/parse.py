"""The parse engine: Parse Server, caches between its pods, and Parse Dashboard when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.instance.parse import CacheOptions, Dashboard, Server
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.instance import names, parse_config
from baas_operator.desired.instance.component import Component, Flow, Mount
from baas_operator.desired.instance.engine import Bootstrap, EngineDefinition, Given, ProgramKeys
from baas_operator.desired.instance.gateway.model import WAIT_SECONDS, Route, Upstream
from baas_operator.desired.instance.logins import RoleLogin
from baas_operator.desired.meta import Owner
from baas_operator.desired.pods import http_probe
from baas_operator.desired.secrets import SecretRequest
from baas_operator.desired.text import render

_NODE_UID = 1000
_VALKEY_UID = 999


def _components(given: Given) -> list[Component]:
    made = [_cache(given), _server(given)]
    if _has_dashboard(given.spec):
        made.append(_dashboard(given, given.spec.components.dashboard or Dashboard()))
    return made


def _server(given: Given) -> Component:
    server, name = given.spec.components.server or Server(), given.owner.name
    mounts = [
        Mount(parse_config.KEYS, secret=parse_config.keys_secret(name)),
        Mount(parse_config.DATABASE, secret=names.role_secret(name, "owner"), items={"uri": "uri"}),
        _cache_password(name),
    ]
    if server.s3:
        files = {key: key for key in ("accessKeyId", "secretAccessKey")}
        mounts.append(Mount(parse_config.S3, secret=server.s3.credentials.secret_name, items=files))
    if server.cloud_code:
        mounts.append(Mount(parse_config.CLOUD, config_map=server.cloud_code.config_map))
    return Component(
        name="server",
        options=server,
        image=server.image or given.images.parse_server,
        uid=_NODE_UID,
        ports={"http": parse_config.SERVER_PORT, "admin": parse_config.ADMIN_PORT},
        headless=True,  # the gateway balances over the pods itself, and checks each
        args=("server.mjs", f"{parse_config.CONFIG}/config.json"),
        mounts=tuple(mounts),
        config={"config.json": parse_config.server_config(given, server)},
        config_mount=parse_config.CONFIG,
        rolls=(given.versions.get(server.cloud_code.config_map, ""),) if server.cloud_code else (),
        flows=(
            Flow("database", database_names.POSTGRES_PORT),
            Flow("cache", parse_config.CACHE_PORT),
            *((Flow("outside"),) if server.cloud_code or server.image else ()),  # the bucket is no business of flows (isolation.py)
        ),
        # It lives, and waits, while its database is away: it does so from its first second.
        startup=http_probe("/live", parse_config.ADMIN_PORT, period=1, failures=60),
        # /ready proves a database that takes writes; liveness depends on nothing but the process.
        readiness=http_probe("/ready", parse_config.ADMIN_PORT, period=2, failures=2),
        liveness=http_probe("/live", parse_config.ADMIN_PORT, period=10, failures=6),
        scrape=parse_config.ADMIN_PORT,
        cpu="100m",
        memory="256Mi",
    )


def _cache_password(name: str) -> Mount:
    return Mount(parse_config.CACHE, secret=parse_config.cache_secret(name), items={"password": "password"})


def _cache(given: Given) -> Component:
    cache, name = given.spec.components.cache or CacheOptions(), given.owner.name
    # A cache that hangs is told by those who use it: they see within 3 s that their own messages do not come back.
    accepts: dict[str, Any] = {"tcpSocket": {"port": parse_config.CACHE_PORT}, "timeoutSeconds": 2, "successThreshold": 1}
    return Component(
        name="cache",
        options=cache,
        image=cache.image or given.images.valkey,
        uid=_VALKEY_UID,
        ports={"valkey": parse_config.CACHE_PORT},
        public_ports=("valkey",),
        headless=True,  # caches know nothing of each other: every server speaks to each of them
        command=("valkey-server", f"{parse_config.CONFIG}/valkey.conf"),
        mounts=(Mount(parse_config.CACHE, secret=parse_config.cache_secret(name), items={"valkey.conf": "valkey.conf"}),),
        config={"valkey.conf": parse_config.VALKEY},
        config_mount=parse_config.CONFIG,
        optional=True,
        startup=accepts | {"periodSeconds": 1, "failureThreshold": 60},
        readiness=accepts | {"periodSeconds": 3, "failureThreshold": 2},
        liveness=accepts | {"periodSeconds": 10, "failureThreshold": 6},
        memory="32Mi",
    )


def _dashboard(given: Given, dashboard: Dashboard) -> Component:
    name = given.owner.name
    return Component(
        name="dashboard",
        options=dashboard,
        image=dashboard.image or given.images.parse_server,
        uid=_NODE_UID,
        ports={"http": parse_config.DASHBOARD_PORT},
        headless=True,
        args=("dashboard.mjs", f"{parse_config.CONFIG}/config.json"),
        mounts=(
            Mount(parse_config.KEYS, secret=parse_config.keys_secret(name), items={key: key for key in parse_config.DASHBOARD_KEYS}),
            Mount(parse_config.LOGIN, secret=parse_config.dashboard_secret(name)),
            _cache_password(name),
        ),
        config={"config.json": parse_config.dashboard_config(given)},
        config_mount=parse_config.CONFIG,
        optional=True,
        flows=(Flow("cache", parse_config.CACHE_PORT),),
        startup=http_probe("/live", parse_config.DASHBOARD_PORT, period=1, failures=60),
        readiness=http_probe("/live", parse_config.DASHBOARD_PORT, period=3, failures=2),
        liveness=http_probe("/live", parse_config.DASHBOARD_PORT, period=10, failures=6),
        memory="128Mi",
    )


def _has_dashboard(spec: BaasInstanceSpec) -> bool:
    return (spec.components.dashboard or Dashboard()).enabled


def _upstreams(given: Given) -> list[Upstream]:
    def host(component: str) -> str:
        return f"{given.owner.name}-{component}.{given.owner.namespace}.svc"

    made = [Upstream("server", host("server"), parse_config.SERVER_PORT, parse_config.ADMIN_PORT, "/ready", priority=0, waits=True)]
    if _has_dashboard(given.spec):
        made.append(Upstream("dashboard", host("dashboard"), parse_config.DASHBOARD_PORT, parse_config.DASHBOARD_PORT, "/live", priority=3))
    return made


def _routes(given: Given) -> list[Route]:
    """Parse Server checks its keys itself. LiveQuery's address, in clients, is the server's own, without a slash at its end."""
    path, page = parse_config.SERVER_PATH, parse_config.DASHBOARD_PATH
    query = (given.spec.components.server or Server()).query_timeout_seconds
    made = [
        Route(f"{path}/", "server", "public", rewrite=f"{path}/", timeout_seconds=query + WAIT_SECONDS),
        Route(path, "server", "public", rewrite=path, websocket=True),
        Route(path, "server", "public", rewrite=path),
    ]
    if _has_dashboard(given.spec):
        made += [
            Route(f"{page}/", "dashboard", "public", rewrite=f"{page}/"),
            Route(page, "dashboard", "public", rewrite=f"{page}/"),
        ]
    return made


def _secrets(spec: BaasInstanceSpec, owner: Owner) -> list[SecretRequest]:
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    made = [
        SecretRequest(owner, parse_config.keys_secret(owner.name), names.SECRETS, random=parse_config.KEY_NAMES, owned=owned),
        SecretRequest(
            owner, parse_config.cache_secret(owner.name), names.SECRETS, random=("password",), owned=owned,
            fixed={"valkey.conf": "requirepass {password}\n"},
        ),
    ]  # fmt: skip
    if _has_dashboard(spec):
        login = SecretRequest(
            owner, parse_config.dashboard_secret(owner.name), names.SECRETS, random=("password", "cookieSecret"), owned=owned,
            fixed={"username": "admin"},
        )  # fmt: skip
        made.append(login)
    return made


def _bootstrap(spec: BaasInstanceSpec, owner: Owner, logins: Mapping[str, RoleLogin]) -> Bootstrap:
    login = logins["owner"]
    return Bootstrap.of(render("parse.sql.j2", database=names.sql_name(owner.name), owner=login.role, login=login), ("owner",), logins)


def _program_keys(owner: Owner) -> ProgramKeys:
    """For the user's own programs; the master key counts only from where `masterKeyIps` says."""
    secret = parse_config.keys_secret(owner.name)
    return ProgramKeys(plain={"restAPIKey": (secret, "restAPIKey")}, service={"masterKey": (secret, "masterKey")})


PARSE = EngineDefinition(_components, _upstreams, _routes, _secrets, _bootstrap, _program_keys)
