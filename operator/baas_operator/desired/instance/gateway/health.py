"""The listener for Kubernetes, Prometheus and the operator: health, statistics, which configuration is in effect, and the drain."""

from __future__ import annotations

import json

from baas_operator.desired.instance.gateway.clusters import ADMIN, ITSELF
from baas_operator.desired.instance.gateway.keys import access
from baas_operator.desired.instance.gateway.model import GatewayInput
from baas_operator.desired.instance.gateway.typed import (
    HEALTH_ROUTES,
    JWT_FILTER,
    Config,
    address,
    discovered,
    extension,
    from_file,
    header,
    resources,
    seconds,
    typed,
)

STARTED_PATH = "/started"
READY_PATH = "/ready"
METRICS_PATH = "/metrics"
CONFIG_PATH = "/config"
KEYS_PATH = "/config/keys"
DRAINED_PATH = "/drained"
HEALTH = "health"
_LUA = "envoy.extensions.filters.http.lua.v3"
_FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_LAST_SECONDS = 2.0
_DRAIN_LUA = """
function envoy_on_request(handle)
  handle:httpCall("admin", {[":method"] = "POST", [":path"] = "/healthcheck/fail", [":authority"] = "admin"}, "", 2000)
end
"""
# A WebSocket is under way for as long as its client likes, and takes another one when it breaks. A request is active until the
# kernel has all of its answer, which gets `_LAST_SECONDS` then.
_DRAINED_LUA = """
function envoy_on_request(handle)
  local _, stats = handle:httpCall("admin", {[":method"] = "GET", [":authority"] = "admin",
    [":path"] = "/stats?filter=^http[.]https?[.]downstream_(rq|cx_upgrades)_active$"}, "", 1000)
  local known, left = false, 0
  for what, number in string.gmatch(stats or "", "downstream_([a-z_]+)_active: ([0-9]+)") do
    known = true
    left = left + (what == "rq" and number or -number)
  end
  if not known or left > 0 then
    handle:respond({[":status"] = "503"}, "something is under way")
  end
end
"""
_STARTED_LUA = """
function envoy_on_request(handle)
  local _, stats = handle:httpCall("admin", {[":method"] = "GET", [":authority"] = "admin",
    [":path"] = "/stats?filter=^cluster[.](NAMES)[.]membership_healthy$"}, "", 1000)
  if not string.find(stats or "", ": [1-9]") then
    handle:respond({[":status"] = "503"}, "no component that this gateway is for was found to be healthy yet")
  end
end
"""


def drain_path(key: str) -> str:
    """What the pod's preStop asks for (`httpGet`, on the health port). The answer comes when the drain is over; it is 504 if something was
    under way even then, which the kubelet takes for the same."""
    return f"/drain/{key}"


def health_routes(given: GatewayInput, told: Config) -> str:
    """The file of the health listener's routes; `told` is what CONFIG_PATH answers."""
    routes = [
        _to_admin(READY_PATH, "/ready"),
        _to_admin(METRICS_PATH, "/stats/prometheus"),
        {
            "match": {"path": CONFIG_PATH},
            "direct_response": {"status": 200, "body": {"inline_string": json.dumps(told, sort_keys=True)}},
            "response_headers_to_add": [header("content-type", "application/json")],
        },
        # 200 to a key that the gateway lets in, by the filter that lets it in: the only proof that it has new keys, and old ones no more.
        # What Envoy tells of the versions of its filters is of no use for that: it tells of those, too, that it has refused.
        {"match": {"path": KEYS_PATH}, "direct_response": {"status": 200}, "typed_per_filter_config": access("api-key")},
        _started(given),
    ]
    if given.drain_key:
        routes += [_drained(), _drain(given, given.drain_key)]
    hosts = [{"name": HEALTH, "domains": ["*"], "routes": routes}]
    made = typed("envoy.config.route.v3.RouteConfiguration", name=HEALTH, virtual_hosts=hosts)
    return resources(made)


def _to_admin(path: str, rewrite: str) -> Config:
    return {"match": {"path": path}, "route": {"cluster": ADMIN, "prefix_rewrite": rewrite}}


def _lua(source: str) -> Config:
    return {"lua": typed(f"{_LUA}.LuaPerRoute", source_code={"inline_string": source})}


def _wait(duration: float) -> Config:
    return typed(_FAULT, delay={"fixed_delay": seconds(duration), "percentage": {"numerator": 100}})


def _started(given: GatewayInput) -> Config:
    """A gateway has started once it has found one of the most important components to be well; from then on it serves, with 503 while
    there is none. Before, it would answer 503 while its neighbours do not."""
    first = [each for each in given.upstreams if each.priority == min(up.priority for up in given.upstreams)]
    names = {name for each in first for name in (each.name, each.fallback) if name}
    return {
        "match": {"path": STARTED_PATH},
        "direct_response": {"status": 200},
        "typed_per_filter_config": _lua(_STARTED_LUA.replace("NAMES", "|".join(sorted(names)))),
    }


def _drain(given: GatewayInput, key: str) -> Config:
    """From now on unready, and every answer tells its client to close the connection; answered when there has been time for that, and
    nothing is under way any more, such as a large file, or when that has been waited for long enough."""
    again = {
        # More often than there is time for: each wait is a random part of half a second.
        "retry_on": "retriable-status-codes,reset,connect-failure", "retriable_status_codes": [503],
        "num_retries": 100 * given.finish_seconds,
        "retry_back_off": {"base_interval": "0.5s", "max_interval": "0.5s"},
    }  # fmt: skip
    return {
        "match": {"path": drain_path(key)},
        "route": {
            "cluster": ITSELF, "prefix_rewrite": DRAINED_PATH, "retry_policy": again, "timeout": seconds(given.finish_seconds),
            "idle_timeout": seconds(given.drain_seconds + given.finish_seconds + 5),
        },
        "typed_per_filter_config": _lua(_DRAIN_LUA) | {"fault": _wait(given.drain_seconds)},
    }  # fmt: skip


def _drained() -> Config:
    return {
        "match": {"path": DRAINED_PATH},
        "direct_response": {"status": 200},
        "typed_per_filter_config": _lua(_DRAINED_LUA) | {"fault": _wait(_LAST_SECONDS)},
    }


def health_listener(given: GatewayInput) -> Config:
    """Never drained itself: probes and Prometheus go on asking."""
    manager = typed(
        _MANAGER,
        stat_prefix=HEALTH,
        codec_type="AUTO",
        rds={"route_config_name": HEALTH, "config_source": from_file(given, HEALTH_ROUTES)},
        http_filters=[
            discovered(given, JWT_FILTER, "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
            extension("lua", f"{_LUA}.Lua"),
            extension("fault", _FAULT),
            extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        stream_idle_timeout="60s",
        request_headers_timeout="10s",
    )
    return {
        "name": HEALTH,
        "drain_type": "MODIFY_ONLY",
        "ignore_global_conn_limit": True,  # whoever fills the gateway with connections has it not killed
        "address": address(given.ports.address, given.ports.health),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }
