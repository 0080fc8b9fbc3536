"""What the user says of the gateway, as the gateway's own model has it."""

from __future__ import annotations

from baas_operator.api.common import Resources
from baas_operator.api.instance import gateway as api
from baas_operator.api.instance.isolation import ContainerDefaults
from baas_operator.desired.instance.gateway.model import GatewaySpec, Limits, Rate
from baas_operator.desired.instance.probes import ROLE as PROBE_ROLE
from baas_operator.desired.quantity import parse_bytes


def gateway_spec(
    said: api.Gateway,
    *,
    tls: bool,
    trusted_hops: int,
    redirects: bool = True,
    replicas: int | None = None,
    defaults: ContainerDefaults | None = None,
) -> GatewaySpec:
    """The settings of a gateway. A client that names no user is counted by its address, with a key or without. `tls`: it ends here, and
    `redirects`: in all pods that there are; `trusted_hops`: proxies of the cluster in front; `replicas`: pods that an autoscaler has made
    of it; `defaults`: of containers there."""
    limits = said.limits
    return GatewaySpec(
        replicas=replicas or said.replicas,
        limits=Limits(
            total=_rate(limits.total),
            per_key=_rate(limits.per_client),
            per_address=_rate(limits.per_client),
            exempt_roles=(PROBE_ROLE,),
            body_bytes=limits.body_bytes,
            timeout_seconds=limits.timeout_seconds,
            heap_bytes=_heap(said.resources, defaults),
        ),
        cors_origins=tuple(said.cors.origins),
        tls=tls,
        redirects=redirects,
        trusted_hops=trusted_hops,
        tracing=said.tracing.endpoint if said.tracing else None,
        trace_percent=said.tracing.sample_percent if said.tracing else 0,
    )


def _heap(said: Resources, defaults: ContainerDefaults | None) -> int:
    """Memory at which it begins to refuse: before the kernel ends it, with all that is under way."""
    most = Limits().heap_bytes
    limit = (said.limits and said.limits.memory) or (defaults and defaults.default and defaults.default.memory)
    return min(most, parse_bytes(limit) * 8 // 10) if limit else most


def _rate(said: api.KeyLimit | None) -> Rate | None:
    if said is None:
        return None
    return Rate(said.requests_per_second, said.burst or 2 * said.requests_per_second)
