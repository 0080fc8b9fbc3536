"""The dispatcher's metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "baas_webhook_attempts_total",
    "Attempts to deliver a message, by outcome (taken, failed, timeout, unreachable, refused, gone).",
    ["webhook", "outcome"],
)
SECONDS = Histogram(
    "baas_webhook_attempt_seconds", "Duration of an attempt.", ["webhook"], buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
)
DEAD = Counter("baas_webhook_dead_letters_total", "Messages that became dead letters, by reason.", ["webhook", "reason"])
PENDING = Gauge("baas_webhook_pending", "Messages that wait for delivery, the ones that are tried again included.", ["webhook"])
OLDEST = Gauge("baas_webhook_oldest_pending_seconds", "Age of the oldest message that waits for delivery.", ["webhook"])
FAILURES = Gauge("baas_webhook_consecutive_failures", "Attempts in a row that failed, as this dispatcher saw them.", ["webhook"])
STATE = Gauge("baas_webhook_state", "1 for the state that the endpoint's circuit breaker is in.", ["webhook", "state"])
CONFIG_BROKEN = Gauge("baas_webhook_config_broken", "1 while the dispatcher's configuration can not be read and the one before it is used.")


def forget(webhook: str) -> None:
    """Show nothing more of a webhook that is not declared any more."""
    for each in (ATTEMPTS, SECONDS, DEAD, PENDING, OLDEST, FAILURES, STATE):
        each.remove_by_labels({"webhook": webhook})
