"""What is asked of operands outlives the turn that asked it, is asked once, and answers nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from baas_operator.engine import asking
from baas_operator.engine.asking import Asking
from baas_operator.engine.errors import Refused, Waiting
from baas_operator.engine.store import Key

KEY, OTHER = Key("DatabaseReplica", "prod", "db"), Key("DatabaseReplica", "prod", "other")


class Operand:
    """It answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()

    async def ask(self, what: str) -> str:
        self.asked.append(what)
        await self.answers.wait()
        if what == "refused":
            raise Refused("StreamRefused", "no")
        return f"{what}!"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_MOMENT_SECONDS", 0.02)


@pytest.fixture
async def operand() -> AsyncIterator[Operand]:
    made = Operand()
    yield made
    made.answers.set()
    await asyncio.sleep(0)


async def test_a_turn_waits_for_a_moment_and_a_later_one_has_the_answer(operand: Operand) -> None:
    it: Asking[str, str] = Asking()
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(Waiting):
            await it.answer(KEY, "a", lambda: operand.ask("a"))
        assert time.monotonic() - started < 1

    operand.answers.set()
    assert await it.answer(KEY, "a", lambda: operand.ask("a")) == "a!"
    assert operand.asked == ["a"]


async def test_objects_do_not_wait_for_each_other(operand: Operand) -> None:
    it: Asking[str, str] = Asking()
    with pytest.raises(Waiting):
        await it.answer(KEY, "a", lambda: operand.ask("a"))

    well = Operand()
    well.answers.set()
    assert await it.answer(OTHER, "b", lambda: well.ask("b")) == "b!"


async def test_an_answer_is_none_to_something_else(operand: Operand) -> None:
    it: Asking[str, str] = Asking()
    with pytest.raises(Waiting):
        await it.answer(KEY, "a", lambda: operand.ask("a"))
    with pytest.raises(Waiting):
        await it.answer(KEY, "b", lambda: operand.ask("b"))
    assert operand.asked == ["a"], "one thing at a time"

    operand.answers.set()
    with pytest.raises(Waiting):
        await it.answer(KEY, "b", lambda: operand.ask("b"))
    assert await it.answer(KEY, "b", lambda: operand.ask("b")) == "b!"


async def test_what_nobody_waits_for_any_more_is_asked_anew_when_somebody_does(operand: Operand) -> None:
    it: Asking[str, str] = Asking()
    with pytest.raises(Waiting):
        await it.answer(KEY, "a", lambda: operand.ask("a"))
    it.settle(KEY)
    assert operand.asked == ["a"], "it goes on"
    operand.answers.set()
    await asyncio.sleep(0.01)
    it.settle(KEY)

    assert await it.answer(KEY, "a", lambda: operand.ask("a")) == "a!"
    assert operand.asked == ["a", "a"]


async def test_what_it_raised_is_raised(operand: Operand) -> None:
    it: Asking[str, str] = Asking()
    with pytest.raises(Waiting):
        await it.answer(KEY, "refused", lambda: operand.ask("refused"))
    operand.answers.set()
    with pytest.raises(Refused):
        await it.answer(KEY, "refused", lambda: operand.ask("refused"))


async def test_a_turn_that_is_cut_off_leaves_it_going(operand: Operand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_MOMENT_SECONDS", 10)
    it: Asking[str, str] = Asking()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await it.answer(KEY, "a", lambda: operand.ask("a"))
    operand.answers.set()
    assert await it.answer(KEY, "a", lambda: operand.ask("a")) == "a!"
    assert operand.asked == ["a"]


async def test_an_object_that_is_gone_is_asked_nothing_more(operand: Operand) -> None:
    it: Asking[str, str] = Asking()
    with pytest.raises(Waiting):
        await it.answer(KEY, "a", lambda: operand.ask("a"))
    it.forget(KEY)
    it.forget(KEY)
    operand.answers.set()
    assert await it.answer(KEY, "b", lambda: operand.ask("b")) == "b!"
