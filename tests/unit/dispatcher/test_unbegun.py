"""What is noted of deliveries that were no attempt, against a store that others write, too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

from baas_operator.dead_letters.letter import Source
from baas_operator.dispatcher.held import Held
from baas_operator.dispatcher.request import Message
from baas_operator.dispatcher.state import State
from baas_operator.dispatcher.unbegun import Unbegun


class Store:
    """One value; writers are let in in the middle of each other."""

    def __init__(self, **value: Any) -> None:
        self.value, self.revision = dict(value), int(bool(value))

    async def get(self, _: str) -> tuple[dict[str, Any], int]:
        found = dict(self.value), self.revision
        await asyncio.sleep(0)
        return found

    async def put(self, _: str, value: dict[str, Any], revision: int) -> int | None:
        await asyncio.sleep(0)
        if revision != self.revision:
            return None
        self.value, self.revision = value, revision + 1
        return self.revision


def held(sequence: int) -> Held:
    message = Message("orders", sequence, "orders.new", b"", {}, datetime(2026, 1, 2, tzinfo=UTC))
    return Held(message, Source(sequence, "orders.new", 10**18 + sequence), "", 1, 0.0)


async def test_several_note_at_once_and_none_is_forgotten() -> None:
    store = Store()
    those = [Unbegun(cast(State, store), "a") for _ in range(6)]
    await asyncio.gather(*(each.note([held(1), held(10 + number)], floor=0) for number, each in enumerate(those)))
    assert await those[0].of(held(1)) == 6
    assert [await those[0].of(held(10 + number)) for number in range(7)] == [1] * 6 + [0]


async def test_what_is_done_with_is_noted_no_more_and_there_is_an_end_to_it() -> None:
    store = Store()
    notes = Unbegun(cast(State, store), "a")
    await notes.note([held(each) for each in range(1, 50)], floor=0)
    await notes.note([held(60)], floor=48)
    assert sorted(store.value) == sorted(held(each).place for each in (49, 60))
    await notes.note([held(each) for each in range(100, 3000)], floor=48)
    assert len(store.value) == 1000
    assert await notes.of(held(2999)) == 1
    assert await notes.of(held(100)) == 0


async def test_what_somebody_else_wrote_there_is_passed_over() -> None:
    store = Store(**{"x": 5, "7:1": "many", "8:9": 2, f"{'9' * 5000}:1": 1})
    notes = Unbegun(cast(State, store), "a")
    assert await notes.of(held(8)) == 0
    await notes.note([held(9)], floor=0)
    assert store.value == {"8:9": 2, held(9).place: 1}
