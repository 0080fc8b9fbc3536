"""Where requests wait for a component of which no pod is well: in the gateway.

What has been sent to nobody has certainly not been done, and takes no processor from who is becoming the next primary: each question to a
PostgREST without one is a connection to a database, with its handshake and its password. So while no pod is well, requests go to a listener
of the gateway's own, which answers that nothing was done (UNDONE_HEADER), and the router asks again, until a pod is well or the component
is given up (`clusters.py`): then the listener says of itself that it is not well, and requests are refused at once.
"""

from __future__ import annotations

from baas_operator.desired.instance.gateway.model import UNDONE_HEADER, WAITED_HEADER, GatewayInput, Upstream
from baas_operator.desired.instance.gateway.postgrest import WAITING
from baas_operator.desired.instance.gateway.typed import HTTP_OPTIONS, Config, address, extension, header, health_check, one_place, typed

LISTENER = "waiting"
_HEALTH = "envoy.extensions.filters.http.health_check.v3.HealthCheck"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_EVERY_SECONDS = 0.5
_MISSES = 4
"""Late answers that put the room out: a gateway without a processor has some. Once nobody is waited for, it says so and is out at once."""


def late(upstream: Upstream) -> str:
    """Name of the cluster of the same pods, which are given up later there."""
    return f"{upstream.name}-late"


def room(upstream: Upstream) -> str:
    """Name of the cluster that leads to the listener."""
    return f"{upstream.name}-waiting"


def waiting_listener(given: GatewayInput) -> Config:
    """On loopback: nobody but this gateway comes here. It is well for an upstream as long as that is not given up."""
    checks = [
        extension(
            f"{each.name}-is-waited-for", _HEALTH,
            pass_through_mode=False, cluster_min_healthy_percentages={late(each): {"value": 1}},
            headers=[{"name": WAITED_HEADER, "string_match": {"exact": each.name}}],
        )
        for each in given.upstreams if each.waits
    ]  # fmt: skip
    answer = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 503, "body": {"inline_string": WAITING}},
        "response_headers_to_add": [header(UNDONE_HEADER, "1"), header("retry-after", "1"), header("content-type", "application/json")],
    }
    routes = {"name": LISTENER, "virtual_hosts": [{"name": LISTENER, "domains": ["*"], "routes": [answer]}]}
    manager = typed(
        # Among what the gateway asks itself, and not among what clients were answered.
        _MANAGER, stat_prefix="health", codec_type="HTTP1", route_config=routes,
        http_filters=[*checks, extension("envoy.filters.http.router", _ROUTER)], stream_idle_timeout="10s",
    )  # fmt: skip
    return {
        "name": LISTENER,
        "drain_type": "MODIFY_ONLY",
        "ignore_global_conn_limit": True,
        "address": address("127.0.0.1", given.ports.waiting),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }


def waiting_room(given: GatewayInput, upstream: Upstream) -> Config:
    """The way to the listener, for one upstream."""
    return {
        "name": room(upstream),
        "alt_stat_name": "admin",  # as above
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": one_place(room(upstream), "127.0.0.1", given.ports.waiting),
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [{
            **health_check(_EVERY_SECONDS, 1, misses=_MISSES), "healthy_threshold": 1,
            "http_health_check": {"path": "/", "host": LISTENER, "request_headers_to_add": [header(WAITED_HEADER, upstream.name)]},
        }],
        "typed_extension_protocol_options": {HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}})},
    }  # fmt: skip
