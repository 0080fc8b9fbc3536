"""What an EventQueue keeps -> JetStream configuration: streams, their consumers, key-value and object stores (NATS documentation, "Stream
configuration" and "Consumer configuration").

Only what the operator decides is in it; the server fills in the rest, and what somebody sets of that by hand stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import Consumer, Copy, KeyValue, ObjectStore, Stream
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue.remotes import domain_of, external

NANOSECONDS = 1_000_000_000
USUAL_COPIES = 3
QUEUE_MARK = "baas-operator.io/queue"
DELETION_MARK = "baas-operator.io/deletion-policy"
"""Marks in JetStream's own metadata: what we made, and what becomes of it once it is taken out of the spec, which is then not there to
ask."""
COPIES_MARK = "baas-operator.io/copies"
"""How many copies a stream had before a server went, of one that has more meanwhile. What the spec declares is not read from it."""
_STORE_WINDOW_SECONDS = 120


@dataclass(frozen=True)
class Kept:
    """A stream that is to be there, and its consumers by name. `title`: what people call it."""

    config: Mapping[str, Any]
    consumers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    title: str = ""
    waits: bool = False
    """Whether it is left as it is for now, as it is not known yet what it should be."""
    letters: bool = False
    """Whether what its consumers give up is a dead letter."""

    @property
    def name(self) -> str:
        """Name of the stream."""
        return str(self.config["name"])


def marks(queue: str, policy: DeletionPolicy) -> dict[str, str]:
    """What our streams and consumers carry; the server adds keys of its own, which begin with `_nats.`."""
    return {QUEUE_MARK: queue, DELETION_MARK: policy.value}


def copies(spec: EventQueueSpec, wanted: int | None) -> int:
    """Copies of a stream: what it wants, as far as there are servers for them."""
    return min(wanted or USUAL_COPIES, spec.replicas)


def stream_config(
    spec: EventQueueSpec,
    stream: Stream,
    *,
    queue: str = "",
    namespace: str = "",
    share: int = -1,
    dials: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """A stream. `share`: its size limit in bytes where it names none (desired/queue/room.py); `dials`: domain of a queue that is copied
    from -> user there."""
    made: dict[str, Any] = {
        "name": stream.name,
        "retention": stream.retention.value,
        "storage": "file",
        "num_replicas": copies(spec, stream.replicas),
        "max_age": (stream.max_age_hours or 0) * 3600 * NANOSECONDS,
        "max_bytes": parse_bytes(stream.max_size) if stream.max_size else share,
        "max_msgs": stream.max_messages or -1,
        "max_msgs_per_subject": stream.max_messages_per_subject or -1,
        "max_msg_size": parse_bytes(stream.max_message_size) if stream.max_message_size else -1,
        "discard": stream.discard.value,
        "metadata": marks(queue, stream.deletion_policy),
    }
    if stream.mirror is not None:
        return made | {"mirror": _copy(stream.mirror, queue, namespace, dials)}
    made |= {"subjects": sorted(stream.subjects), "duplicate_window": duplicate_window(stream) * NANOSECONDS}
    if any(each.stream == stream.name for each in spec.outboxes):
        made["allow_atomic"] = True  # relays publish many rows as one batch (outbox/stream.py)
    return made | {"sources": sorted((_copy(each, queue, namespace, dials) for each in stream.sources), key=source_key)}


def _copy(copy: Copy, queue: str, namespace: str, dials: Mapping[str, str]) -> dict[str, Any]:
    """`StreamSource` of the API: one filter is a field of its own, several are transforms that change nothing."""
    made: dict[str, Any] = {"name": copy.stream}
    if len(copy.filters) == 1:
        made["filter_subject"] = copy.filters[0]
    elif copy.filters:
        made["subject_transforms"] = [{"src": each, "dest": ""} for each in sorted(copy.filters)]
    if copy.queue is not None:
        made["external"] = external(copy.queue, queue, namespace, dials)
    return made


def source_key(source: Mapping[str, Any]) -> tuple[str, str, str]:
    """Sources in an order that is the same however they were written."""
    return str(source.get("name")), str((source.get("external") or {}).get("api")), str(source.get("filter_subject"))


def consumer_config(stream: Stream, consumer: Consumer, *, queue: str = "") -> dict[str, Any]:
    """A durable pull consumer; it has as many copies as its stream."""
    letters = stream.dead_letter.max_deliveries if stream.dead_letter else -1
    backoff = [each * NANOSECONDS for each in consumer.backoff_seconds]
    return {
        "name": consumer.name,
        "durable_name": consumer.name,
        "deliver_policy": consumer.deliver.value,
        "ack_policy": "explicit",
        # With steps the server itself puts the first in place of the wait (nats-server 2.14.10, consumer.go, `setConsumerConfigDefaults`).
        "ack_wait": backoff[0] if backoff else consumer.ack_wait_seconds * NANOSECONDS,
        "max_deliver": consumer.max_deliveries or letters,
        "backoff": backoff,
        "max_ack_pending": consumer.max_ack_pending,
        "filter_subject": consumer.filters[0] if len(consumer.filters) == 1 else "",
        "filter_subjects": sorted(consumer.filters) if len(consumer.filters) > 1 else [],
        "num_replicas": 0,
        "inactive_threshold": 0,  # of a durable one, too, JetStream deletes what nobody reads for so long, with its place in the stream
        "metadata": marks(queue, stream.deletion_policy),
    }


def key_value_config(spec: EventQueueSpec, store: KeyValue, *, queue: str = "", share: int = -1) -> dict[str, Any]:
    """The stream behind a key-value store, as the clients make it (NATS architecture decision ADR-8, "JetStream based Key-Value
    Stores")."""
    age = (store.ttl_seconds or 0) * NANOSECONDS
    return {
        "name": f"KV_{store.name}",
        "subjects": [f"$KV.{store.name}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": copies(spec, None),
        "max_age": age,
        "max_bytes": parse_bytes(store.max_size) if store.max_size else share,
        "max_msgs_per_subject": store.history,
        "max_msg_size": parse_bytes(store.max_value_size) if store.max_value_size else -1,
        "discard": "new",
        "duplicate_window": min(age or _STORE_WINDOW_SECONDS * NANOSECONDS, _STORE_WINDOW_SECONDS * NANOSECONDS),
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "deny_delete": True,
        "metadata": marks(queue, store.deletion_policy),
    }


def object_store_config(spec: EventQueueSpec, store: ObjectStore, *, queue: str = "", share: int = -1) -> dict[str, Any]:
    """The stream behind an object store (ADR-20, "JetStream based Object Stores"): pieces and, beside them, what they are of."""
    age = (store.ttl_seconds or 0) * NANOSECONDS
    return {
        "name": f"OBJ_{store.name}",
        "subjects": [f"$O.{store.name}.C.>", f"$O.{store.name}.M.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": copies(spec, None),
        "max_age": age,
        "max_bytes": parse_bytes(store.max_size) if store.max_size else share,
        "discard": "new",
        "duplicate_window": min(age or _STORE_WINDOW_SECONDS * NANOSECONDS, _STORE_WINDOW_SECONDS * NANOSECONDS),
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "metadata": marks(queue, store.deletion_policy),
    }


def all_kept(
    spec: EventQueueSpec, *, queue: str, namespace: str, shares: Mapping[str, int], dials: Mapping[str, str] = MappingProxyType({})
) -> list[Kept]:
    """All that the spec asks for but the streams of dead letters (desired/queue/dead_letters.py). `shares`: stream -> bytes, of those that
    name no size; `dials`: domain of a queue that is copied from -> user there. A copy of one that is not in it waits."""
    made = [
        Kept(
            stream_config(spec, each, queue=queue, namespace=namespace, share=shares.get(each.name, -1), dials=dials),
            {one.name: consumer_config(each, one, queue=queue) for one in each.consumers},
            f"Stream {each.name}",
            waits=any(domain_of(one, namespace) not in dials for one in each.others()),
            letters=each.dead_letter is not None,
        )
        for each in spec.streams
    ]
    made += [
        Kept(key_value_config(spec, each, queue=queue, share=shares.get(f"KV_{each.name}", -1)), title=f"Key-value store {each.name}")
        for each in spec.key_values
    ]
    made += [
        Kept(object_store_config(spec, each, queue=queue, share=shares.get(f"OBJ_{each.name}", -1)), title=f"Object store {each.name}")
        for each in spec.object_stores
    ]
    return made


def duplicate_window(stream: Stream) -> int:
    """Seconds for which message ids are remembered; JetStream takes no window longer than the stream's age limit."""
    limit = (stream.max_age_hours or 0) * 3600
    return min(stream.duplicate_window_seconds, limit) if limit else stream.duplicate_window_seconds


def overlaps(one: str, other: str) -> bool:
    """Whether two subjects can match the same message."""
    return meet(one, other) is not None


def meet(one: str, other: str) -> str | None:
    """What matches the messages that both of two subjects match; None if there are none (NATS documentation, "Subject-based messaging")."""
    left, right = one.split("."), other.split(".")
    made: list[str] = []
    for index in range(max(len(left), len(right))):
        if index >= len(left) or index >= len(right):
            return None
        here, there = left[index], right[index]
        if ">" in (here, there):
            return ".".join(made + (right if here == ">" else left)[index:])
        if "*" not in (here, there) and here != there:
            return None
        made.append(there if here == "*" else here)
    return ".".join(made)
