"""The streams that dead letters are kept in, and the one that keeps what the servers say of messages that nobody could process.

A letter's subject names the message that it is a copy of: its stream, the consumer that failed, its sequence and the nanosecond that it was
stored at. A stream of dead letters takes each subject once (`discard_new_per_subject` with one message a subject), so a message that is
buried twice is kept once, however much later. The moment belongs to it because a stream that is deleted and made again counts from 1 again:
without it the letter of an earlier message would pass for that of a later one, which would be deleted without a copy.

A stream's dead letters go with it, where it is to be deleted once taken out of the spec, and when its `deadLetter` is. Advisories are of no
use to anybody but the dispatchers, so they go with the last `deadLetter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import RESERVED_PREFIX, DeadLetter, Stream
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue.streams import NANOSECONDS, Kept, marks

ADVISORIES = f"{RESERVED_PREFIX}ADVISORIES"
ADVISORIES_CONSUMER = "dead-letters"
MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
TERMINATED = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED"
ADVISORY_SUBJECTS = (f"{MAX_DELIVERIES}.>", f"{TERMINATED}.>")
PREFIX = "_BAAS.dead"
_DUPLICATE_SECONDS = 3600
"""For so long not even a letter that was replayed and deleted comes back, when what it was buried for is told again after a crash."""
_ADVISORY_SECONDS = 7 * 86400
"""An advisory waits while dead letters are full; longer than a week nobody looks."""
ADVISORIES_BYTES = 64 * 2**20
"""About 200,000 advisories."""
_ADVISORY_ACK_SECONDS = 30
_MOST_ADVISORIES = 250_000
"""That are seen to, or wait to be again: more than there can be, so that those of a stream whose dead letters are full, which all wait,
keep nobody else's waiting."""


def dead_letter_stream(stream: str) -> str:
    """Name of the stream with the dead letters of a stream."""
    return f"{RESERVED_PREFIX}DEAD_{stream}"


def letter_subject(stream: str, consumer: str, sequence: int, nanoseconds: int) -> str:
    """Subject of a dead letter. `nanoseconds`: when the message was stored, since 1970."""
    return f"{PREFIX}.{stream}.{consumer}.{sequence}.{nanoseconds}"


def letters_of(stream: str, consumer: str | None = None, sequence: int | None = None) -> str:
    """Subjects of the dead letters of a stream, of one of its consumers, or of one message that a consumer failed at."""
    if consumer is not None and sequence is not None:
        return f"{PREFIX}.{stream}.{consumer}.{sequence}.*"
    return f"{PREFIX}.{stream}.{consumer}.>" if consumer else f"{PREFIX}.{stream}.>"


def dead_letter_stream_config(
    spec: EventQueueSpec, stream: Stream, letters: DeadLetter, *, queue: str = "", share: int = -1
) -> dict[str, Any]:
    """The stream of dead letters of a stream, as the operator decides it. A full one refuses: messages stay where they were. `share`: its
    size limit in bytes where it names none (desired/queue/room.py)."""
    return {
        "name": dead_letter_stream(stream.name),
        "subjects": [letters_of(stream.name)],
        "retention": "limits",
        "storage": "file",
        "num_replicas": min(spec.replicas, 3),
        "max_age": letters.max_age_hours * 3600 * NANOSECONDS,
        "max_bytes": parse_bytes(letters.max_size) if letters.max_size else share,
        "max_msg_size": -1,
        "max_msgs_per_subject": 1,
        "discard": "new",
        "discard_new_per_subject": True,
        "duplicate_window": _DUPLICATE_SECONDS * NANOSECONDS,
        "deny_delete": False,
        "allow_direct": True,  # lists are read a page at a time, from any copy; what matters is asked of the leader
        "metadata": marks(queue, stream.deletion_policy),
    }


def advisories_config(spec: EventQueueSpec, *, queue: str = "") -> dict[str, Any]:
    """The stream that keeps what servers say once, to whoever listens: which message was delivered for the last time, or given up."""
    return {
        "name": ADVISORIES,
        "subjects": sorted(ADVISORY_SUBJECTS),
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": min(spec.replicas, 3),
        "max_age": _ADVISORY_SECONDS * NANOSECONDS,
        "max_bytes": ADVISORIES_BYTES,
        "max_msg_size": -1,
        "discard": "old",
        "duplicate_window": 120 * NANOSECONDS,
        "metadata": marks(queue, DeletionPolicy.DELETE),
    }


def advisories_consumer_config() -> dict[str, Any]:
    """The consumer of those that all dispatchers share. An advisory is delivered until it was seen to."""
    return {
        "durable_name": ADVISORIES_CONSUMER,
        "name": ADVISORIES_CONSUMER,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": _ADVISORY_ACK_SECONDS * NANOSECONDS,
        "max_deliver": -1,
        "max_ack_pending": _MOST_ADVISORIES,
    }


def dead_letters_of(spec: EventQueueSpec) -> dict[str, DeadLetter]:
    """Stream -> how its dead letters are kept: as declared, or as usual where a webhook delivers its messages, for what the endpoint does
    not take has to go somewhere."""
    delivered = {each.stream for each in spec.webhooks}
    return {
        each.name: each.dead_letter or DeadLetter() for each in spec.streams if each.dead_letter is not None or each.name in delivered
    }  # fmt: skip


def letters_kept(spec: EventQueueSpec, *, queue: str, shares: Mapping[str, int]) -> list[Kept]:
    """The streams of dead letters that the spec asks for, and that of advisories if there is one. `shares`: stream -> bytes, of those that
    name no size."""
    made = []
    letters = dead_letters_of(spec)
    for each in spec.streams:
        if each.name in letters:
            share = shares.get(dead_letter_stream(each.name), -1)
            config = dead_letter_stream_config(spec, each, letters[each.name], queue=queue, share=share)
            made.append(Kept(config, title=f"Dead-letter stream of {each.name}"))
    if any(each.dead_letter for each in spec.streams):
        consumers = {ADVISORIES_CONSUMER: advisories_consumer_config()}
        made.append(Kept(advisories_config(spec, queue=queue), consumers, title="Stream of advisories"))
    return made
