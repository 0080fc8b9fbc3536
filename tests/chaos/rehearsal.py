"""A fault, rehearsed: write, break, see it recover, heal, see it whole again, and compare what was acknowledged with what is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from baas_lab.errors import CommandError, LabError
from baas_lab.waiting import wait_until
from tests.chaos.faults import Fault, Scene
from tests.chaos.ledger import verdict
from tests.chaos.ledger.log import Ack, Log
from tests.chaos.ledger.pod import LedgerPod, Writing
from tests.chaos.systems import System

STEADY_SECONDS = verdict.WINDOW_SECONDS + 0.5
START_SECONDS = 60.0
OVER_SECONDS = 180.0
"""A fault after which writes did not go on for so long is over: it is taken back."""
REPLAY_SECONDS = 60.0
Note = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    `gap`: the longest while it lasted; `gap_after`: the longest from when it was taken back until the system was whole. `over`: writes
    did not go on before it was taken back. `lost`, `damaged`: by member. `before`, `after`: acknowledgements in the window before the
    longest gap of all, and in the one after it.
    """

    fault: str
    gap: verdict.Gap
    gap_after: verdict.Gap
    over: bool
    acked: int
    client_errors: int
    errors: tuple[str, ...]
    before: int
    after: int
    lost: dict[str, list[Ack]]
    damaged: dict[str, list[int]]
    former: list[tuple[Ack, Ack]]
    at_once: list[tuple[int, str, str]]
    stale: int
    stale_seconds: float
    servers: list[str] = field(default_factory=list)

    @property
    def worst_seconds(self) -> float:
        return max(self.gap.seconds, self.gap_after.seconds)

    @property
    def lost_ids(self) -> set[int]:
        return {ack.id for acks in self.lost.values() for ack in acks}

    @property
    def undetectable(self) -> str:
        """Why this run could not have shown a loss; empty where it could."""
        if min(self.before, self.after) >= verdict.LEAST_ACKS:
            return ""
        return (
            f"{self.before} rows were acknowledged in the {verdict.WINDOW_SECONDS:.0f} s before the gap and {self.after} in those after "
            f"it; with less than {verdict.LEAST_ACKS} a loss may have gone unseen. Errors: {self.errors[-3:]}"
        )

    def told(self) -> str:
        """One line, for people."""
        seconds = f"over {OVER_SECONDS:.0f} s" if self.over else f"{self.gap.seconds:.2f} s"
        return (
            f"{seconds} without writes ({self.gap_after.seconds:.2f} s after it was taken back), {self.acked} acknowledged, "
            f"{len(self.lost_ids)} lost, {self.client_errors} client errors, {self.stale} stale reads in {self.stale_seconds:.1f} s"
        )

    def unsafe(self) -> list[str]:
        """What may never be, whatever the fault, a sentence each."""
        found = [
            f"{member} lacks {len(acks)} of {self.acked} acknowledged rows, such as {acks[:3]}"
            for member, acks in self.lost.items()
            if acks
        ]
        found += [f"{member} has damaged rows: {ids[:10]}" for member, ids in self.damaged.items() if ids]
        if self.former:
            late, newer = self.former[0]
            found.append(f"A former primary acknowledged {len(self.former)} rows: {late}, begun after {newer}")
        found += [f"{one} and {other} both acknowledged on timeline {timeline}" for timeline, one, other in self.at_once]
        if self.undetectable:
            found.append(self.undetectable)
        return found


def rehearse(system: System, fault: Fault, *, service: str = "rw", note: Note = print, keep: Path | None = None) -> Outcome:
    """Bring a fault about in a system that is whole, and leave it whole. `keep` gets the client's log.

    Raises:
        LabError: the system was not whole, does not become whole again, or the fault could not be brought about.
        IncompleteLogError: the client died.
    """
    note("waits until it is whole")
    system.wait_whole()
    primary = system.primary()
    standbys = tuple(member for member in system.members() if member.name != primary.name)
    scene = Scene(system.lab, system, primary, standbys)
    pod = LedgerPod(system.lab, system.namespace, standbys[0].node if fault.client_beside_standby else system.lab.control_plane)
    pod.start()
    table = f"ledger_{uuid4().hex[:12]}"
    with pod.writing(system.uri(service), table) as writing:
        _settle(writing)
        note(f"{fault.told}: {primary.name} on {primary.node}")
        began = time.monotonic()
        try:
            fault.inject(scene)
            _last(began + fault.seconds)
            note("waits until writes go on")
            left = max(OVER_SECONDS - (time.monotonic() - began), START_SECONDS)
            over = not writing.wait_steady(STEADY_SECONDS, since=began, timeout_seconds=left)
        finally:
            healed = time.monotonic()
            fault.heal(scene)
        note("taken back; waits until it is whole again")
        system.wait_whole()
        writing.wait_steady(STEADY_SECONDS, since=time.monotonic(), timeout_seconds=START_SECONDS)
        log = writing.fetch(keep)
    note("every acknowledged row is read back from every member")
    rows = read_back(system, pod, table)
    return judge(fault.name, log, rows, began=began, healed=healed, over=over)


def _settle(writing: Writing) -> None:
    if not writing.wait_steady(STEADY_SECONDS, timeout_seconds=START_SECONDS):
        status = writing.status()
        raise LabError(f"No steady writes before the fault: {status}")


def _last(until: float) -> None:
    """Let the fault last."""
    time.sleep(max(0.0, until - time.monotonic()))


def read_back(system: System, pod: LedgerPod, table: str) -> dict[str, dict[int, str]]:
    """What each member has, by its own address, once it has replayed all that the primary has: id → checksum. Raises LabError."""
    primary = system.primary()
    (position,) = pod.psql(system.member_uri(primary), "select pg_current_wal_lsn()")
    found = {}
    for member in system.members():
        uri = system.member_uri(member)
        wait_until(
            lambda uri=uri: _replayed(pod, uri, position),  # type: ignore[misc]
            timeout_seconds=REPLAY_SECONDS, what=f"{member.name} has replayed {position}",
        )  # fmt: skip
        found[member.name] = verdict.rows_of(pod.read_back(uri, table))
    pod.psql(system.member_uri(primary), f"drop table {table}")
    return found


def _replayed(pod: LedgerPod, uri: str, position: str) -> bool:
    try:
        return pod.psql(uri, f"select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= '{position}'") == ["t"]
    except CommandError:
        return False


def judge(name: str, log: Log, rows: dict[str, dict[int, str]], *, began: float, healed: float, over: bool) -> Outcome:
    """The outcome, from the client's log and what each member has; times of CLOCK_MONOTONIC."""
    during, afterwards = verdict.longest_gap(log, began, healed), verdict.longest_gap(log, healed)
    before, after = verdict.acks_around(log, max(during, afterwards, key=lambda gap: gap.seconds))
    failures = [each for each in log.failures if each.ended >= began]
    servers = list(dict.fromkeys(f"{ack.server}/{ack.timeline}" for ack in log.acks))
    return Outcome(
        fault=name, gap=during, gap_after=afterwards, over=over, acked=len(log.acks), client_errors=len(failures),
        errors=tuple(dict.fromkeys(each.error for each in failures)), before=before, after=after,
        lost={member: verdict.lost(log, each) for member, each in rows.items()},
        damaged={member: verdict.damaged(each) for member, each in rows.items()},
        former=verdict.acks_of_a_former_primary(log), at_once=verdict.primaries_at_once(log),
        stale=len(verdict.stale_reads(log)), stale_seconds=verdict.stale_seconds(log), servers=servers,
    )  # fmt: skip
