"""Who may come in: API keys and tokens are JWTs that a key of the instance signed. Envoy has the key set itself: this needs no other pod.

What a route asks for goes with the route that was chosen, not with a second look at the path: there is no path that one sees and the other
does not.
"""

from __future__ import annotations

from baas_operator.desired.instance.gateway.model import WAITED_HEADER, Access, GatewayInput
from baas_operator.desired.instance.gateway.typed import JWT_FILTER, Config, extension, typed

_JWT = "envoy.extensions.filters.http.jwt_authn.v3"
_RBAC = "envoy.extensions.filters.http.rbac.v3"
_PAYLOADS = "envoy.filters.http.jwt_authn"
ROLE_FILTER = "role"
SUBJECT_HEADER = "x-baas-subject"
TOKEN_ROLE_HEADER = "x-baas-token-role"  # noqa: S105 - a header's name
KEY_ROLE_HEADER = "x-baas-key-role"
OWN_HEADERS = (SUBJECT_HEADER, TOKEN_ROLE_HEADER, KEY_ROLE_HEADER, WAITED_HEADER)
"""Between filters of the gateway alone: what a client sends by these names is taken away first, and what jwt_authn puts there last. Key and
token have a header each: jwt_authn takes the headers of a provider away when it finds no token for it, also what another has put there."""
_SERVICE_ROLE = "service_role"


def _provider(given: GatewayInput, name: str, **where: object) -> Config:
    return {
        "issuer": given.issuer,
        "forward": True,
        "local_jwks": {"inline_string": given.jwks},
        "payload_in_metadata": name,
        "header_in_metadata": f"{name}-header",
        # Verified once a worker, not once a request; whether it has expired is looked at every time.
        "jwt_cache_config": {"jwt_cache_size": 1000},
        "clock_skew_seconds": 30,  # as PostgREST has it
        **where,
    }


def _any(*requirements: Config) -> Config:
    return {"requires_any": {"requirements": list(requirements)}}


def _all(*requirements: Config) -> Config:
    return {"requires_all": {"requirements": list(requirements)}}


def jwt_filter(given: GatewayInput) -> Config:
    """Checks keys and tokens; the filter's own resource."""
    bearer = [{"name": "Authorization", "value_prefix": f"{word} "} for word in ("Bearer", "bearer")]
    key_role = {"header_name": KEY_ROLE_HEADER, "claim_name": "role"}
    role = {"header_name": TOKEN_ROLE_HEADER, "claim_name": "role"}
    subject = {"header_name": SUBJECT_HEADER, "claim_name": "sub"}
    apikey = {"from_headers": [{"name": "apikey"}], "claim_to_headers": [key_role]}
    providers = {
        "key": _provider(given, "key", **apikey),
        "upgrade-key": _provider(given, "key", **apikey, from_params=["apikey"]),
        "token": _provider(given, "token", from_headers=bearer, claim_to_headers=[role, subject]),
    }

    def asked(key: str) -> Config:
        # One of both has to be there, and whichever is there has to be good: a good key does not carry a bad token, nor the reverse.
        # Most have a key: each of both is looked at once then.
        one: Config = {"provider_name": key}
        token: Config = {"provider_name": "token"}
        missing: Config = {"allow_missing": {}}
        return _any(_all(one, _any(token, missing)), _all(token, _any(one, missing)))

    return extension(
        JWT_FILTER,
        f"{_JWT}.JwtAuthentication",
        providers=providers,
        requirement_map={"api-key": asked("key"), "upgrade": asked("upgrade-key")},
        # Of routes that ask for nothing: whose key it is that somebody shows, for the limits (`limits.py`). None is refused.
        rules=[{"match": {"prefix": "/"}, "requires": _any({"provider_name": "key"}, {"allow_missing_or_failed": {}})}],
    )


def role_filter() -> Config:
    """Lets everything pass, but on routes that say otherwise."""
    return extension(ROLE_FILTER, f"{_RBAC}.RBAC")


def _claim(of: str, value: Config) -> Config:
    matcher = {"filter": _PAYLOADS, "path": [{"key": of}, {"key": "role"}], "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher, "metadata_source": "DYNAMIC"}}


def access(wanted: Access) -> Config:
    """What a route asks for, as its settings of the filters."""
    if wanted == "public":
        return {}
    name = "upgrade" if wanted == "upgrade" else "api-key"
    made = {JWT_FILTER: typed(f"{_JWT}.PerRouteConfig", requirement_name=name)}
    if wanted == "service-key":
        service = {"string_match": {"exact": _SERVICE_ROLE}}
        # The token says who one is, where there is one; the key only where there is none.
        by_key = {"and_ids": {"ids": [{"not_id": _claim("token", {"present_match": True})}, _claim("key", service)]}}
        policy = {"permissions": [{"any": True}], "principals": [_claim("token", service), by_key]}
        made[ROLE_FILTER] = typed(f"{_RBAC}.RBACPerRoute", rbac={"rules": {"action": "ALLOW", "policies": {_SERVICE_ROLE: policy}}})
    return made
