"""Routes of the API: where a path leads, what it asks for, and what is tried again when a pod fails.

A read may be sent again, to another pod and in the end to a standby. A write is sent again only if it certainly has not reached a pod, or
certainly was not done there.
"""

from __future__ import annotations

import re

from baas_operator.desired.instance.gateway.clusters import DEGRADED_KEY, METADATA, read_cluster, write_cluster
from baas_operator.desired.instance.gateway.keys import OWN_HEADERS, access
from baas_operator.desired.instance.gateway.limits import body_limit
from baas_operator.desired.instance.gateway.model import UNDONE_HEADER, GatewayInput, Route
from baas_operator.desired.instance.gateway.postgrest import FILTER, READS_KEY
from baas_operator.desired.instance.gateway.typed import Config, extension, header, resources, seconds, typed

PUBLIC = "public"
CORS_FILTER = "cors"
DEGRADED_HEADER = "baas-degraded"
_CORS = "envoy.extensions.filters.http.cors.v3"
_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_ALLOWED = (
    "authorization", "apikey", "content-type", "content-encoding", "accept", "prefer", "accept-profile", "content-profile", "range",
    "if-none-match", "cache-control", "pragma", "x-requested-with", "x-client-info", "x-supabase-api-version", "x-retry-count", "x-upsert",
    "x-metadata", "x-region", "x-request-id", "traceparent", "tracestate", "baggage", "tus-resumable", "upload-length",
    "upload-defer-length", "upload-offset", "upload-metadata", "upload-concat", "x-parse-application-id", "x-parse-rest-api-key",
    "x-parse-javascript-key", "x-parse-client-key", "x-parse-session-token", "x-parse-installation-id", "x-parse-request-id",
    "x-parse-master-key", "x-parse-client-version", "x-parse-revocable-session", "x-parse-cloud-context",
    "x-parse-upload-mode", "x-parse-file-directory", "x-parse-file-metadata", "x-parse-file-tags", "x-parse-file-max-upload-size",
    "x-parse-job-status-id", "x-parse-push-status-id", "x-http-method-override",
)  # fmt: skip
"""What clients send from a browser: supabase-js 2.119 (`cors.ts`, and the sources of its libraries), tus-js-client, and
Parse's (`DEFAULT_ALLOWED_HEADERS` of the server, and what it reads beside). A header that is not here fails the whole request."""
_EXPOSED = (
    "content-range", "content-length", "content-profile", "content-location", "location", "preference-applied", "etag", "retry-after",
    "link", "x-request-id", "x-total-count", "x-supabase-api-version", "x-relay-error", "upload-offset", "upload-length",
    "upload-defer-length", "upload-metadata", "upload-concat", "upload-expires", "tus-resumable", "tus-version", "tus-extension",
    "tus-max-size", "x-parse-job-status-id", "x-parse-push-status-id", DEGRADED_HEADER,
)  # fmt: skip
"""What they read of answers, beside what they may read of any."""
_OF_CORS = ("access-control-allow-origin", "access-control-allow-credentials")
"""Taken from a component's answer before the CORS filter comes to it: who may read it is said there alone, and the filter only adds. Parse
Server, and functions, say of their answers that anybody may."""
_STREAM_IDLE_SECONDS = 3600
IDLE_SECONDS = 60
"""How long nothing may come of a request, or go: unless a route says otherwise (`listeners.py`)."""
READS: Config = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
_WEBSOCKET: tuple[Config, ...] = (
    {"name": ":method", "string_match": {"exact": "GET"}},
    {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}},
)


def public_routes(given: GatewayInput) -> str:
    """The file of the API's routes."""
    # The longest path first: `/auth/v1/callback` is not what `/auth/v1/` asks for.
    ordered = sorted(given.routes, key=lambda each: -len(each.prefix))
    routes = [made for route in ordered for made in _routes(given, route)]
    routes.append(_answer(404, "No such route."))
    first = _to_https(given) if given.spec.tls and given.spec.redirects else []
    # Each once, as somebody may say these, too: Envoy takes no routes where a domain is twice.
    domains = list(dict.fromkeys((*given.hosts, *given.own_hosts))) if given.hosts else ["*"]
    hosts = [{
        "name": PUBLIC, "domains": domains, "routes": [*first, *routes],
        "typed_per_filter_config": {CORS_FILTER: _cors(given)},
    }]  # fmt: skip
    if given.hosts:
        hosts.append({"name": "other", "domains": ["*"], "routes": [*first, _answer(421, "This gateway does not serve that host.")]})
    return resources(
        typed(
            _ROUTES, name=PUBLIC, virtual_hosts=hosts, ignore_port_in_host_matching=True,
            request_headers_to_remove=["apikey", *OWN_HEADERS],
            response_headers_to_remove=["server", "x-envoy-upstream-service-time", "x-envoy-overloaded", UNDONE_HEADER, *_OF_CORS],
        ),
    )  # fmt: skip


def _to_https(given: GatewayInput) -> list[Config]:
    """What comes over plain HTTP is led to the same by HTTPS, with the same method; but for the Service's own names, which components,
    workers and others inside the cluster call, and no certificate is for. Who names the port of HTTP is led to that of HTTPS."""
    port = given.ports.http
    # Envoy says it itself of each connection: there is no proxy in front that would be believed where TLS ends here.
    plain: list[Config] = [{"name": "x-forwarded-proto", "string_match": {"exact": "http"}}]
    if given.own_hosts:
        own = "|".join(re.escape(each) for each in given.own_hosts)
        plain.append({"name": ":authority", "string_match": {"safe_regex": {"regex": f"(?i)({own})(:{port})?"}}, "invert_match": True})
    redirect: Config = {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}
    with_port = {"name": ":authority", "string_match": {"suffix": f":{port}"}}
    return [
        {"match": {"prefix": "/", "headers": [*plain, with_port]}, "redirect": redirect | {"port_redirect": given.ports.https}},
        {"match": {"prefix": "/", "headers": plain}, "redirect": redirect},
    ]


def _answer(status: int, text: str) -> Config:
    return {"match": {"prefix": "/"}, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _match(route: Route, *headers: Config) -> Config:
    where = "prefix" if route.prefix.endswith("/") else "path"
    return {where: route.prefix} | ({"headers": list(headers)} if headers else {})


def _routes(given: GatewayInput, route: Route) -> list[Config]:
    if route.endless:
        return [_stream(given, route)]
    upstream = next(each for each in given.upstreams if each.name == route.upstream)
    made = [_request(given, route, write_cluster(upstream), _HELD_WRITES if upstream.waits else _WRITES)]
    if route.idempotent_reads:
        tries = {"per_try_timeout": seconds(route.read_try_seconds)} if route.read_try_seconds else {}
        retries = _HELD_READS if upstream.waits and not upstream.fallback else _READ_RETRIES
        made.insert(0, _request(given, route, read_cluster(upstream), retries | tries, READS))
    return made


def _stream(given: GatewayInput, route: Route) -> Config:
    """Without an end of its own: what is asked of a WebSocket and of a gRPC stream is that something is heard now and then. They are
    counted apart from requests; what is no WebSocket is no business of a route for them."""
    action: Config = {
        "cluster": route.upstream, "prefix_rewrite": route.rewrite, "timeout": seconds(0), "retry_policy": _WRITES, "priority": "HIGH",
        "idle_timeout": seconds(_STREAM_IDLE_SECONDS),
    }  # fmt: skip
    if route.websocket:
        action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    return _made(given, route, action, "writes", *(_WEBSOCKET if route.websocket else ()))


def _request(given: GatewayInput, route: Route, cluster: str, retries: Config, *headers: Config) -> Config:
    longest = given.spec.limits.timeout_seconds
    timeout = max(longest, route.timeout_seconds)
    action: Config = {"cluster": cluster, "prefix_rewrite": route.rewrite, "timeout": seconds(timeout), "retry_policy": retries}
    # Above it, or it would be this that ends what takes too long, and be counted as something else.
    if timeout > IDLE_SECONDS:
        action["idle_timeout"] = seconds(timeout + 5)
    made = _made(given, route, action, "reads" if headers else "writes", *headers)
    if headers:
        made["metadata"] = {"filter_metadata": {FILTER: {READS_KEY: True}}}
    if headers and cluster != route.upstream:
        made["response_headers_to_add"] = [header(DEGRADED_HEADER, f"%UPSTREAM_METADATA({METADATA}:{DEGRADED_KEY})%")]
    return made


def _made(given: GatewayInput, route: Route, action: Config, kind: str, *headers: Config) -> Config:
    name = route.prefix.strip("/").replace("/", "_").replace(".", "_")  # a dot would end the name of the route in Envoy's statistics
    return {
        "match": _match(route, *headers),
        "route": action,
        "stat_prefix": f"{name}_{kind}",
        "typed_per_filter_config": access(route.access) | body_limit(given, route),
    }


def _retries(retry_on: str, **more: object) -> Config:
    return {
        "retry_on": retry_on,
        "num_retries": 5,
        "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.1s"},
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": 5,
        **more,
    }


_WRITES = _retries("connect-failure,refused-stream")
_HELD: Config = {
    "retriable_headers": [{"name": UNDONE_HEADER, "present_match": True}],
    # For some ten seconds, if nobody gives the pods up before (`clusters.py`): each wait is a random part of half a second.
    "num_retries": 50,
    "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
}
_HELD_WRITES = _retries("connect-failure,refused-stream,retriable-headers", **_HELD)
_HELD_READS = _retries("connect-failure,refused-stream,reset,retriable-headers", **_HELD)
_READ_RETRIES = _retries(
    "connect-failure,refused-stream,reset,gateway-error",
    # Twice where it belongs, and then where it would go if there were nobody.
    retry_priority=extension(
        "envoy.retry_priorities.previous_priorities",
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        update_frequency=2,
    ),
)


def _cors(given: GatewayInput) -> Config:
    origins = [{"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin} for origin in given.spec.cors_origins]
    return typed(
        f"{_CORS}.CorsPolicy",
        allow_origin_string_match=origins,
        allow_methods="GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS",
        allow_headers=",".join(_ALLOWED),
        expose_headers=",".join(_EXPOSED),
        max_age="3600",
        # What it does not allow is answered here too: no request without a key goes on.
        forward_not_matching_preflights=False,
    )
