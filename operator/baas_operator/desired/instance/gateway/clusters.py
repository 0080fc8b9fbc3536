"""Upstreams as Envoy's clusters: how pods are found, how one that does not answer is found out, and how much each may get.

Who answers reads when a component has no healthy pod is a cluster too: an aggregate of the component and its fallback, in that order.
Writes that are held have one as well: of the component, and of the room that they wait in (`waiting.py`).
"""

from __future__ import annotations

from baas_operator.desired.instance.gateway.model import KEPT_BYTES, GatewayInput, Upstream
from baas_operator.desired.instance.gateway.postgrest import upstream_filters
from baas_operator.desired.instance.gateway.typed import HTTP_OPTIONS, Config, address, extension, health_check, one_place, resources, typed
from baas_operator.desired.instance.gateway.waiting import late, room, waiting_room

ADMIN = "admin"
ITSELF = "itself"
TRACING = "tracing"
DEGRADED_KEY = "degraded"
METADATA = "baas"

_CONNECTIONS = (1024, 512, 256, 128)
"""Connections, and requests under way, that a gateway pod gives to an upstream, by its priority; half as many more may wait for one.
All components share what the gateway has: what matters less stops first, and what matters most never waits behind it."""
_STREAM_BYTES = 2 * KEPT_BYTES
"""Of a pod's memory, for each of the WebSockets and gRPC streams that it gives to an upstream: as much as one may have on its way in both
directions. They are open for hours, and counted apart (Envoy's priority HIGH): however many there are, requests go on."""
_RETRY_PERCENT = 50
"""Of what is under way, so much may be tried again at once: what a component of two pods has on the one that breaks."""
_ANY_HEALTHY = 100_000
"""Overprovisioning factor (percent) at which one healthy pod of a thousand keeps all traffic: with Envoy's own, 140, reads would begin to
go to the standbys when a third of the pods is down."""

_CHECK = health_check(1, 2, misses=1)
"""Health checks: one miss takes a pod out, 3 s after it froze at the latest, and one answer brings it back. One long miss instead of two
short ones: as quick, and who is merely slow is not taken for dead."""
_QUICK_CHECK = health_check(0.4, 1.2, misses=1)
"""Where reads have somewhere else to go: a frozen pod, or a pod over a frozen database, is out after 1.6 s at the latest."""
_LAST_CHECK = {**_QUICK_CHECK, "unhealthy_threshold": 2}
"""Where reads go then, there is nobody after that, and all of them come at once: one late answer puts nobody out. What says no by itself is
out at once all the same (Envoy counts up to the threshold only what did not answer), and what takes no connection by outlier detection."""
_LATE_CHECK = health_check(0.8, 0.4, misses=6)
"""Where requests wait: pods that say no are given up after 4 to 4.8 s, those that fell silent after 7.2 s at the latest.
Longer than a primary takes to move, and mostly than one takes to be replaced whose zone has gone (2.6 to 5.6 s, bench/README.md);
shorter than anybody's patience. From then on writes are refused at once."""
_ANY_ANSWER = {"start": 100, "end": 600}
_LOST_MILLISECONDS = 3000
_TCP, _TCP_USER_TIMEOUT = 6, 18
"""A connection on which nothing was acknowledged for so long leads to a node that is gone: what waits on it is told (Linux, tcp(7))."""


def read_cluster(upstream: Upstream) -> str:
    """Name of the cluster that answers reads for an upstream."""
    return f"{upstream.name}-or-{upstream.fallback}" if upstream.fallback else write_cluster(upstream)


def write_cluster(upstream: Upstream) -> str:
    """Name of the cluster that takes writes for an upstream."""
    return f"{upstream.name}-or-waiting" if upstream.waits else upstream.name


def clusters(given: GatewayInput) -> str:
    """The file of all clusters."""
    fallbacks = {each.fallback for each in given.upstreams if each.fallback}
    grpc = {each.upstream for each in given.routes if each.grpc}
    streams = given.spec.limits.heap_bytes // _STREAM_BYTES
    made = []
    for each in given.upstreams:
        standby = each.name in fallbacks
        check = _LAST_CHECK if standby else _QUICK_CHECK if each.fallback else _CHECK
        # Shown to clients by the routes, as a header of every answer that came from here instead of from where it belongs.
        shown = f"{each.name}-from-standby" if standby else None
        made.append(_cluster(each, each.name, check, last=standby, shown=shown, grpc=each.name in grpc, streams=streams))
    made += [_or(each, each.fallback, read_cluster(each)) for each in given.upstreams if each.fallback]
    for each in given.upstreams:
        if each.waits:
            # The same pods, given up later: nobody is sent there, it says for how long they are waited for.
            made.append(_cluster(each, late(each), _LATE_CHECK, last=True, refusals=[_ANY_ANSWER]))
            made.append(_or(each, room(each), write_cluster(each)))
            made.append(waiting_room(given, each))
    return resources(*(typed("envoy.config.cluster.v3.Cluster", **each) for each in made))


def _cluster(
    upstream: Upstream, name: str, check: Config, *,
    last: bool, shown: str | None = None, refusals: list[Config] | None = None, grpc: bool = False, streams: int = 0,
) -> Config:  # fmt: skip
    """The pods of an upstream. `last`: there is nobody else to go to. `refusals`: answers to a health check that put a pod out no sooner
    than silence does; None: any but 200 does at once."""
    endpoint: Config = {
        "endpoint": {
            "address": address(upstream.host, upstream.port),
            "health_check_config": {"port_value": upstream.health_port},
        }
    }
    if shown:
        endpoint["metadata"] = {"filter_metadata": {METADATA: {DEGRADED_KEY: shown}}}
    asked = {"path": upstream.health_path} | ({"retriable_statuses": refusals} if refusals else {})
    return {
        "name": name,
        "cluster_type": _by_name(),
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": KEPT_BYTES,
        # A pod that is told to go leaves DNS at once, and goes on being healthy until it is gone: no more requests to it.
        "ignore_health_on_host_removal": True,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "policy": {"overprovisioning_factor": _ANY_HEALTHY},
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
        # Without panic: a component of which no pod is well answers 503 at once, rather than by what each of its pods makes of it.
        # Without merging: Envoy would hold back for a second that a pod is out when another went out just before it, as when a zone goes.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "health_checks": [{**check, "healthy_threshold": 1, "http_health_check": asked}],
        # A pod that is put out comes back with its next good health check: this bridges the time that a health check needs, and no more.
        # So all may be out at once: reads then go elsewhere, and writes wait a moment or are told. Where nobody else is, answers put
        # nobody out: half a pool of connections that break together is no reason to send away who may be the last. Nor where requests
        # wait: a function of the user's answers 503 as often as anybody likes to call it, and everybody's writes would wait for that.
        "outlier_detection": {
            "consecutive_gateway_failure": 5, "consecutive_local_origin_failure": 3, "split_external_local_origin_errors": True,
            "enforcing_consecutive_gateway_failure": 0 if last or upstream.waits else 100,
            "enforcing_consecutive_5xx": 0, "enforcing_success_rate": 0,
            "interval": "0.5s", "base_ejection_time": "1s", "max_ejection_time": "2s", "max_ejection_percent": 50 if last else 100,
        },
        "circuit_breakers": _breakers(upstream.priority, streams=streams),
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 3, "keepalive_interval": 1}},
        "upstream_bind_config": {"socket_options": [
            {"level": _TCP, "name": _TCP_USER_TIMEOUT, "int_value": _LOST_MILLISECONDS, "state": "STATE_PREBIND"},
        ]},
        "typed_extension_protocol_options": {HTTP_OPTIONS: _protocol(upstream, grpc)},
    }  # fmt: skip


def _by_name() -> Config:
    return extension(
        "envoy.clusters.dns", "envoy.extensions.clusters.dns.v3.DnsCluster",
        dns_lookup_family="V4_PREFERRED", dns_refresh_rate="1s",
        dns_failure_refresh_rate={"base_interval": "0.5s", "max_interval": "1s"},
    )  # fmt: skip


def _protocol(upstream: Upstream, grpc: bool) -> Config:
    filters = {"http_filters": upstream_filters()} if upstream.postgrest else {}
    if grpc:
        # gRPC needs HTTP/2 to the pod as well; whatever else comes by this route goes on as it came.
        return typed(HTTP_OPTIONS, use_downstream_protocol_config={"http_protocol_options": {}, "http2_protocol_options": {}}, **filters)
    return typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}}, **filters)


def _breakers(priority: int, *, elsewhere: bool = False, streams: int = 0) -> Config:
    """`elsewhere`: what is tried again goes where there is room, so that all may be tried again at once: when a zone goes, or a database,
    every read that was under way breaks at the same moment. (Envoy counts no requests of an aggregate, of which a share would be: the
    smallest budget is all that one has.) Where it goes is kept from too much by its own limits. `streams`: how many there may be, beside
    requests."""
    most = _CONNECTIONS[min(priority, len(_CONNECTIONS) - 1)]
    again = {"budget_percent": {"value": _RETRY_PERCENT}, "min_retry_concurrency": most if elsewhere else most // 16}
    limits = {"max_pending_requests": most // 2, "retry_budget": again, "track_remaining": True}
    thresholds: list[Config] = [{"max_connections": most, "max_requests": most, **limits}]
    if streams:
        thresholds.append({"priority": "HIGH", "max_connections": streams, "max_requests": streams, **limits})
    return {"thresholds": thresholds}


def _or(upstream: Upstream, other: str, name: str) -> Config:
    return {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": _breakers(upstream.priority, elsewhere=True),
        # Filters are taken from the cluster that a route names, whoever of an aggregate answers.
        "typed_extension_protocol_options": {HTTP_OPTIONS: _protocol(upstream, grpc=False)},
        "cluster_type": extension(
            "envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
            clusters=[upstream.name, other],
        ),
    }  # fmt: skip


def admin_cluster(given: GatewayInput) -> Config:
    """The way from the health listener to Envoy's own admin port."""
    return _loopback(ADMIN, given.ports.admin)


def own_cluster(given: GatewayInput) -> Config:
    """The way from the health listener to itself: what is asked there until it is answered."""
    return {**_loopback(ITSELF, given.ports.health), "alt_stat_name": ADMIN}


def _loopback(name: str, port: int) -> Config:
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": one_place(name, "127.0.0.1", port)}


def tracing_cluster(receiver: str) -> Config:
    """The receiver of traces, `host:port`."""
    host, _, port = receiver.rpartition(":")
    return {
        "name": TRACING,
        "cluster_type": _by_name(),
        "connect_timeout": "1s",
        "load_assignment": one_place(TRACING, host, int(port)),
        "typed_extension_protocol_options": {HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": {}})},
    }
