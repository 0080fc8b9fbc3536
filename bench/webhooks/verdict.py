"""What a run shows: that every event was delivered or is a dead letter with its reason, and how fast. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MEASURED = 0.9
"""Part of the events, the first, that the rate is of: what waits for its next attempt at the end is no throughput, but the schedule."""
LEAST_RATIO = 0.5


@dataclass(frozen=True)
class Ledger:
    """What the endpoint took: event → times of it, in seconds of CLOCK_MONOTONIC. `away`: spans in which it listened to nobody."""

    taken: Mapping[int, Sequence[float]]
    attempts: int
    several_ids: Sequence[int]
    bad_signatures: int
    away: Sequence[tuple[float, float]]


def ledger_of(said: Mapping[str, Any]) -> Ledger:
    """The ledger, from the endpoint's answer."""
    taken = {int(event): times for event, times in said["taken"].items()}
    return Ledger(taken, said["attempts"], said["several_ids"], said["bad_signatures"], [(begin, end) for begin, end in said["away"]])


def rate(ledger: Ledger, events: int, began: float) -> float:
    """Events a second that were taken for the first time, from when it began until `MEASURED` of them were, without the time that the
    endpoint was away; 0 where so many never were."""
    firsts = sorted(times[0] for times in ledger.taken.values())
    wanted = int(events * MEASURED)
    if len(firsts) < wanted or not wanted:
        return 0.0
    end = firsts[wanted - 1]
    away = sum(max(0.0, min(end, until) - max(began, since)) for since, until in ledger.away)
    return wanted / (end - began - away)


@dataclass(frozen=True)
class Verdict:
    """`missing`: events that are neither delivered nor a dead letter. `twice`: deliveries beyond the first of each. `dead`: reason → how
    many; `unreasoned` of them have none. `both`: dead letters that were delivered, as one whose answer was cut off may be."""

    events: int
    delivered: int
    missing: list[int]
    twice: int
    dead: dict[str, int]
    unreasoned: int
    both: int
    attempts: int
    several_ids: int
    bad_signatures: int
    kills: int
    events_per_second: float
    bare_events_per_second: float

    @property
    def ratio(self) -> float:
        """Rate against that of the bare client; 0 where that has none."""
        return self.events_per_second / self.bare_events_per_second if self.bare_events_per_second else 0.0

    def broken(self) -> list[str]:
        """What is not as promised, a sentence each."""
        found = []
        if self.missing:
            found.append(f"{len(self.missing)} of {self.events} events are neither delivered nor dead letters, such as {self.missing[:5]}.")
        if self.unreasoned:
            found.append(f"{self.unreasoned} dead letters have no reason.")
        if self.bad_signatures:
            found.append(f"{self.bad_signatures} attempts had a signature that standardwebhooks does not verify.")
        if self.several_ids:
            found.append(f"{self.several_ids} events came under more than one webhook-id.")
        if self.ratio < LEAST_RATIO:
            found.append(f"The rate is {self.ratio:.2f} of the bare client's; promised is {LEAST_RATIO}.")
        return found

    def as_json(self) -> dict[str, Any]:
        """It for the file of results."""
        return asdict(self) | {"missing": len(self.missing), "ratio": round(self.ratio, 3)}


def judge(events: int, ledger: Ledger, dead: Iterable[tuple[int, str]], *, began: float, kills: int, bare: float) -> Verdict:
    """The verdict. `dead`: each dead letter's event and reason; `bare`: the bare client's rate."""
    letters = list(dead)
    buried = {event for event, _ in letters}
    return Verdict(
        events=events, delivered=len(ledger.taken), missing=sorted(set(range(events)) - ledger.taken.keys() - buried),
        twice=sum(len(times) - 1 for times in ledger.taken.values()), dead=dict(Counter(reason for _, reason in letters)),
        unreasoned=sum(not reason for _, reason in letters), both=len(buried & ledger.taken.keys()), attempts=ledger.attempts,
        several_ids=len(ledger.several_ids), bad_signatures=ledger.bad_signatures, kills=kills,
        events_per_second=round(rate(ledger, events, began), 1), bare_events_per_second=round(bare, 1),
    )  # fmt: skip
