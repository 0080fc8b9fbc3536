"""What a client's load says of a backend: requests that failed, how long reads and writes were away, what was lost. Pure."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.ledger.log import IncompleteLogError

READS = frozenset({"read", "list", "rpc"})
WRITES = frozenset({"write"})


@dataclass(frozen=True)
class Request:
    """One request: its first attempt, `status` 0 where there was no answer, how many there were, and the status of the last. Times are
    seconds of CLOCK_MONOTONIC."""

    kind: str
    id: int
    began: float
    ended: float
    status: int
    error: str
    degraded: bool
    tries: int = 1
    last: int = 0

    @property
    def good(self) -> bool:
        """Whether the first attempt was answered as asked."""
        return 200 <= self.status < 300

    @property
    def done(self) -> bool:
        """Whether the last one was."""
        return 200 <= self.last < 300


@dataclass(frozen=True)
class Load:
    """A whole run, in the order in which requests began. `skipped`: due, and not made."""

    requests: tuple[Request, ...]
    ended: float
    skipped: int

    def between(self, since: float, until: float) -> list[Request]:
        """Requests that began in that time."""
        return [each for each in self.requests if since <= each.began < until]

    def acknowledged(self) -> set[int]:
        """Ids of rows that the backend said it has."""
        return {each.id for each in self.requests if each.kind in WRITES and each.done}


def parse(lines: Iterable[str]) -> Load:
    """The log of a client that came to its end.

    Raises:
        IncompleteLogError: it did not, or it wrote nonsense.
    """
    found: list[Request] = []
    last: dict[str, object] = {}
    try:
        for line in lines:
            last = json.loads(line)
            if "k" in last:
                found.append(
                    Request(
                        last["k"],
                        last["id"],
                        last["t0"],
                        last["t"],
                        last["status"],
                        last["error"],
                        last["degraded"],
                        last["tries"],
                        last["last"],
                    )
                )  # type: ignore[arg-type]
    except (ValueError, KeyError) as error:
        raise IncompleteLogError(f"The log of the load has a line that is none: {error!r}") from error
    if last.get("e") != "end":
        raise IncompleteLogError("The log of the load has no end: its client died, or was cut off.")
    found.sort(key=lambda each: each.began)
    return Load(tuple(found), float(last["t"]), int(last["skipped"]))  # type: ignore[arg-type]


def away(load: Load, kinds: frozenset[str], since: float, until: float) -> float:
    """Seconds of the longest time between two good answers of these kinds, that ended after `since` and began before `until`; what comes
    after the last one counts, too."""
    times = sorted(each.ended for each in load.requests if each.kind in kinds and each.good)
    spans = [*pairwise(times), (times[-1] if times else since, load.ended)]
    return max((end - begin for begin, end in spans if end >= since and begin <= until), default=0.0)


def worst_minute(requests: Sequence[Request], since: float, seconds: float = 60.0) -> tuple[int, int]:
    """(failed, all) of the requests, in the order in which they began, that began within `seconds` of `since`."""
    first, last = (bisect_left(requests, moment, key=lambda each: each.began) for moment in (since, since + seconds))
    return sum(not each.good for each in requests[first:last]), last - first


def slowest(requests: Sequence[Request], percent: float) -> float:
    """Seconds that so many percent of the good ones were answered within; 0 where there were none."""
    took = sorted(each.ended - each.began for each in requests if each.good)
    return took[min(len(took) - 1, int(len(took) * percent / 100))] if took else 0.0


def failures(requests: Iterable[Request]) -> list[tuple[str, int]]:
    """What went wrong, the most frequent first: `kind status words`, and how often."""
    counted = Counter(f"{each.kind} {each.status} {each.error[:80]}" for each in requests if not each.good)
    return counted.most_common(8)


def failures_after(requests: Sequence[Request], marks: Sequence[tuple[float, str]], until: float) -> list[tuple[str, int, int, float]]:
    """(what was done, requests that failed at first, reads of them, seconds until the last of these) for each after which some failed."""
    found = []
    for (began, what), (ended, _) in pairwise([*marks, (until, "")]):
        bad = [each for each in requests if began <= each.began < ended and not each.good]
        if bad:
            found.append((what, len(bad), sum(each.kind in READS for each in bad), round(bad[-1].began - began, 1)))
    return found
