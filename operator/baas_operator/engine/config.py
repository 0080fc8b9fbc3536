"""The operator's own settings, from its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from baas_operator.desired.images import Images
from baas_operator.desired.meta import OPERATOR_NAMESPACE


@dataclass(frozen=True)
class Config:
    """Settings. `namespaces` empty means all; `monitoring_namespace` is the one that Prometheus is in, empty for none; `pod_monitors`:
    whether backends have PodMonitors, with `monitoring_labels`; `workers` is how many objects are reconciled at the same time."""

    identity: str = "local"
    namespace: str = OPERATOR_NAMESPACE
    namespaces: tuple[str, ...] = ()
    monitoring_namespace: str = ""
    monitoring_labels: Mapping[str, str] = field(default_factory=dict)
    pod_monitors: bool = True
    log_level: str = "INFO"
    health_port: int = 8080
    workers: int = 8
    resync_seconds: float = 600.0
    images: Images = field(default_factory=Images)


def from_environment(env: Mapping[str, str] = os.environ) -> Config:
    """Read the settings.

    Raises:
        ValueError: a number is none.
    """
    default, images = Config(), Images()
    return Config(
        identity=env.get("POD_NAME", default.identity),
        namespace=env.get("POD_NAMESPACE", default.namespace),
        namespaces=tuple(filter(None, (each.strip() for each in env.get("BAAS_WATCH_NAMESPACES", "").split(",")))),
        monitoring_namespace=env.get("BAAS_MONITORING_NAMESPACE", default.monitoring_namespace),
        monitoring_labels=json.loads(env.get("BAAS_MONITORING_LABELS", "{}")),
        pod_monitors=env.get("BAAS_POD_MONITORS", "true") == "true",
        log_level=env.get("BAAS_LOG_LEVEL", default.log_level),
        health_port=int(env.get("BAAS_HEALTH_PORT", default.health_port)),
        workers=int(env.get("BAAS_WORKERS", default.workers)),
        resync_seconds=float(env.get("BAAS_RESYNC_SECONDS", default.resync_seconds)),
        images=Images(**{name: env.get(f"BAAS_IMAGE_{name.upper()}", reference) for name, reference in asdict(images).items()}),
    )
