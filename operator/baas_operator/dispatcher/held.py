"""Messages that a dispatcher has in its hands."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nats.aio.msg import Msg

from baas_operator.api.webhooks import OrderBy, Ordering
from baas_operator.dead_letters.letter import Source, delivered_message
from baas_operator.dispatcher.request import Message

_TOKENS_WITHOUT_DOMAIN = 9
"""Of an acknowledgement's subject: `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.CONSUMER_SEQUENCE.TIME.PENDING`. With a domain, or an
account's hash, two more come before the stream."""
_NANO = 10**9
_LONG_KEY = 200


@dataclass(eq=False)
class Held:
    """A message that was delivered to us and that JetStream waits to hear of."""

    message: Message
    source: Source
    """The same as a dead letter keeps it: every header, and the nanosecond at which it was stored."""
    reply: str
    deliveries: int
    touched: float
    """When JetStream last heard that it is in hand."""
    under_way: bool = False
    attempts: int = 0
    """Attempts before, of an ordered webhook; else `deliveries` counts them."""
    buried_for: tuple[str, str] | None = None
    """Reason and detail, once nothing is left but to bury it."""
    key: str = ""
    """What it has in common with those that it keeps its order with."""
    whole: bool = True
    """Whether it has its payload and headers."""

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        return self.message.sequence

    @property
    def place(self) -> str:
        """The same, and when it was stored: a stream that is deleted and made again counts from 1 again."""
        return f"{self.sequence}:{self.source.nanoseconds}"

    def shed(self) -> None:
        """Keep its place alone; `fill` it before it is sent."""
        if self.whole:
            self.message, self.source = replace(self.message, payload=b"", headers={}), replace(self.source, payload=b"", headers=())
            self.whole = False

    def fill(self, source: Source) -> None:
        """Have again what it had, as the stream has it."""
        self.message, self.source, self.whole = _message(self.message.stream, source), source, True


def parse(raw: Msg, now: float) -> Held:
    """A message as JetStream delivered it."""
    tokens = raw.reply.split(".")
    at = 2 if len(tokens) == _TOKENS_WITHOUT_DOMAIN else 4
    source = delivered_message(raw)
    return Held(_message(tokens[at], source), source, raw.reply, int(tokens[at + 2]), now)


def _message(stream: str, source: Source) -> Message:
    return Message(
        stream, source.sequence, source.subject, source.payload, {name.lower(): value for name, value in source.headers},
        datetime.fromtimestamp(source.nanoseconds / _NANO, UTC),
    )  # fmt: skip


class Lanes:
    """Messages in the order of their keys: of each key one at a time. `delayed`: how many are in lanes of which one had to wait for later,
    from then until the lane is empty."""

    def __init__(self, ordering: Ordering) -> None:
        self._by, self._header = ordering.by, (ordering.header or "").lower()
        self._lanes: dict[str, deque[Held]] = {}
        self._delayed: set[str] = set()
        self.delayed = 0

    def key(self, held: Held) -> str:
        """What a message has in common with those that it keeps its order with. One without the header keeps it with none."""
        if self._by is OrderBy.SUBJECT:
            return held.message.subject
        value = held.message.headers.get(self._header)
        if value is None:
            return f"#{held.sequence}"
        return f"={value}" if len(value) <= _LONG_KEY else f"sha256={hashlib.sha256(value.encode()).hexdigest()}"

    def add(self, held: Held) -> bool:
        """Put a message, which has its `key`, behind the others of that; whether there are none."""
        lane = self._lanes.setdefault(held.key, deque())
        lane.append(held)
        self.delayed += held.key in self._delayed
        return len(lane) == 1

    def delay(self, held: Held) -> None:
        """The first message of its key has to wait for later. Nothing of one that was let go of with its lease meanwhile."""
        lane = self._lanes.get(held.key)
        if lane and lane[0] is held and held.key not in self._delayed:
            self._delayed.add(held.key)
            self.delayed += len(lane)

    def done(self, held: Held) -> Held | None:
        """The first message of its key is done with; the next, if there is one."""
        lane = self._lanes[held.key]
        assert lane[0] is held, "only the first of a lane can be done with"
        lane.popleft()
        self.delayed -= held.key in self._delayed
        if lane:
            return lane[0]
        del self._lanes[held.key]
        self._delayed.discard(held.key)
        return None

    def clear(self) -> None:
        """Forget all."""
        self._lanes.clear()
        self._delayed.clear()
        self.delayed = 0


def in_order(all_held: Iterable[Held]) -> list[Held]:
    """Messages by their place in the stream."""
    return sorted(all_held, key=lambda each: each.sequence)
