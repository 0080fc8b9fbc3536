"""What a ledger proves: how long nothing was acknowledged, what was lost, who acknowledged when it should not have. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from tests.chaos.ledger.log import Ack, Log, Read

WINDOW_SECONDS = 5.0
LEAST_ACKS = 50
"""In the window before a gap and in the one after it, by all writers together: with fewer, a loss may have had nothing to show itself
with. An undisturbed lab acknowledges several hundred."""
DAMAGED = "damaged"


@dataclass(frozen=True)
class Gap:
    """The longest time between two consecutive acknowledgements of the probe. `open`: the second never came."""

    begin: float
    end: float
    open: bool = False

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Acknowledged(Protocol):
    """Something that came to its end, in seconds of CLOCK_MONOTONIC."""

    @property
    def ended(self) -> float: ...


class Kept(Protocol):
    """A log of any kind of writes: all that was acknowledged in the order in which it was, what of it is the probe's, and its end."""

    @property
    def acks(self) -> Sequence[Acknowledged]: ...
    @property
    def probe(self) -> Sequence[Acknowledged]: ...
    @property
    def ended(self) -> float: ...


def longest_gap(log: Kept, since: float, until: float | None = None) -> Gap:
    """The longest gap that ended after `since` and began before `until`; what comes after the last acknowledgement counts, too."""
    until = log.ended if until is None else until
    times = [ack.ended for ack in log.probe]
    found = [Gap(begin, end) for begin, end in pairwise(times)]
    found.append(Gap(times[-1] if times else since, log.ended, open=True))
    inside = [gap for gap in found if gap.end >= since and gap.begin <= until]
    return max(inside, key=lambda gap: gap.seconds, default=Gap(since, since))


def acks_around(log: Kept, gap: Gap) -> tuple[int, int]:
    """Acknowledgements in the window before the gap and in the window after it. A gap that ended less than a window before the log
    did is no gap worth the name: then the log's last window is what came after."""
    after = min(gap.end, log.ended - WINDOW_SECONDS)
    return _acks_in(log, gap.begin - WINDOW_SECONDS, gap.begin), _acks_in(log, after, after + WINDOW_SECONDS)


def _acks_in(log: Kept, begin: float, end: float) -> int:
    return sum(begin <= ack.ended <= end for ack in log.acks)


def lost(log: Log, rows: Mapping[int, str]) -> list[Ack]:
    """Acknowledged rows that a member lacks, or has with another payload. `rows`: id → checksum of what it has."""
    return [ack for ack in log.acks if rows.get(ack.id) != ack.checksum]


def damaged(rows: Mapping[int, str]) -> list[int]:
    """Rows whose payload does not fit the checksum beside it, acknowledged or not."""
    return [number for number, checksum in rows.items() if checksum == DAMAGED]


def acks_of_a_former_primary(log: Log) -> list[tuple[Ack, Ack]]:
    """Pairs (late, newer): `late` was begun on an older timeline after `newer` had been acknowledged on a newer one."""
    newest: Ack | None = None
    by_end = iter(log.acks)
    upcoming = next(by_end, None)
    found = []
    for ack in sorted(log.acks, key=lambda each: each.started):
        while upcoming is not None and upcoming.ended < ack.started:
            if newest is None or upcoming.timeline > newest.timeline:
                newest = upcoming
            upcoming = next(by_end, None)
        if newest is not None and ack.timeline < newest.timeline:
            found.append((ack, newest))
    return found


def primaries_at_once(log: Log) -> list[tuple[int, str, str]]:
    """(timeline, server, server): two servers that took turns on one timeline. That one follows the other is no fault: a member that
    was replaced within its lock's time has another address."""
    spans: dict[int, dict[str, tuple[float, float]]] = defaultdict(dict)
    for ack in log.acks:
        first, last = spans[ack.timeline].get(ack.server, (ack.ended, ack.started))
        spans[ack.timeline][ack.server] = (min(first, ack.ended), max(last, ack.started))
    return [
        (timeline, one, other)
        for timeline, servers in spans.items()
        for one in servers for other in servers
        if one < other and servers[one][1] > servers[other][0] and servers[other][1] > servers[one][0]
    ]  # fmt: skip


def stale_reads(log: Log) -> list[Read]:
    """Reads that lacked what had been acknowledged, or seen, before they began."""
    return [read for read in log.reads if read.missing or read.vanished]


def stale_seconds(log: Log) -> float:
    """From the first stale read to the last one."""
    stale = stale_reads(log)
    return stale[-1].ended - stale[0].began if stale else 0.0


def rows_of(text: str) -> dict[int, str]:
    """What `read_back.py` printed: id → checksum.

    Raises:
        ValueError: it did not come to its end.
    """
    *lines, end = text.splitlines() or [""]
    rows = {int(number): checksum for number, checksum in (line.split() for line in lines)}
    if end != f"end {len(rows)}":
        raise ValueError(f"The rows that were read back have no proper end: {len(rows)} of them, then {end[:80]!r}.")
    return rows
