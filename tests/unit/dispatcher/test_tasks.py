"""What fails is begun anew, and waits longer each time."""

from __future__ import annotations

import asyncio

import pytest

from baas_operator.dispatcher import tasks
from baas_operator.dispatcher.tasks import FIRST_SECONDS, MOST_SECONDS, lasting
from baas_operator.jetstream.tasks import end


class Clock:
    """Time that passes where somebody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.waited: list[float] = []
        self.enough = asyncio.Event()
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            asks = asyncio.current_task()
            if asks is None or asks.get_coro().__name__ != "lasting":  # the loop is that of other tests, too
                await real(seconds)
                return
            self.waited.append(seconds)
            self.now += seconds
            if len(self.waited) >= 10:
                self.enough.set()
            await real(0)

        monkeypatch.setattr(tasks.asyncio, "sleep", sleep)
        monkeypatch.setattr(tasks.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(tasks.random, "uniform", lambda _, most: most)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_what_raises_or_ends_is_begun_anew_with_growing_waits_and_told(clock: Clock) -> None:
    times, told = 0, list[str]()

    async def work() -> None:
        nonlocal times
        times += 1
        if times % 2:
            raise RuntimeError("a secret of somebody")

    task = asyncio.create_task(lasting("outbox a", work, told.append))
    await clock.enough.wait()
    await end([task])

    assert clock.waited[:8] == [FIRST_SECONDS * each for each in (1, 2, 4, 8, 16, 32)] + [MOST_SECONDS, MOST_SECONDS]
    assert told[:2] == ["outbox a: the dispatcher itself failed: RuntimeError", "outbox a: it ended by itself"]


async def test_what_was_well_for_long_begins_with_the_shortest_wait_again(clock: Clock) -> None:
    async def work() -> None:
        if len(clock.waited) == 3:
            clock.now += 3600
        raise RuntimeError

    task = asyncio.create_task(lasting("a", work))
    await clock.enough.wait()
    await end([task])
    assert clock.waited[:5] == [FIRST_SECONDS * each for each in (1, 2, 4, 1, 2)]


async def test_a_cancellation_ends_it() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(lasting("a", work))
    await asyncio.sleep(0.01)
    await end([task])
    assert task.cancelled()
