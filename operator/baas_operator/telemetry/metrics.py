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
READY_DISPATCHERS = Gauge(
    "baas_queue_ready_dispatchers", "Dispatchers of a queue that are ready; not there where it is to have none.", ["namespace", "name"]
)
PROBE_OK = Gauge(
    "baas_instance_probe_ok",
    "1 where a synthetic transaction through a backend's gateway succeeds from a zone, 0 where it has failed twice in a row.",
    ["namespace", "name", "transaction", "zone"],
)
LETTERS_REPLAYED = Counter(
    "baas_queue_letters_replayed_total",
    "Dead letters of a queue's stream that Operations published again.",
    ["namespace", "name", "stream"],
)
LETTERS_PURGED = Counter(
    "baas_queue_letters_purged_total", "Dead letters of a queue's stream that Operations deleted.", ["namespace", "name", "stream"]
)
CONDITION = Gauge("baas_condition", "1 while a condition of an object is true.", ["kind", "namespace", "name", "type"])
