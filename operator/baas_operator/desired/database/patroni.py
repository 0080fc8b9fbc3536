"""Patroni's configuration: the file that each member starts with, and the dynamic part that it keeps in the cluster.

Timers (Patroni documentation, "Dynamic configuration settings"): ttl can not be below 20, and loop_wait + 2 * retry_timeout
must not exceed it. primary_start_timeout 0 fails over at once instead of waiting 300 s for a crashed primary to recover.
"""

from __future__ import annotations

from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec, Durability
from baas_operator.desired.database import names
from baas_operator.desired.meta import NAME_LABEL, ROLE_LABEL, Owner
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.text import render

DATA_DIR = f"{names.DATA_VOLUME}/pgdata"

PARAMETERS = {
    "password_encryption": "scram-sha-256",
    "wal_level": "logical",
    "hot_standby": "on",
    "max_wal_senders": "16",
    "max_replication_slots": "16",
    # The default is 60 s. Not shorter than it takes the standbys to turn away together: a primary that strikes them off before
    # would keep the lock, and could use it for nothing.
    "wal_sender_timeout": "10s",
    "wal_receiver_status_interval": "1s",
    # The default of 5 s is what a surviving standby waits before it follows a new primary, and what a promotion waits that is asked for in
    # the moment in which a standby begins to look for its primary again: the request keeps the receiver from starting, and nothing else
    # ends the wait for what it would have brought (seen in 17.9).
    "wal_retrieve_retry_interval": "250ms",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "checkpoint_completion_target": "0.9",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def _timeouts(spec: DatabaseReplicaSpec) -> dict[str, str]:
    """A receiver asks for a sign of life after half of its timeout: that has to come before the silence counts."""
    return {"wal_receiver_timeout": f"{spec.failover.detection_seconds + 1}s"}


def _log_kept(spec: DatabaseReplicaSpec) -> dict[str, str]:
    """A replication slot keeps the log for a standby that is away, without end by default: it would fill the primary's disk. A standby that
    is away for longer than a quarter of that holds is copied anew (policy/repair.py)."""
    return {"max_slot_wal_keep_size": f"{max(64, parse_bytes(spec.storage.size) // 4 // 2**20)}MB"}


def dynamic_config(spec: DatabaseReplicaSpec, *, members_per_zone: int, has_standby: bool, read_only: bool = False) -> dict[str, Any]:
    """Patroni's dynamic configuration for a spec.

    `has_standby`: a synchronous standby has streamed at least once. Before that the strict mode of zone-quorum must wait: Patroni 4.1.5
    ends the bootstrap of a strict quorum cluster with `synchronous_standby_names = 'ANY None (*)'` (ha.py, `post_bootstrap`: a set
    without a count), which PostgreSQL does not start with again (docs/decisions/strict-after-bootstrap.md).

    `members_per_zone`: the most members that share a zone. A commit waits for that many standbys, so that at least one of them
    is in another zone than the primary, whichever they are. While fewer are there, it waits for those, for one at least (Patroni, strict
    mode): where a zone has several members, they may all be in the primary's, and then the database is not Ready (policy/health.py).

    `read_only`: the primary's volume is full (policy/storage.py).
    """
    strict = spec.durability is Durability.ZONE_QUORUM and has_standby
    return {
        "ttl": 20,
        "loop_wait": 2,
        "retry_timeout": 3,
        "maximum_lag_on_failover": names.MAX_LAG_BYTES,
        "failsafe_mode": True,
        "primary_start_timeout": 0,
        "synchronous_mode": "off" if spec.durability is Durability.ASYNC else "quorum",
        "synchronous_mode_strict": strict,
        "synchronous_node_count": members_per_zone if spec.durability is Durability.ZONE_QUORUM else 1,
        "member_slots_ttl": "30min",
        # All of it is in one annotation, and an object's may have 256 KiB together: after some 2,600 promotions nothing could be noted.
        "max_timelines_history": 100,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "remove_data_directory_on_diverged_timelines": True,
            "parameters": PARAMETERS
            | _timeouts(spec)
            | _log_kept(spec)
            | spec.parameters
            | ({"default_transaction_read_only": "on"} if read_only else {}),
        },
    }


def config_file(spec: DatabaseReplicaSpec, owner: Owner, *, members_per_zone: int) -> str:
    """patroni.yml, the same for every member; `members_per_zone` counts only when the cluster is made."""
    return render(
        "patroni.yml.j2",
        name=owner.name,
        labels=owner.labels(names.COMPONENT),
        scope_label=NAME_LABEL,
        role_label=ROLE_LABEL,
        dynamic=dynamic_config(spec, members_per_zone=members_per_zone, has_standby=False),
        bin_dir=f"/usr/lib/postgresql/{spec.version}/bin",
        data_dir=DATA_DIR,
        server_tls=names.SERVER_TLS_DIR,
        replication_tls=names.REPLICATION_DIR,
        replicator=names.REPLICATOR,
        rewind=names.REWIND,
        superuser=names.SUPERUSER,
        exporter=names.EXPORTER,
        exporter_user=names.EXPORTER_USER,
        socket_dir=names.SOCKET_DIR,
    )


def files(config: str) -> dict[str, str]:
    """What Patroni reads: its configuration, and the script that it runs before a promotion."""
    return {"patroni.yml": config, "may-promote.sh": render("may-promote.sh.j2", port=names.AGENT_PORT, path=names.PROMOTION_PATH)}
