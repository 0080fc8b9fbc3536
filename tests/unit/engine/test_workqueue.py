"""The work queue: one reconcile a key at a time, nothing asked for is lost, and failures slow down their own key alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.engine.workqueue import _FIRST_SECONDS, _LONGEST_SECONDS, WorkQueue

SOON = 2.0
"""Seconds in which what is due now must come: long, for a busy machine; met in a millisecond."""


@pytest.fixture
async def queue() -> AsyncIterator[WorkQueue[str]]:
    made: WorkQueue[str] = WorkQueue()
    running = asyncio.create_task(made.run_delays())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def next_of(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), SOON)


async def nothing_is_due(queue: WorkQueue[str]) -> bool:
    """Whether `get` would wait, after all that is due at once has had its turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return len(queue) == 0


async def test_a_key_asked_for_many_times_is_worked_on_once(queue: WorkQueue[str]) -> None:
    for _ in range(100):
        queue.add("a")

    assert await next_of(queue) == "a"
    queue.done("a")
    assert await nothing_is_due(queue)


async def test_a_key_asked_for_while_it_is_worked_on_is_worked_on_once_more(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await next_of(queue)
    queue.add("a")
    queue.add("a")
    queue.add("b")

    assert await next_of(queue) == "b", "not two workers on one key"
    assert len(queue) == 1
    queue.done("a")
    assert await next_of(queue) == "a"
    queue.done("a")
    assert await nothing_is_due(queue)


async def test_a_delay_that_runs_out_while_the_key_is_worked_on_is_not_lost(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await next_of(queue)
    queue.add_after("a", 0.0)
    queue.add_after("marker", 0.001)
    assert await next_of(queue) == "marker", "the time of the other has come before"
    queue.done("a")
    assert await next_of(queue) == "a"


async def test_the_earliest_of_two_wishes_counts(queue: WorkQueue[str]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue.add_after("late first", 60.0)
    queue.add_after("late first", 0.01)
    queue.add_after("early first", 0.01)
    queue.add_after("early first", 60.0)

    assert {await next_of(queue), await next_of(queue)} == {"late first", "early first"}
    assert loop.time() - began < 30


async def test_a_wish_that_was_met_early_is_not_met_again(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 0.02)
    queue.add("a")
    await next_of(queue)
    queue.done("a")
    queue.add_after("marker", 0.03)

    assert await next_of(queue) == "marker", "the time of the first wish has come, and it was met already"


async def test_back_off_grows_for_the_key_that_fails_and_for_no_other() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waits = [queue.add_failed("bad") for _ in range(20)]

    assert 0.8 * _FIRST_SECONDS <= waits[0] <= 1.2 * _FIRST_SECONDS
    for index, seconds in enumerate(waits):
        middle = min(_FIRST_SECONDS * 2**index, _LONGEST_SECONDS)
        assert 0.8 * middle <= seconds <= 1.2 * middle
    assert queue.add_failed("good") <= 1.2 * _FIRST_SECONDS


async def test_back_off_begins_anew_after_success() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(10):
        queue.add_failed("a")
    queue.forget("a")

    assert queue.add_failed("a") <= 1.2 * _FIRST_SECONDS


async def test_a_key_that_fails_for_days_does_not_end_the_operator() -> None:
    """At one failure a minute, 2 to the power of their number is no float any more after 17 hours."""
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3000):
        seconds = queue.add_failed("a")

    assert seconds <= 1.2 * _LONGEST_SECONDS


@pytest.mark.parametrize("moments", range(6))
async def test_it_stops_when_it_is_told_to_even_in_the_moment_of_waking_up(moments: int) -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes just when what it waits for is done."""
    queue: WorkQueue[str] = WorkQueue()
    running = asyncio.create_task(queue.run_delays())
    queue.add_after("a", 60.0)
    for _ in range(10):
        await asyncio.sleep(0)
    queue.add_after("b", 60.0)
    for _ in range(moments):
        await asyncio.sleep(0)

    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=1.0)
    if not done:
        running.cancel()

    assert done
    assert running.cancelled()


class _Model:
    """What the queue must do, said as simply as it can be."""

    def __init__(self) -> None:
        self.wanted: dict[int, None] = {}
        self.active: set[int] = set()
        self.again: set[int] = set()

    def add(self, key: int) -> None:
        if key in self.active:
            self.again.add(key)
        else:
            self.wanted.setdefault(key)

    def get(self) -> int:
        key = next(iter(self.wanted))
        del self.wanted[key]
        self.active.add(key)
        return key

    def done(self, key: int) -> None:
        self.active.discard(key)
        if key in self.again:
            self.again.discard(key)
            self.wanted[key] = None


steps = st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.integers(0, 3)), max_size=60)


@given(steps)
def test_whatever_happens_in_whichever_order_it_is_as_the_model_says(steps: list[tuple[str, int]]) -> None:
    async def replay() -> None:
        queue: WorkQueue[int] = WorkQueue()
        model = _Model()
        for action, number in steps:
            if action == "add":
                queue.add(number)
                model.add(number)
            elif action == "get" and model.wanted:
                assert await asyncio.wait_for(queue.get(), SOON) == model.get()
            elif action == "done" and model.active:
                key = sorted(model.active)[number % len(model.active)]
                queue.done(key)
                model.done(key)
            assert len(queue) == len(model.wanted) + len(model.again)
        while model.wanted or model.active:
            if model.wanted:
                assert await asyncio.wait_for(queue.get(), SOON) == model.get()
            key = min(model.active)
            queue.done(key)
            model.done(key)
        assert len(queue) == 0

    asyncio.run(replay())
