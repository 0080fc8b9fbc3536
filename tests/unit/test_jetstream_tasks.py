"""Tasks end when they are told to, also where what they wait for comes in the same moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from baas_operator.jetstream.tasks import end, together


class Asks:
    """Asks for ever, and forgets a cancellation that comes with the answer, as Python's `wait_for` before 3.12. `comes` answers."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> None:
        while True:
            self._answer = asyncio.get_running_loop().create_future()
            with suppress(asyncio.CancelledError):
                await self._answer
            if not self._answer.done() or self._answer.cancelled():
                raise asyncio.CancelledError

    def comes(self) -> None:
        self._answer.set_result(None)


async def test_an_answer_in_the_moment_of_the_cancellation_keeps_nothing_going() -> None:
    asks = Asks()
    task = asyncio.create_task(together(asks(), asyncio.sleep(60)))
    await asyncio.sleep(0.01)
    asks.comes()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 10)


async def test_a_task_is_ended_in_that_moment_too() -> None:
    asks = Asks()
    task = asyncio.create_task(asks())
    await asyncio.sleep(0.01)
    asks.comes()
    await asyncio.wait_for(end([task]), 10)
    assert task.cancelled()


async def test_what_one_raises_ends_the_others_and_is_raised() -> None:
    async def fails() -> None:
        raise RuntimeError("one")

    other = asyncio.Event()

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            other.set()

    with pytest.raises(RuntimeError, match="one"):
        await together(goes_on(), fails())
    assert other.is_set()


async def test_no_cancellation_is_forgotten_by_what_nats_py_waits_with() -> None:
    answer = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(asyncio.wait_for(answer, 60))
    await asyncio.sleep(0.01)
    answer.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_around_it_is_kept_when_an_answer_comes_in_its_moment() -> None:
    loop = asyncio.get_running_loop()
    asked: list[asyncio.Future[None]] = []

    async def asks() -> None:
        async with asyncio.timeout(0.05) as deadline:
            loop.call_at(deadline.when() or 0, lambda: asked[-1].set_result(None))
            while True:
                asked.append(loop.create_future())
                await asyncio.wait_for(asked[-1], 60)

    with pytest.raises(TimeoutError):
        await asks()


async def test_it_is_too_late_after_so_long_and_at_once_after_none() -> None:
    for seconds in (0.01, 0, -1):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), seconds)
    assert await asyncio.wait_for(asyncio.sleep(0, "answer"), None) == "answer"
