"""What there is to tell of dead letters: how many are kept and became so, how soon the oldest is deleted, how much room is left.

What is kept is the stream's, and the same whoever asks for it: of several dispatchers any one's word counts. What was buried is each one's
own, and adds up.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from baas_operator.dead_letters.letter import Reason

BURIED = Counter(
    "baas_dead_letters_buried_total", "Messages of a stream that this dispatcher made dead letters, by reason.", ["stream", "reason"]
)
KEPT = Gauge("baas_dead_letters", "Dead letters of a stream that wait for somebody.", ["stream"])
OLDEST = Gauge("baas_dead_letters_oldest_seconds", "Age of a stream's oldest dead letter, 0 without one.", ["stream"])
EXPIRES = Gauge(
    "baas_dead_letters_expire_seconds", "Seconds until a stream's oldest dead letter is deleted; not there without one.", ["stream"]
)
BYTES = Gauge("baas_dead_letters_bytes", "Bytes of a stream's dead letters, of one copy.", ["stream"])
MAX_BYTES = Gauge(
    "baas_dead_letters_max_bytes",
    "Bytes that a stream's dead letters may have; once they do, messages that are given up stay in the stream.", ["stream"],
)  # fmt: skip
WAITING = Gauge("baas_dead_letters_advisories", "What servers told of messages that were given up, and no dispatcher has seen to yet.")
_OF_STREAMS = (KEPT, OLDEST, EXPIRES, BYTES, MAX_BYTES)


def begin(stream: str) -> None:
    """Count from 0, so that the first dead letter is an increase."""
    for reason in Reason:
        BURIED.labels(stream, reason)


def kept(stream: str, *, count: int, oldest_seconds: float, expire_seconds: float | None, size: int, most: int | None) -> None:
    """Tell of the dead letters that a stream has: `size` bytes of them where there may be `most`."""
    KEPT.labels(stream).set(count)
    OLDEST.labels(stream).set(oldest_seconds)
    BYTES.labels(stream).set(size)
    for gauge, value in ((EXPIRES, expire_seconds), (MAX_BYTES, most)):
        if value is None:
            gauge.remove_by_labels({"stream": stream})
        else:
            gauge.labels(stream).set(value)


def unknown(stream: str) -> None:
    """Nothing is known of what a stream has any more."""
    for each in _OF_STREAMS:
        each.remove_by_labels({"stream": stream})


def forget(stream: str) -> None:
    """Show nothing more of a stream whose dead letters are not kept any more."""
    unknown(stream)
    BURIED.remove_by_labels({"stream": stream})
