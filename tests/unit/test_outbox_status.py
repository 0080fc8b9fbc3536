"""Since when a relay fails: not since it waits for one that has the outbox, and until rows become messages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baas_operator.outbox import status as module
from baas_operator.outbox.status import OutboxStatus, State, forget


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    yield made
    forget("timed")


def test_it_fails_from_the_first_failure_to_the_first_progress(clock: Clock) -> None:
    status = OutboxStatus("timed")
    for state in (State.FAILING, State.WAITING, State.FAILING, State.RELAYING, State.STARTING, State.FAILING):
        status.now(state)
        clock.now += 3
        assert not status.progress
    assert status.failing_since == 100.0, "to have the lock for a moment is no progress"
    status.now(State.RELAYING)
    status.progressed(well=True)
    assert (status.progress, status.failing_since) == (True, None)
    status.progressed(well=False)
    assert not status.progress
    status.now(State.FAILING)
    assert status.failing_since == clock.now


def test_who_waits_for_another_for_long_does_not_fail(clock: Clock) -> None:
    status = OutboxStatus("timed")
    status.now(State.FAILING)
    for _ in range(12):
        clock.now += 1
        status.now(State.WAITING)
    assert status.failing_since is None
