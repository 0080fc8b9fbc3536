"""Images of the operands; the chart sets them through the operator's environment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Images:
    """Default image of each operand, under its upstream reference."""

    operator: str = "baas-operator/operator:0.1.0"
    postgres: str = "baas-operator/postgres:17"
    pgbouncer: str = "edoburu/pgbouncer:v1.24.1-p1"
    nats: str = "nats:2.15.2-alpine"
    envoy: str = "envoyproxy/envoy:v1.40.0"
    postgrest: str = "postgrest/postgrest:v12.0.2"
