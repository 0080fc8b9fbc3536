"""The prober's metrics. Their zone is that of the pod, which Prometheus adds by its name; the operator tells of zones itself."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RESULTS = Counter(
    "baas_probe_total",
    "Synthetic transactions through the gateway, by result (ok, degraded: read from a standby, failed).",
    ["transaction", "result"],
)
SECONDS = Histogram(
    "baas_probe_seconds",
    "Duration of a synthetic transaction that succeeded.",
    ["transaction"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
SUCCESS_TIME = Gauge(
    "baas_probe_last_success_timestamp_seconds", "When a synthetic transaction last succeeded, in seconds since 1970.", ["transaction"]
)
FAILURES = Gauge("baas_probe_consecutive_failures", "How often in a row a synthetic transaction has failed.", ["transaction"])
CONFIG_BROKEN = Gauge("baas_probe_config_broken", "1 while the prober's configuration can not be read and the one before it is used.")


def forget(transaction: str) -> None:
    """Show nothing more of a transaction that is not asked for any more."""
    for each in (RESULTS, SECONDS, SUCCESS_TIME, FAILURES):
        each.remove_by_labels({"transaction": transaction})
