"""The operator's own settings, from its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from baas_operator.desired.images import Images
from baas_operator.desired.meta import OPERATOR_NAMESPACE


@dataclass(frozen=True)
class Config:
    """Settings. `namespaces` empty means all; `monitoring_namespace` is the one that Prometheus is in, empty for none; `workers` is how
    many objects are reconciled at the same time."""

    identity: str = "local"
    namespace: str = OPERATOR_NAMESPACE
    namespaces: tuple[str, ...] = ()
    monitoring_namespace: str = ""
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
        log_level=env.get("BAAS_LOG_LEVEL", default.log_level),
        health_port=int(env.get("BAAS_HEALTH_PORT", default.health_port)),
        workers=int(env.get("BAAS_WORKERS", default.workers)),
        resync_seconds=float(env.get("BAAS_RESYNC_SECONDS", default.resync_seconds)),
        images=Images(
            operator=env.get("BAAS_IMAGE_OPERATOR", images.operator),
            postgres=env.get("BAAS_IMAGE_POSTGRES", images.postgres),
            pgbouncer=env.get("BAAS_IMAGE_PGBOUNCER", images.pgbouncer),
            nats=env.get("BAAS_IMAGE_NATS", images.nats),
            envoy=env.get("BAAS_IMAGE_ENVOY", images.envoy),
            postgrest=env.get("BAAS_IMAGE_POSTGREST", images.postgrest),
        ),
    )
