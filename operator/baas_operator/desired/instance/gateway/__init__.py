"""The gateway's configuration: Envoy, which follows the files of a mounted ConfigMap."""

from __future__ import annotations

from baas_operator.desired.instance.gateway.build import arguments, bootstrap_of, gateway_files, in_effect
from baas_operator.desired.instance.gateway.health import (
    CONFIG_PATH,
    KEYS_PATH,
    METRICS_PATH,
    READY_PATH,
    STARTED_PATH,
    drain_path,
)
from baas_operator.desired.instance.gateway.model import (
    CONFIG_MOUNT,
    DRAIN_SECONDS,
    FINISH_SECONDS,
    TLS_MOUNT,
    GatewayInput,
    GatewaySpec,
    Limits,
    Ports,
    Rate,
    Route,
    Upstream,
)
from baas_operator.desired.instance.gateway.options import gateway_spec

__all__ = [
    "CONFIG_MOUNT",
    "CONFIG_PATH",
    "DRAIN_SECONDS",
    "FINISH_SECONDS",
    "KEYS_PATH",
    "METRICS_PATH",
    "READY_PATH",
    "STARTED_PATH",
    "TLS_MOUNT",
    "GatewayInput",
    "GatewaySpec",
    "Limits",
    "Ports",
    "Rate",
    "Route",
    "Upstream",
    "arguments",
    "bootstrap_of",
    "drain_path",
    "gateway_files",
    "gateway_spec",
    "in_effect",
]
