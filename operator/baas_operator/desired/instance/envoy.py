"""Envoy's configuration for the gateway, as data (Envoy documentation, v3 API).

Every route to the data API needs an API key: a JWT that our own key signed. Envoy checks the signature itself, so a request without
a good key never reaches a component.
"""

from __future__ import annotations

import json
from typing import Any

from baas_operator.desired.instance.names import GATEWAY_PORT

HEALTH_PORT = 8001
ADMIN_PORT = 9901
STARTED_PATH = "/started"
CONFIG_MOUNT = "/etc/baas/gateway"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _typed(type_name: str, **body: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{type_name}", **body}


def _cluster(name: str, host: str, port: int, *, health_port: int, health_path: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "dns_lookup_family": "V4_PREFERRED",
        "dns_refresh_rate": "2s",
        "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "2s"},
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": host, "port_value": port}},
                "health_check_config": {"port_value": health_port},
            }}]}],
        },
        # A pod whose node lost power stays in DNS until Kubernetes notices; two missed checks take it out in about 2 s.
        "health_checks": [{
            "timeout": "1s", "interval": "1s", "no_traffic_interval": "2s", "unhealthy_threshold": 2, "healthy_threshold": 1,
            "http_health_check": {"path": health_path},
        }],
        "outlier_detection": {
            "consecutive_gateway_failure": 3, "consecutive_local_origin_failure": 2, "split_external_local_origin_errors": True,
            "interval": "1s", "base_ejection_time": "5s", "max_ejection_percent": 67,
        },
        "circuit_breakers": {"thresholds": [{"max_connections": 1024, "max_pending_requests": 512, "max_requests": 2048}]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: _typed(_HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}})
        },
    }  # fmt: skip


def _listener(name: str, port: int, stat: str, filters: list[dict[str, Any]], routes: list[dict[str, Any]],
              **more: Any) -> dict[str, Any]:  # fmt: skip
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"name": "envoy.filters.http.router", "typed_config": _typed("envoy.extensions.filters.http.router.v3.Router")}
    return {
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},  # noqa: S104 - inside the pod
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": _typed(
                manager,
                stat_prefix=stat,
                codec_type="AUTO",
                use_remote_address=True,
                generate_request_id=True,
                common_http_protocol_options={"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
                route_config={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
                http_filters=[*filters, router],
                **more,
            ),
        }]}],
    }  # fmt: skip


_CORS_HEADERS = "authorization,apikey,content-type,prefer,accept-profile,content-profile,x-client-info,range"


def _public(rest_cluster: str, issuer: str) -> dict[str, Any]:
    jwt = _typed(
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={
            "api-key": {
                "issuer": issuer,
                "forward": True,
                "from_headers": [{"name": "apikey"}],
                "local_jwks": {"filename": f"{CONFIG_MOUNT}/jwks.json"},
            }
        },
        rules=[{"match": {"prefix": "/rest/v1"}, "requires": {"provider_name": "api-key"}}],
        bypass_cors_preflight=True,
    )
    cors = "envoy.extensions.filters.http.cors.v3"
    filters = [
        {"name": "envoy.filters.http.cors", "typed_config": _typed(f"{cors}.Cors")},
        {"name": "envoy.filters.http.jwt_authn", "typed_config": jwt},
    ]
    rest = {
        "match": {"prefix": "/rest/v1/"},
        "route": {
            "cluster": rest_cluster,
            "prefix_rewrite": "/",
            "timeout": "30s",
            # Only what has certainly not reached PostgREST is sent again: a write must not happen twice.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream",
                "num_retries": 3,
                "retry_host_predicate": [{
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": _typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
                }],
                "host_selection_retry_max_attempts": 3,
            },
        },
        "request_headers_to_remove": ["apikey"],
        "typed_per_filter_config": {
            "envoy.filters.http.cors": _typed(
                f"{cors}.CorsPolicy",
                allow_origin_string_match=[{"safe_regex": {"regex": ".*"}}],
                allow_methods="GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS",
                allow_headers=_CORS_HEADERS,
                expose_headers="content-range,content-profile,location,x-request-id",
                max_age="3600",
            )
        },
    }  # fmt: skip
    nothing = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": '{"message":"no such route"}\n'}},
        "response_headers_to_add": [{"header": {"key": "content-type", "value": "application/json"}}],
    }
    return _listener(
        "public", GATEWAY_PORT, "public", filters, [rest, nothing],
        stream_idle_timeout="60s", request_headers_timeout="10s",
        access_log=[{
            "name": "envoy.access_loggers.stdout",
            "typed_config": _typed(
                "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                # Neither query nor headers: both can hold keys and personal data.
                log_format={"json_format": {
                    "time": "%START_TIME%", "request_id": "%REQ(X-REQUEST-ID)%", "method": "%REQ(:METHOD)%",
                    "path": "%PATH(NQ)%", "status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
                    "milliseconds": "%DURATION%", "upstream": "%UPSTREAM_HOST%",
                }},
            ),
        }],
    )  # fmt: skip


def envoy_config(*, rest_host: str, rest_port: int, rest_admin_port: int, issuer: str) -> str:
    """The bootstrap configuration, as JSON (which is YAML)."""
    admin_cluster = {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "admin",
            "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}},
            }}]}],
        },
    }  # fmt: skip
    # A gateway has started once it has found a data API that is well; from then on it serves, with 503 while there is none.
    started = {
        "name": "envoy.filters.http.health_check",
        "typed_config": _typed(
            "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            pass_through_mode=False,
            headers=[{"name": ":path", "string_match": {"exact": STARTED_PATH}}],
            cluster_min_healthy_percentages={"rest": {"value": 1}},
        ),
    }
    health = [
        {"match": {"path": "/ready"}, "route": {"cluster": "admin", "prefix_rewrite": "/ready"}},
        {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"}},
    ]
    config = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ADMIN_PORT}}},
        "static_resources": {
            "listeners": [
                _public("rest", issuer),
                _listener("health", HEALTH_PORT, "health", [started], health),
            ],
            "clusters": [
                _cluster("rest", rest_host, rest_port, health_port=rest_admin_port, health_path="/ready"),
                admin_cluster,
            ],
        },
    }
    return json.dumps(config, indent=1, sort_keys=True) + "\n"
