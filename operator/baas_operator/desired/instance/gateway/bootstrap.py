"""What Envoy starts with. All that may change while it runs is elsewhere: a change of this text alone has to roll the pods."""

from __future__ import annotations

from baas_operator.desired.instance.gateway.clusters import admin_cluster, own_cluster, tracing_cluster
from baas_operator.desired.instance.gateway.model import GatewayInput
from baas_operator.desired.instance.gateway.typed import CLUSTERS, LISTENERS, Config, address, extension, from_file, to_text

_STATISTICS = (
    r"cluster\..*\.(upstream_rq_(total|xx|[0-9]xx|active|pending_active|pending_overflow|timeout|per_try_timeout|retry.*|time|rx_reset|tx_reset)"
    r"|upstream_cx_(active|total|overflow|connect_fail|connect_timeout)|membership_(total|healthy|degraded)"
    r"|health_check\.(failure|success)|outlier_detection\.ejections_(active|enforced_total)|circuit_breakers\.(default|high)\.(cx|rq|rq_pending|rq_retry)_open"
    r"|update_(failure|success)|lb_healthy_panic)",
    r"http\.(http|https|health)\.(downstream_rq_(total|[0-9]xx|time|active|timeout|too_large|overload_close)|downstream_cx_(active|total|upgrades_active)"
    r"|jwt_authn\..*|rbac\..*|cors\..*|rate_limit\..*|rds\..*\.(config_reload|update_(success|rejected|failure)))",
    r"rate_limit\.http_local_rate_limit\..*|vhost\.public\.route\..*\.upstream_rq_([0-9]xx|[0-9][0-9][0-9]|total|time|timeout|retry)",
    r"listener_manager\.(lds\.|listener_(modified|added|in_place_updated)|total_listeners).*",
    r"cluster_manager\.cds\..*|extension_config_discovery\..*|sds\..*|overload\..*",
    r"server\.(live|state|uptime|memory_allocated|memory_heap_size|total_connections|days_until_first_cert_expiring|version)",
)
"""What is counted. All of Envoy's own would be thousands of series, and memory of each pod."""


def bootstrap(given: GatewayInput) -> str:
    """The text of `envoy.yaml`."""
    return to_text(
        {
            "node": {"id": "gateway", "cluster": "gateway"},
            "admin": {"address": address("127.0.0.1", given.ports.admin)},
            "dynamic_resources": {"lds_config": from_file(given, LISTENERS), "cds_config": from_file(given, CLUSTERS)},
            "static_resources": {
                "clusters": [
                    admin_cluster(given),
                    own_cluster(given),
                    *([tracing_cluster(given.spec.tracing)] if given.spec.tracing else []),
                ],
            },
            "stats_config": {
                "stats_matcher": {
                    "inclusion_list": {"patterns": [{"safe_regex": {"regex": each}} for each in _STATISTICS]},
                },
            },
            "overload_manager": _overload(given),
            "layered_runtime": {"layers": [{"name": "static", "static_layer": {"envoy.deprecated_features": {}}}]},
        }
    )


def _at(action: str, *thresholds: tuple[str, float]) -> Config:
    triggers = [{"name": f"envoy.resource_monitors.{monitor}", "threshold": {"value": value}} for monitor, value in thresholds]
    return {"name": f"envoy.overload_actions.{action}", "triggers": triggers}


def _overload(given: GatewayInput) -> Config:
    monitors = "envoy.extensions.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            extension(
                "envoy.resource_monitors.fixed_heap", f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=given.spec.limits.heap_bytes,
            ),
            extension(
                "envoy.resource_monitors.global_downstream_max_connections",
                f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=given.spec.limits.connections,
            ),
        ],
        "actions": [
            _at("shrink_heap", ("fixed_heap", 0.8)),
            _at("disable_http_keepalive", ("fixed_heap", 0.85)),
            _at("stop_accepting_requests", ("fixed_heap", 0.9)),
            _at("stop_accepting_connections", ("fixed_heap", 0.95)),
        ],
    }  # fmt: skip
