"""How much one client, and all of them together, may ask for. Each gateway pod counts by itself and enforces its share.

A limit that all pods share would need a server that every request waits for, and that is down one day.
"""

from __future__ import annotations

from baas_operator.desired.instance.gateway.keys import KEY_ROLE_HEADER, OWN_HEADERS, SUBJECT_HEADER, TOKEN_ROLE_HEADER
from baas_operator.desired.instance.gateway.model import GatewayInput, Rate, Route
from baas_operator.desired.instance.gateway.typed import RATE_FILTER, Config, extension, header, typed

_LOCAL_RATE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_BODY = "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit"
_CLIENTS = 10_000
"""Clients that a pod counts at a time, a few hundred bytes each; the one not heard of for longest is forgotten first."""
_NO_LIMIT = 2**31


def of_one_pod(rate: Rate, replicas: int) -> Rate:
    """The share of one of `replicas` gateway pods, at least one request."""
    return Rate(-(-rate.per_second // replicas), max(1, -(-rate.burst // replicas)))


def _bucket(rate: Rate) -> Config:
    return {"max_tokens": max(rate.burst, rate.per_second), "tokens_per_fill": rate.per_second, "fill_interval": "1s"}


def _is_there(name: str, *, there: bool = True) -> Config:
    return {"name": name, "present_match": there}


def _is_not(name: str, value: str) -> Config:
    # Without the last, Envoy says of a header that is not there that nothing matches.
    return {"name": name, "string_match": {"exact": value}, "invert_match": True, "treat_missing_header_as_empty": True}


def _value_of(name: str, key: str) -> Config:
    return {"request_headers": {"header_name": name, "descriptor_key": key}}


def rate_filter(given: GatewayInput) -> Config:
    """Counts requests and answers 429; the filter's own resource. Who asks is what jwt_authn found out, or else the client's address."""
    limits, replicas = given.spec.limits, given.spec.replicas
    counted = [_is_not(KEY_ROLE_HEADER, role) for role in limits.exempt_roles]
    actions: list[Config] = []
    descriptors: list[Config] = []

    def when(present: str | None, *absent: str) -> Config:
        headers = [*([_is_there(present)] if present else []), *(_is_there(name, there=False) for name in absent), *counted]
        return {"header_value_match": {"descriptor_key": "who", "descriptor_value": "one", "headers": headers}}

    def limit(rate: Rate, what: list[Config], *keys: str) -> None:
        actions.append({"actions": what})
        # A key without a value stands for each value by itself.
        entries = [{"key": key, "value": "one"} if key == "who" else {"key": key} for key in keys]
        descriptors.append({"entries": entries, "token_bucket": _bucket(of_one_pod(rate, replicas))})

    address: Config = {"remote_address": {}}
    if limits.per_key:
        limit(limits.per_key, [when(SUBJECT_HEADER), _value_of(SUBJECT_HEADER, "subject")], "who", "subject")
        by_token = [when(TOKEN_ROLE_HEADER, SUBJECT_HEADER), _value_of(TOKEN_ROLE_HEADER, "role"), address]
        by_key = [when(KEY_ROLE_HEADER, SUBJECT_HEADER, TOKEN_ROLE_HEADER), _value_of(KEY_ROLE_HEADER, "key-role"), address]
        limit(limits.per_key, by_token, "who", "role", "remote_address")
        limit(limits.per_key, by_key, "who", "key-role", "remote_address")
    if limits.per_address:
        limit(limits.per_address, [when(None, *OWN_HEADERS), address], "who", "remote_address")
    total = of_one_pod(limits.total, replicas) if limits.total else Rate(_NO_LIMIT, _NO_LIMIT)
    all_or_none = {"default_value": {"numerator": 100 if limits.total or descriptors else 0, "denominator": "HUNDRED"}}
    return extension(
        RATE_FILTER, _LOCAL_RATE, stat_prefix="rate_limit", token_bucket=_bucket(total),
        filter_enabled=all_or_none, filter_enforced=all_or_none,
        descriptors=descriptors, rate_limits=actions, max_dynamic_descriptors=_CLIENTS,
        always_consume_default_token_bucket=True,
        response_headers_to_add=[header("retry-after", "1")],
    )  # fmt: skip


def _most(given: GatewayInput, route: Route) -> int | None:
    if route.endless:
        return None
    return route.body_bytes or given.spec.limits.body_bytes


def body_filters(given: GatewayInput) -> list[Config]:
    """Count the bytes of a request's body as they come, and hold none of them back: one filter a limit, off where a route does not ask."""
    limits = sorted({most for route in given.routes if (most := _most(given, route))})
    return [extension(_body_name(most), _BODY, max_request_bytes=most) | {"disabled": True} for most in limits]


def body_limit(given: GatewayInput, route: Route) -> Config:
    """How long a request's body may be, as a route's settings of the filters."""
    most = _most(given, route)
    return {_body_name(most): typed("envoy.config.route.v3.FilterConfig", config={})} if most else {}


def _body_name(most: int) -> str:
    return f"body-limit-{most}"
