"""Stream of the spec -> JetStream stream configuration (NATS documentation, "Stream configuration")."""

from __future__ import annotations

from typing import Any

from baas_operator.api.queue import EventQueueSpec, Stream
from baas_operator.desired.quantity import parse_bytes

NANOSECONDS = 1_000_000_000


def stream_config(spec: EventQueueSpec, stream: Stream) -> dict[str, Any]:
    """The fields of a stream's configuration that the operator decides; the server fills in the others."""
    return {
        "name": stream.name,
        "subjects": sorted(stream.subjects),
        "retention": stream.retention.value,
        "storage": "file",
        "num_replicas": min(spec.replicas, 3),
        "max_age": (stream.max_age_hours or 0) * 3600 * NANOSECONDS,
        "max_bytes": parse_bytes(stream.max_size) if stream.max_size else -1,
        "max_msg_size": parse_bytes(stream.max_message_size) if stream.max_message_size else -1,
        "discard": stream.discard.value,
        "duplicate_window": duplicate_window(stream) * NANOSECONDS,
    }


def duplicate_window(stream: Stream) -> int:
    """Seconds for which message ids are remembered; JetStream takes no window longer than the stream's age limit."""
    limit = (stream.max_age_hours or 0) * 3600
    return min(stream.duplicate_window_seconds, limit) if limit else stream.duplicate_window_seconds


def overlaps(one: str, other: str) -> bool:
    """Whether two subjects can match the same message (NATS documentation, "Subject-based messaging")."""
    left, right = one.split("."), other.split(".")
    for index in range(max(len(left), len(right))):
        if index >= len(left) or index >= len(right):
            return False
        if ">" in (left[index], right[index]):
            return True
        if "*" not in (left[index], right[index]) and left[index] != right[index]:
            return False
    return True
