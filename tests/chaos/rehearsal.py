"""A fault, rehearsed: write, break, see it recover, heal, see it whole again, and compare what was acknowledged with what is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from baas_lab.errors import LabError
from tests.chaos.faults import Fault, Scene
from tests.chaos.ledger import verdict
from tests.chaos.ledger.pod import Writing
from tests.chaos.outcome import OVER_SECONDS, Outcome
from tests.chaos.systems import System

STEADY_SECONDS = verdict.WINDOW_SECONDS + 0.5
START_SECONDS = 60.0
Note = Callable[[str], None]
Found = TypeVar("Found", bound=Outcome)


def rehearse(system: System[Found], fault: Fault, *, service: str = "rw", note: Note = print, keep: Path | None = None) -> Found:
    """Bring a fault about in a system that is whole, and leave it whole. `keep` gets the client's log.

    Raises:
        LabError: the system was not whole, does not become whole again, or the fault could not be brought about.
        IncompleteLogError: the client died.
    """
    note("waits until it is whole")
    system.wait_whole()
    leader = system.leader()
    others = tuple(member for member in system.members() if member.name != leader.name)
    scene = Scene(system.lab, system, leader, others)
    ledger = system.ledger(others[0].node if fault.client_beside_other else system.lab.control_plane, service)
    with ledger.writing() as writing:
        _settle(writing)
        note(f"{fault.told}: {leader.name} on {leader.node}")
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
    note("all that was acknowledged is read back from every member")
    return ledger.judge(fault.name, log, began=began, healed=healed, over=over)


def _settle(writing: Writing) -> None:
    if not writing.wait_steady(STEADY_SECONDS, timeout_seconds=START_SECONDS):
        status = writing.status()
        raise LabError(f"No steady writes before the fault: {status}")


def _last(until: float) -> None:
    """Let the fault last."""
    time.sleep(max(0.0, until - time.monotonic()))
