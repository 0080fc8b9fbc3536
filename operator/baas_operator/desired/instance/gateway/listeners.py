"""Where the gateway listens, and what every request goes through. Only a change of this file replaces a listener: keys, limits and routes
are resources of their own, which the running filters follow."""

from __future__ import annotations

from baas_operator.desired.instance.gateway.clusters import TRACING
from baas_operator.desired.instance.gateway.health import health_listener
from baas_operator.desired.instance.gateway.keys import OWN_HEADERS, role_filter
from baas_operator.desired.instance.gateway.limits import body_filters
from baas_operator.desired.instance.gateway.model import KEPT_BYTES, GatewayInput
from baas_operator.desired.instance.gateway.postgrest import AGAIN, UNKNOWN
from baas_operator.desired.instance.gateway.routes import CORS_FILTER, IDLE_SECONDS, PUBLIC, READS
from baas_operator.desired.instance.gateway.typed import (
    CERTIFICATE,
    JWT_FILTER,
    PUBLIC_ROUTES,
    RATE_FILTER,
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
from baas_operator.desired.instance.gateway.waiting import waiting_listener

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
TLS_SECRET = "certificate"  # noqa: S105 - a name
_MESSAGES = {
    400: "The request can not be understood.",
    403: "This route is for the service_role key alone.",
    408: "The request did not come to its end in time.",
    413: "The request is too large.",
    429: "Too many requests. Try again later.",
    431: "The request's headers are too large.",
    502: "The backend broke off. Try again.",
    503: AGAIN,
    504: "The backend did not answer in time.",
}
"""What a client is told instead of what Envoy says to its operators."""
_NO_KEY = "There is no API key: send it in the header apikey."


def listeners(given: GatewayInput) -> str:
    """The file of all listeners."""
    made = [health_listener(given)]
    if any(each.waits for each in given.upstreams):
        made.append(waiting_listener(given))
    made.append(_listener(given, "http", given.ports.http))
    if given.spec.tls:
        made.append(_listener(given, "https", given.ports.https, tls=True))
    return resources(*(typed("envoy.config.listener.v3.Listener", **each) for each in made))


def certificate(given: GatewayInput) -> str:
    """The file that says where the certificate is; Envoy follows the Secret's folder too. It looks once, as the kubelet moves `..data`.
    Names that are new in the folder itself the kubelet makes after that (its source, `AtomicWriter.Write`): by these, a certificate that
    comes after the gateway would be missed for ever."""
    files = f"{given.tls_folder}/..data"
    secret = {
        "certificate_chain": {"filename": f"{files}/tls.crt"},
        "private_key": {"filename": f"{files}/tls.key"},
        "watched_directory": {"path": given.tls_folder},
    }
    made = typed("envoy.extensions.transport_sockets.tls.v3.Secret", name=TLS_SECRET, tls_certificate=secret)
    return resources(made)


def _filters(given: GatewayInput) -> list[Config]:
    return [
        extension(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors"),
        discovered(given, JWT_FILTER, "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
        discovered(given, RATE_FILTER, "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"),
        role_filter(),
        *body_filters(given),
    ]


def _listener(given: GatewayInput, name: str, port: int, *, tls: bool = False) -> Config:
    manager = typed(
        MANAGER,
        stat_prefix=name,
        codec_type="AUTO",
        rds={"route_config_name": PUBLIC, "config_source": from_file(given, PUBLIC_ROUTES)},
        http_filters=[*_filters(given), extension("envoy.filters.http.router", _ROUTER)],
        use_remote_address=True,
        xff_num_trusted_hops=given.spec.trusted_hops,
        server_header_transformation="PASS_THROUGH",
        generate_request_id=True,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        # One path for everybody: routes, checks and components see the same.
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        common_http_protocol_options={"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        http2_protocol_options={
            "max_concurrent_streams": 100, "initial_stream_window_size": 65_536, "initial_connection_window_size": 1_048_576,
        },
        request_headers_timeout="10s",
        stream_idle_timeout=seconds(IDLE_SECONDS),
        early_header_mutation_extensions=[_nothing_of_ours()],
        local_reply_config=_local_replies(),
        access_log=[_access_log()],
        **({"tracing": _tracing(given)} if given.spec.tracing else {}),
    )  # fmt: skip
    chain: Config = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if tls:
        chain["transport_socket"] = _tls(given)
    return {
        "name": name,
        "address": address(given.ports.address, port),
        "per_connection_buffer_limit_bytes": KEPT_BYTES,
        "filter_chains": [chain],
    }


def _nothing_of_ours() -> Config:
    return extension(
        "nothing-of-ours",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": name} for name in OWN_HEADERS],
    )


def _tls(given: GatewayInput) -> Config:
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [{"name": TLS_SECRET, "sds_config": from_file(given, CERTIFICATE)}],
        },
    )


def _status(code: int) -> Config:
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": code, "runtime_key": f"status.{code}"}}}}


def _broken_off_write() -> Config:
    """A write that had been sent when its connection broke: without `Retry-After`, since it may be done."""
    writes = {"header": {**READS, "invert_match": True}}
    every = [_status(503), {"response_flag_filter": {"flags": ["UC", "UR", "LR", "UPE"]}}, {"header_filter": writes}]
    return {"and_filter": {"filters": every}}


def _without_key() -> Config:
    """A request that has no key at all; a WebSocket's may be among its parameters."""
    absent = [{"header_filter": {"header": {"name": each, "present_match": False}}} for each in ("apikey", "authorization", "upgrade")]
    return {"and_filter": {"filters": [_status(401), *absent]}}


def _local_replies() -> Config:
    mappers: list[Config] = [
        {"filter": _broken_off_write(), "status_code": 502, "body": {"inline_string": UNKNOWN}},
        {"filter": _without_key(), "body": {"inline_string": _NO_KEY}},
        # A body that outgrew what is kept of one while its request waited: it has been sent to nobody.
        {"filter": _status(507), "status_code": 503, "body": {"inline_string": AGAIN}, "headers_to_add": [header("retry-after", "1")]},
    ]
    for code, message in _MESSAGES.items():
        mapper: Config = {"filter": _status(code), "body": {"inline_string": message}}
        if code == 503:
            mapper["headers_to_add"] = [header("retry-after", "1")]
        mappers.append(mapper)
    reply = {"code": "%RESPONSE_CODE%", "message": "%LOCAL_REPLY_BODY%", "request_id": "%REQ(X-REQUEST-ID)%"}
    return {"mappers": mappers, "body_format": {"json_format": reply}}


def _claim(name: str) -> str:
    return f"%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:{name})%"


def _access_log() -> Config:
    return extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        # Neither query nor headers that hold keys: all the rest is in the request's own id.
        log_format={"json_format": {
            "time": "%START_TIME%", "request_id": "%REQ(X-REQUEST-ID)%", "trace": "%REQ(TRACEPARENT)%",
            "method": "%REQ(:METHOD)%", "path": "%PATH(NQ)%", "host": "%REQ(:AUTHORITY)%", "protocol": "%PROTOCOL%",
            "status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "why": "%RESPONSE_CODE_DETAILS%",
            "milliseconds": "%DURATION%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%",
            "upstream": "%UPSTREAM_HOST%", "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "role": _claim("token:role"), "key_role": _claim("key:role"), "key": _claim("key-header:kid"),
        }, "omit_empty_values": True},
    )  # fmt: skip


def _tracing(given: GatewayInput) -> Config:
    provider = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": TRACING}, "timeout": "0.5s"},
        service_name="baas-gateway",
    )
    return {"provider": provider, "random_sampling": {"value": given.spec.trace_percent}}
