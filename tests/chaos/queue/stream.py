"""The stream that the ledger is kept in, the same on every queue: what it is made from, and what its client is told. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from baas_operator.desired.queue.streams import NANOSECONDS

STREAM = "ledger"
SUBJECT = "ledger.written"
CONSUMER = "group"
PUBLISHERS = 5
"""The probe, and four for load."""
READERS = 2
DUPLICATE_WINDOW_SECONDS = 120
ACK_WAIT_SECONDS = 5
NO_STREAM = 10059
"""JSStreamNotFoundErr of nats-server (errors.json)."""


def declared() -> dict[str, Any]:
    """It in the spec of an EventQueue."""
    consumer = {"name": CONSUMER, "ackWaitSeconds": ACK_WAIT_SECONDS}
    return {"name": STREAM, "subjects": ["ledger.>"], "duplicateWindowSeconds": DUPLICATE_WINDOW_SECONDS, "consumers": [consumer]}


def create() -> dict[str, str]:
    """It as requests to JetStream, for queues that nobody declares streams for."""
    stream = {
        "name": STREAM, "subjects": ["ledger.>"], "storage": "file", "retention": "limits", "num_replicas": 3, "allow_direct": True,
        "duplicate_window": DUPLICATE_WINDOW_SECONDS * NANOSECONDS,
    }  # fmt: skip
    config = {"durable_name": CONSUMER, "ack_policy": "explicit", "ack_wait": ACK_WAIT_SECONDS * NANOSECONDS, "deliver_policy": "all"}
    return {"stream": json.dumps(stream), "consumer": json.dumps({"stream_name": STREAM, "config": config})}


def work(run: str, servers: Iterable[str]) -> dict[str, Any]:
    """What the client is told to publish and read; `run` begins its ids."""
    return {
        "verb": "write", "servers": list(servers), "stream": STREAM, "subject": SUBJECT, "consumer": CONSUMER, "run": run,
        "publishers": PUBLISHERS, "readers": READERS,
    }  # fmt: skip
