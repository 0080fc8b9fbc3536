"""The metrics table: one source for what is exported, documented and alerted on."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("baas_reconciles_total", "Reconciles, by kind and outcome (done, waiting, refused, error).", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(
    "baas_reconcile_seconds", "Duration of a reconcile.", ["kind"], buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
)
QUEUE_DEPTH = Gauge("baas_queue_depth", "Objects that wait for a reconcile.")
WRITES = Counter("baas_api_writes_total", "Write requests to the API server, by verb and kind.", ["verb", "kind"])
LEADING = Gauge("baas_leading", "1 while this replica holds the Lease.")
WATCH_AGE = Gauge("baas_watch_seconds_since_progress", "Seconds since the watches last brought anything.")
LAST_FAILOVER = Gauge(
    "baas_database_last_failover_seconds",
    "Seconds from the old primary's last sign of life to the new one's taking writes, of a database's last failover or switchover.",
    ["namespace", "name", "planned"],
)
LAST_FAILOVER_TIME = Gauge(
    "baas_database_last_failover_timestamp_seconds",
    "When the new primary of a database's last failover or switchover took writes, in seconds since 1970.",
    ["namespace", "name"],
)
CONDITION = Gauge("baas_condition", "1 while a condition of an object is true.", ["kind", "namespace", "name", "type"])
