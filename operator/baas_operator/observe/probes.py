"""What probers say of their transactions, and what follows for each zone.

A prober sees the backend from one zone. One that says nothing, or nothing new, is no proof of anything: its own node may be in trouble.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import ApiModel
from baas_operator.observe.moments import read_time, to_text

IN_A_ROW = 2
"""Failures in a row before a zone counts as one from which a transaction fails: once is what a pod that just went costs. And how often in a
row standbys have to have the same schema: a migration is several statements."""
_STALE_ROUNDS, _STALE_SECONDS = 3.0, 15.0
"""What was tried longer ago than so many times its interval, and so much more, says nothing of now."""
_STATE = re.compile(r"-?[0-9]{1,40}\Z")
"""A state of the schema: it becomes an annotation of pods, and whatever has a prober's labels may say one."""


class TransactionReport(ApiModel):
    """One transaction of one prober (prober/record.py)."""

    model_config = ConfigDict(extra="ignore")  # during a roll-out those who say it and who reads it are of different versions

    name: str
    every_seconds: float = 0.0
    attempts: int = 0
    failures: int = 0
    """In a row."""
    attempted_seconds_ago: float | None = None
    seconds: float | None = None
    failure_at: str | None = None
    """When the last run of failures began."""
    failure: str | None = None
    trouble: str | None = None
    """Why it is not tried."""

    @property
    def fresh(self) -> bool:
        """Whether it says something of now."""
        ago = self.attempted_seconds_ago
        return ago is not None and self.trouble is None and ago <= _STALE_ROUNDS * self.every_seconds + _STALE_SECONDS

    @property
    def well(self) -> bool:
        """Whether it succeeds, but perhaps for the last time, which is too little to judge by. One that never has does not: a prober that
        was started in an outage has not failed often enough either."""
        return self.failures < IN_A_ROW and self.attempts > self.failures


class SchemaReport(ApiModel):
    """What a prober has heard of the schema behind the pods that read from standbys (prober/standby_schema.py)."""

    model_config = ConfigDict(extra="ignore")

    state: str | None = None
    """What all of them said; None where they did not, or said different things."""
    rounds: int = 0
    """How often in a row."""
    every_seconds: float = 0.0
    seconds_ago: float | None = None

    @property
    def settled(self) -> str | None:
        """The state that it is in, and not just passing through; None where it is none that can be understood."""
        fresh = self.seconds_ago is not None and self.seconds_ago <= _STALE_ROUNDS * self.every_seconds + _STALE_SECONDS
        known = self.state is not None and self.rounds >= IN_A_ROW and _STATE.match(self.state)
        return self.state if fresh and known else None


class ProberReport(ApiModel):
    """What a prober says at `/report`."""

    model_config = ConfigDict(extra="ignore")

    # Whatever has a prober's labels may say so many that they take a hundred times the room of the answer.
    transactions: Annotated[list[TransactionReport], Field(max_length=100)] = []
    standby_schema: SchemaReport = SchemaReport()


@dataclass(frozen=True)
class Probed:
    """What probers said, by pod; None of one that was asked and gave no answer that can be understood."""

    reports: Mapping[str, ProberReport | None]


@dataclass(frozen=True)
class Verdict:
    """One transaction. Every zone that has a prober is in one of `well`, `failing` and `unknown`, each sorted. `sentence`: how it fails;
    `trouble`: why it is not known from some zone; `troubled`: all of these. `last_failure_at`, `last_failure`: of those who say so now.
    `shaken`: whether the last attempt failed from somewhere."""

    transaction: str
    well: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    sentence: str = ""
    trouble: str = ""
    troubled: tuple[str, ...] = ()
    last_failure_at: str | None = None
    last_failure: str | None = None
    shaken: bool = False


def verdicts(transactions: Iterable[str], zones: Mapping[str, str], probed: Probed) -> list[Verdict]:
    """What is known of each of these transactions. `zones`: pod -> its zone, of all pods of probers that there are."""
    return [_verdict(name, zones, probed) for name in transactions]


def _verdict(name: str, zones: Mapping[str, str], probed: Probed) -> Verdict:
    by_zone: dict[str, list[TransactionReport]] = {zone: [] for zone in zones.values()}
    for pod, zone in sorted(zones.items()):
        said = probed.reports.get(pod)
        by_zone[zone] += [each for each in (said.transactions if said else []) if each.name == name]
    fresh = {zone: [each for each in found if each.fresh] for zone, found in by_zone.items()}
    # One pod of a zone that succeeds is enough: the zone is not cut off.
    well = sorted(zone for zone, found in fresh.items() if any(each.well for each in found))
    failing = {
        zone: found for zone, said in fresh.items() if zone not in well and (found := [each for each in said if each.failures >= IN_A_ROW])
    }
    worst = next((each for zone in sorted(failing) for each in failing[zone] if each.failure), None)
    last = _last(by_zone)
    return Verdict(
        transaction=name,
        well=tuple(well),
        failing=tuple(sorted(failing)),
        unknown=tuple(sorted(zone for zone in fresh if zone not in well and zone not in failing)),
        sentence=(worst.failure or "") if worst else "",
        trouble=next((each.trouble for zone in sorted(by_zone) for each in by_zone[zone] if each.trouble), ""),
        troubled=tuple(sorted(zone for zone, said in by_zone.items() if any(each.trouble for each in said))),
        last_failure_at=last[0] if last else None,
        last_failure=f"from {last[1]}: {last[2]}" if last else None,
        shaken=any(each.failures for said in fresh.values() for each in said),
    )


def _last(by_zone: Mapping[str, Sequence[TransactionReport]]) -> tuple[str, str, str] | None:
    """The youngest of all runs of failures: when it began (text in UTC, which sorts as the time does), from which zone, and how."""
    found = [
        (at, zone, each.failure or "it failed") for zone, said in by_zone.items() for each in said if (at := _moment(each.failure_at))
    ]  # fmt: skip
    return max(found, default=None)


def _moment(text: str | None) -> str | None:
    """A time as a status takes it; None where it is none. Whatever has a prober's labels is asked, and the API server takes a status as a
    whole, or not at all."""
    made = read_time(text)
    try:
        return to_text(made.astimezone(UTC)) if made else None
    except OverflowError:
        return None


def standby_schema(probed: Probed) -> str | None:
    """The state of the schema on standbys, if all probers that know one agree; None where none does, or they do not."""
    heard = [said.standby_schema for said in probed.reports.values() if said and said.standby_schema.state is not None]
    settled = {each.settled for each in heard}
    return settled.pop() if len(settled) == 1 else None


def is_majority(some: Sequence[str], of: int) -> bool:
    """Whether these zones are most of so many."""
    return 2 * len(some) > of
