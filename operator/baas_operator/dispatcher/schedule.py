"""When a message is tried again, and how JetStream is told.

JetStream counts the deliveries of a message and keeps when the next one is due; both are replicated with the consumer, so they outlive us
and its leader. A delivery that nobody answers for comes back after `backoff[deliveries - 1]`: that is what a dispatcher's death, or a
refusal that was lost with a leader, comes to. So `backoff` is the retry schedule, with no step shorter than an attempt may take.

A refusal with a delay (`-NAK {"delay": …}`) is not what it says while there is a backoff: nats-server 2.14.10 puts the delivery
`backoff[0]` back from now and adds the delay (consumer.go, processNak), but waits `backoff[deliveries - 1]` from there (checkPending). The
second attempt of 5, 300, … would then be 595 s away rather than 300. `nak_seconds` is the delay that comes out right; it may be negative.
"""

from __future__ import annotations

from collections.abc import Sequence

JITTER = 0.2
"""Up to a fifth more, by chance: what failed together shall not come back together."""
MOST_RETRY_AFTER_SECONDS = 24 * 3600.0
"""Of what an endpoint asks for. A wrong date would else put its messages off for years."""


def backoff(retry_seconds: Sequence[int], ack_wait_seconds: float) -> list[float]:
    """The consumer's backoff, in seconds."""
    return [max(float(each), ack_wait_seconds) for each in retry_seconds]


def delay_seconds(attempt: int, retry_seconds: Sequence[int], retry_after: float | None, chance: float) -> float:
    """How long after the failure of the attempt of this number, from 1, the next is made. `chance` is from 0 to 1."""
    planned = retry_seconds[min(attempt, len(retry_seconds)) - 1] * (1 + JITTER * chance)
    return max(planned, min(retry_after or 0.0, MOST_RETRY_AFTER_SECONDS))


def longest_seconds(retry_seconds: Sequence[int], retry_after: float | None) -> float:
    """How long after a failure, of whichever attempt, the next is made at the latest."""
    return max(delay_seconds(attempt, retry_seconds, retry_after, 1.0) for attempt in range(1, len(retry_seconds) + 1))


def nak_seconds(delay: float, deliveries: int, steps: Sequence[float]) -> float:
    """What JetStream has to be told so that a message of so many deliveries comes back after `delay`."""
    return delay - steps[min(deliveries, len(steps)) - 1] + steps[0] if steps else delay
