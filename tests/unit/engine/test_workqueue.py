"""The work queue: one reconcile a key at a time, nothing asked for is lost, failures slow down their own key alone, and no namespace
has all the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.engine.workqueue import _FIRST_SECONDS, _LONGEST_SECONDS, _PAUSE_SECONDS, WorkQueue

SOON = 2.0
"""Seconds in which what is due now must come: long, for a busy machine; met in a millisecond."""


def made_for(workers: int) -> WorkQueue[str]:
    """A queue of keys whose first letter is their namespace."""
    return WorkQueue(workers, lambda key: key[0])


@pytest.fixture
async def queue() -> AsyncIterator[WorkQueue[str]]:
    made = made_for(workers=8)
    running = asyncio.create_task(made.run_delays())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def next_of(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), SOON)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("baas_operator.engine.workqueue.time", SimpleNamespace(monotonic=lambda: made.now))
    return made


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


async def test_back_off_grows_for_the_key_that_fails_and_for_no_other(clock: SimpleNamespace) -> None:
    queue = made_for(workers=1)

    for index in range(20):
        seconds = queue.add_failed("bad")
        middle = min(_FIRST_SECONDS * 2**index, _LONGEST_SECONDS)
        assert 0.8 * middle <= seconds <= 1.2 * middle
        clock.now += seconds
    assert queue.add_failed("good") <= 1.2 * _FIRST_SECONDS


async def test_back_off_begins_anew_after_success(clock: SimpleNamespace) -> None:
    queue = made_for(workers=1)
    for _ in range(10):
        clock.now += queue.add_failed("a")
    queue.forget("a")

    assert queue.add_failed("a") <= 1.2 * _FIRST_SECONDS


async def test_a_key_that_fails_for_days_does_not_end_the_operator(clock: SimpleNamespace) -> None:
    """At one failure a minute, 2 to the power of their number is no float any more after 17 hours."""
    queue = made_for(workers=1)
    for _ in range(3000):
        seconds = queue.add_failed("a")
        clock.now += seconds

    assert seconds <= 1.2 * _LONGEST_SECONDS


async def test_failures_that_a_noisy_watch_asked_for_do_not_push_the_back_off_to_its_longest(clock: SimpleNamespace) -> None:
    queue = made_for(workers=1)
    clock.now += queue.add_failed("a")
    for _ in range(100):
        assert queue.add_failed("a") <= 2 * 1.2 * _FIRST_SECONDS
        clock.now += 0.001


async def test_a_noisy_watch_makes_no_hot_loop_of_a_key_that_fails(queue: WorkQueue[str], clock: SimpleNamespace) -> None:
    queue.add("a")
    for _ in range(10):
        await next_of(queue)
        seconds = queue.add_failed("a")
        queue.done("a")
        clock.now += seconds
        queue.add("a")
    await next_of(queue)
    assert queue.add_failed("a") > 10 * _PAUSE_SECONDS
    queue.done("a")

    for _ in range(100):
        queue.add("a")
        clock.now += 0.99 * _PAUSE_SECONDS / 100
    assert await nothing_is_due(queue), "it failed a moment ago"

    clock.now += 0.02 * _PAUSE_SECONDS
    queue.add("a")
    assert await next_of(queue) == "a", "long before its back-off has run out"


async def test_what_asks_for_a_key_just_after_it_failed_is_heard_when_the_pause_is_over(queue: WorkQueue[str]) -> None:
    queue.add_failed("a")
    queue.add("a")

    assert await next_of(queue) == "a"


async def test_what_asks_for_a_key_while_it_fails_is_heard_before_its_back_off_has_run_out(queue: WorkQueue[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("baas_operator.engine.workqueue._FIRST_SECONDS", 60.0)
        patch.setattr("baas_operator.engine.workqueue._PAUSE_SECONDS", 0.01)
        queue.add("a")
        await next_of(queue)
        queue.add("a")
        queue.add_failed("a")
        queue.done("a")

        assert await next_of(queue) == "a"


async def test_namespaces_take_turns(queue: WorkQueue[str]) -> None:
    for number in range(1000):
        queue.add(f"a{number}")
    queue.add("b0")
    queue.add("b1")

    served = []
    for _ in range(5):
        served.append(await next_of(queue))
        queue.done(served[-1])

    assert served == ["a0", "b0", "a1", "b1", "a2"]


async def test_a_namespace_whose_objects_hang_leaves_workers_for_others(queue: WorkQueue[str]) -> None:
    for number in range(1000):
        queue.add(f"a{number}")
    hanging = [await next_of(queue) for _ in range(4)]
    more = asyncio.create_task(queue.get())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not more.done(), "half of the workers are its share, even if nobody else asks: whoever comes must find a free one"

    for number in range(1000):
        queue.add(f"b{number}")
    assert (await asyncio.wait_for(more, SOON))[0] == "b", "who waited is woken"
    assert await next_of(queue) == "b1"
    queue.add("c0")
    assert await next_of(queue) == "c0", "the second that hangs does not take the rest"

    for key in hanging[:2]:
        queue.done(key)
    assert await next_of(queue) == "a4"


async def test_one_worker_alone_serves_all() -> None:
    queue = made_for(workers=1)
    for key in ("a0", "a1", "b0"):
        queue.add(key)

    served = []
    for _ in range(3):
        served.append(await next_of(queue))
        queue.done(served[-1])

    assert served == ["a0", "b0", "a1"]


@pytest.mark.parametrize("moments", range(6))
async def test_it_stops_when_it_is_told_to_even_in_the_moment_of_waking_up(moments: int) -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes just when what it waits for is done."""
    queue = made_for(workers=1)
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

    def get(self, key: int) -> None:
        assert key == next(each for each in self.wanted if each % 2 == key % 2), "within a namespace, first come, first served"
        del self.wanted[key]
        self.active.add(key)

    def done(self, key: int) -> None:
        self.active.discard(key)
        if key in self.again:
            self.again.discard(key)
            self.wanted[key] = None


steps = st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.integers(0, 3)), max_size=60)


@given(steps)
def test_whatever_happens_in_whichever_order_it_is_as_the_model_says(steps: list[tuple[str, int]]) -> None:
    async def replay() -> None:
        queue: WorkQueue[int] = WorkQueue(100, lambda key: key % 2)
        model = _Model()
        for action, number in steps:
            if action == "add":
                queue.add(number)
                model.add(number)
            elif action == "get" and model.wanted:
                model.get(await asyncio.wait_for(queue.get(), SOON))
            elif action == "done" and model.active:
                key = sorted(model.active)[number % len(model.active)]
                queue.done(key)
                model.done(key)
            assert len(queue) == len(model.wanted) + len(model.again)
        while model.wanted or model.active:
            if model.wanted:
                model.get(await asyncio.wait_for(queue.get(), SOON))
            key = min(model.active)
            queue.done(key)
            model.done(key)
        assert len(queue) == 0

    asyncio.run(replay())
