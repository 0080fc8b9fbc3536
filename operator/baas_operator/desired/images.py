"""Images of the operands; the chart sets them through the operator's environment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Images:
    """Default image of each operand, under its upstream reference."""

    operator: str = "baas-operator/operator:0.1.0"
    postgres: str = "baas-operator/postgres:17"
    pgbouncer: str = "edoburu/pgbouncer:v1.24.1-p1"
    nats: str = "nats:2.14.10-alpine"
    envoy: str = "envoyproxy/envoy:v1.40.0"
    postgrest: str = "postgrest/postgrest:v12.0.2"
    auth: str = "supabase/gotrue:v2.186.0"
    storage: str = "supabase/storage-api:v1.44.2"
    meta: str = "supabase/postgres-meta:v0.99.0"
    functions: str = "baas-operator/functions:1"
    parse_server: str = "baas-operator/parse-server:9"
    valkey: str = "valkey/valkey:8.1.1"
