"""What the ledger of messages wrote down and what servers have, as data, and what that proves. Pure. Times are seconds of CLOCK_MONOTONIC,
but for `stored`, which is the stream's own, in seconds since the epoch."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.ledger.log import PROBE, IncompleteLogError
from tests.chaos.ledger.verdict import DAMAGED


@dataclass(frozen=True)
class Ack:
    """An acknowledged message: who published it, the place in the stream that it was told, and when it was begun and acknowledged. `again`:
    JetStream knew its id already, from an attempt whose acknowledgement never came."""

    publisher: int
    id: int
    checksum: str
    sequence: int
    server: str
    started: float
    ended: float
    again: bool


@dataclass(frozen=True)
class Doubt:
    """An attempt that was not acknowledged."""

    publisher: int
    id: int
    ended: float
    error: str


@dataclass(frozen=True)
class Log:
    """A whole run, each part in the order in which it ended. `deliveries`: id → how often readers got it. `unfinished`: ids whose last
    attempt came to no end. `left`: what readers had not got when they ended, -1 where that is not known. `made`: how often the stream
    was not there."""

    acks: tuple[Ack, ...]
    doubts: tuple[Doubt, ...]
    deliveries: Mapping[int, int]
    unfinished: tuple[int, ...]
    left: int
    made: int
    ended: float

    @property
    def probe(self) -> list[Ack]:
        return [ack for ack in self.acks if ack.publisher == PROBE]

    @property
    def redelivered(self) -> int:
        """Deliveries beyond the first of each message."""
        return sum(self.deliveries.values()) - len(self.deliveries)


@dataclass(frozen=True)
class Stored:
    """A message as one server has it."""

    sequence: int
    publisher: int
    id: int
    checksum: str
    stored: float


def parse(lines: Iterable[str]) -> Log:
    """The log of a client that came to its end.

    Raises:
        IncompleteLogError: it did not, one of its tasks died, or it wrote nonsense.
    """
    begun: dict[int, float] = {}
    acks, doubts, made, last = [], [], 0, {}
    got: Counter[int] = Counter()
    try:
        for line in lines:
            last = json.loads(line)
            match last["e"]:
                case "start":
                    begun[last["id"]] = last["t"]
                case "ack":
                    started = begun.pop(last["id"])
                    acks.append(
                        Ack(last["w"], last["id"], last["sum"], last["seq"], last["server"], started, last["t"], last["duplicate"])
                    )  # fmt: skip
                case "doubt":
                    doubts.append(Doubt(last["w"], last["id"], last["t"], last["error"]))
                case "got":
                    got[last["id"]] += 1
                case "made":
                    made += 1
    except (ValueError, KeyError, TypeError) as error:
        raise IncompleteLogError(f"The ledger's log has a line that is none: {error!r}") from error
    if last.get("e") != "end":
        raise IncompleteLogError("The ledger's log has no end: its client died, or was cut off.")
    if last.get("died"):
        raise IncompleteLogError(f"These tasks of the ledger's client died: {last['died']}")
    acks.sort(key=lambda ack: ack.ended)
    return Log(tuple(acks), tuple(doubts), got, tuple(sorted(begun)), last["left"], made, last["t"])


def copies_of(text: str, servers: Iterable[str]) -> tuple[dict[str, list[Stored]], dict[str, str]]:
    """What each of these servers has, in the order of the stream, and why the others could not be read, from what `message_client.py read`
    printed.

    Raises:
        ValueError: it did not come to its end.
    """
    *lines, end = text.splitlines() or [""]
    found: dict[str, list[Stored]] = {server: [] for server in servers}
    stuck: dict[str, str] = {}
    for line in lines:
        server, what, *why = line.split(" ", 2)
        if what == "stuck":
            stuck[server] = " ".join(why)
            del found[server]
            continue
        server, sequence, name, checksum, stored = line.split()
        publisher, number = name.split(".")
        found[server].append(Stored(int(sequence), int(publisher), int(number), checksum, float(stored)))
    if end != f"end {len(lines)}":
        raise ValueError(f"The messages that were read back have no proper end: {len(lines)} of them, then {end[:80]!r}.")
    return found, stuck


def lost(log: Log, copy: Sequence[Stored]) -> list[Ack]:
    """Acknowledged messages that a server lacks, or has with another payload only."""
    have = {(each.id, each.checksum) for each in copy}
    return [ack for ack in log.acks if (ack.id, ack.checksum) not in have]


def damaged(copy: Sequence[Stored]) -> list[int]:
    """Messages whose payload does not fit the checksum beside it, acknowledged or not."""
    return [each.id for each in copy if each.checksum == DAMAGED]


def duplicates(copy: Sequence[Stored], window_seconds: float) -> tuple[list[int], list[int]]:
    """Ids that are in the stream more than once: those that came again while their id should have been known, and those that came later
    than that, which at-least-once allows."""
    seen: dict[int, float] = {}
    within: list[int] = []
    later: list[int] = []
    for each in copy:
        if each.id in seen:
            (within if each.stored - seen[each.id] <= window_seconds else later).append(each.id)
        seen[each.id] = each.stored
    return within, later


def disordered(copy: Sequence[Stored]) -> list[int]:
    """Messages that stand after a later one of their publisher; what came twice counts where it was first."""
    highest: dict[int, int] = defaultdict(int)
    seen: set[int] = set()
    found = []
    for each in sorted(copy, key=lambda each: each.sequence):
        if each.id not in seen and each.id < highest[each.publisher]:
            found.append(each.id)
        seen.add(each.id)
        highest[each.publisher] = max(highest[each.publisher], each.id)
    return found


def unlike(copies: Mapping[str, Sequence[Stored]]) -> int:
    """Places of the stream that not all servers have the same message in."""
    sides = [{(each.sequence, each.id, each.checksum) for each in copy} for copy in copies.values()]
    everywhere = Counter(message for side in sides for message in side)
    return len({sequence for (sequence, _, _), count in everywhere.items() if count < len(sides)})


def undelivered(log: Log) -> list[Ack]:
    """Acknowledged messages that no reader ever got."""
    return [ack for ack in log.acks if ack.id not in log.deliveries]


def lost_seconds(acks: Iterable[Ack], moment: float) -> float:
    """How far back from a moment what was lost had been acknowledged; 0 where nothing was."""
    return max((moment - ack.ended for ack in acks), default=0.0)
