"""All files of a gateway's ConfigMap."""

from __future__ import annotations

import json

from baas_operator.desired.instance.gateway.bootstrap import bootstrap
from baas_operator.desired.instance.gateway.clusters import clusters
from baas_operator.desired.instance.gateway.health import health_routes
from baas_operator.desired.instance.gateway.keys import jwt_filter
from baas_operator.desired.instance.gateway.limits import rate_filter
from baas_operator.desired.instance.gateway.listeners import certificate, listeners
from baas_operator.desired.instance.gateway.model import DRAIN_SECONDS, FINISH_SECONDS, GatewayInput
from baas_operator.desired.instance.gateway.routes import public_routes
from baas_operator.desired.instance.gateway.typed import (
    BOOTSTRAP,
    CERTIFICATE,
    CLUSTERS,
    EXTENSION,
    HEALTH_ROUTES,
    JWT_FILTER,
    LISTENERS,
    PUBLIC_ROUTES,
    RATE_FILTER,
    Config,
    extension_file,
    resources,
    typed,
)
from baas_operator.desired.key_set import key_ids
from baas_operator.desired.meta import checksum


def gateway_files(given: GatewayInput) -> dict[str, str]:
    """ConfigMap content: file name → text. Only a change of the bootstrap (`bootstrap_of`) has to roll the pods; the rest is followed.

    Raises:
        ValueError: a route or a fallback names an upstream that is not there, or the key set is empty or has a private key.
    """
    _check(given)
    files = {
        BOOTSTRAP: bootstrap(given),
        CLUSTERS: clusters(given),
        LISTENERS: listeners(given),
        PUBLIC_ROUTES: public_routes(given),
        HEALTH_ROUTES: health_routes(given, in_effect(given)),
        extension_file(JWT_FILTER): resources(typed(EXTENSION, **jwt_filter(given))),
        extension_file(RATE_FILTER): resources(typed(EXTENSION, **rate_filter(given))),
    }
    if given.spec.tls:
        files[CERTIFICATE] = certificate(given)
    return files


def in_effect(given: GatewayInput) -> Config:
    """What a gateway whose routes are of this configuration answers on CONFIG_PATH. Keys are proven on KEYS_PATH, with a key."""
    return {"checksum": checksum(given), "kids": sorted(key_ids(given.jwks))}


def bootstrap_of(files: dict[str, str]) -> str:
    """The part that a running gateway does not follow: pods have to be rolled when it changes."""
    return files[BOOTSTRAP]


def arguments(folder: str, *, drain_seconds: int = DRAIN_SECONDS + FINISH_SECONDS) -> tuple[str, ...]:
    """Envoy's arguments. `--drain-time-s`: how long connections of a listener that is replaced may take to end."""
    return (
        "--config-path", f"{folder}/{BOOTSTRAP}", "--concurrency", "1", "--log-level", "warning",
        "--drain-time-s", str(drain_seconds), "--drain-strategy", "immediate", "--disable-hot-restart",
    )  # fmt: skip


def _check(given: GatewayInput) -> None:
    names = {each.name for each in given.upstreams}
    for route in given.routes:
        if route.upstream not in names:
            raise ValueError(f"Route {route.prefix} leads to upstream {route.upstream}, which is not there.")
    for upstream in given.upstreams:
        if upstream.fallback and upstream.fallback not in names:
            raise ValueError(f"Upstream {upstream.name} falls back to {upstream.fallback}, which is not there.")
    keys = json.loads(given.jwks)["keys"]
    if not keys:
        raise ValueError("The key set has no key: Envoy would refuse it and keep its last.")
    if any({"d", "k"} & set(each) for each in keys):
        raise ValueError("The key set has a private or symmetric key: a gateway is given public keys only.")
