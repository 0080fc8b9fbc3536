"""Since when an endpoint fails, and when that disables it, as two dispatchers note it in one store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.webhooks import Webhook
from baas_operator.dispatcher.outcome import Outcome, Verdict
from baas_operator.dispatcher.schedule import MOST_RETRY_AFTER_SECONDS, delay_seconds, longest_seconds
from baas_operator.dispatcher.standing import Standing
from baas_operator.dispatcher.state import State

HOUR = 3600.0
URL = "https://a.example/"
FAILS, TAKES = Outcome(Verdict.FAILED, "answered 500", 500), Outcome(Verdict.TAKEN, "answered 204", 204)


class Store(State):
    """What is noted, in place of JetStream."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self.revision = 0

    async def get(self, _: str) -> tuple[dict[str, Any], int]:
        return dict(self.value), self.revision

    async def put(self, _: str, value: dict[str, Any], revision: int) -> int | None:
        assert revision == self.revision
        self.value, self.revision = value, revision + 1
        return self.revision


class Clock:
    """The time of day; it passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made.time)
    return made


@pytest.fixture
def store() -> Store:
    return Store()


def standing(store: Store, **more: Any) -> Standing:
    told = {"name": "a", "stream": "orders", "url": URL, "retrySeconds": [5, HOUR], "disableAfterHours": 48}
    return Standing(store, Webhook.model_validate(told | more), patience=60.0)


async def fails(one: Standing, clock: Clock, hours: float, every: float = 600.0, outcome: Outcome = FAILS) -> None:
    """For so long, looking as dispatchers do."""
    end = clock.now + hours * HOUR
    while clock.now < end:
        one.saw(outcome)
        clock.now += 5
        await one.look()
        clock.now += every - 5


async def test_who_fails_all_the_time_is_disabled(store: Store, clock: Clock) -> None:
    one, other = standing(store), standing(store)
    await fails(one, clock, 47)
    await other.look()
    assert (other.record.failing_since, one.record.disabled) == (1_800_000_000.0, None)
    await fails(one, clock, 2)
    assert "48 hours" in (one.record.disabled or "")
    await other.look()
    assert other.record.disabled == one.record.disabled


@pytest.mark.parametrize("again", [True, False], ids=["by another dispatcher", "by the same"])
async def test_a_time_in_which_nothing_was_tried_is_no_time_of_failures(store: Store, clock: Clock, again: bool) -> None:
    one = standing(store)
    await fails(one, clock, 1)
    clock.now += 30 * 24 * HOUR  # paused, or nothing to send
    one = standing(store) if again else one
    await one.look()
    begins = clock.now
    await fails(one, clock, 47)
    assert (one.record.disabled, one.record.failing_since) == (None, begins)
    await fails(one, clock, 2)
    assert one.record.disabled, "but from there on it counts"


@pytest.mark.parametrize(
    ("every", "outcome"),
    [
        (1.2 * HOUR, FAILS),  # the longest step, with the fifth more that chance may add
        (24 * HOUR, Outcome(Verdict.FAILED, "answered 503", 503, retry_after=99 * HOUR)),
    ],
)
async def test_attempts_that_are_as_far_apart_as_planned_are_one_failure(
    store: Store, clock: Clock, every: float, outcome: Outcome
) -> None:
    one = standing(store)
    await fails(one, clock, 73, every, outcome)
    assert one.record.disabled


async def test_a_failure_of_another_dispatcher_meanwhile_counts(store: Store, clock: Clock) -> None:
    one, other = standing(store), standing(store)
    await fails(one, clock, 1)
    await fails(other, clock, 46)
    await fails(one, clock, 2)
    assert one.record.disabled


async def test_one_success_forgets_it_all(store: Store, clock: Clock) -> None:
    one = standing(store)
    await fails(one, clock, 1)
    assert one.record.failing_since
    one.saw(TAKES)
    await one.look()
    assert store.value == {"url": URL}


async def test_what_an_older_version_noted_is_read(store: Store, clock: Clock) -> None:
    await store.put("endpoint.a", {"url": URL, "disabled": None, "disabled_at": None, "failing_since": clock.now - 47 * HOUR}, 0)
    one = standing(store)
    await fails(one, clock, 0.5)
    assert (one.record.disabled, one.record.failing_since) == (None, 1_800_000_000.0 - 47 * HOUR)
    await fails(one, clock, 1)
    assert one.record.disabled


async def test_an_older_version_reads_that_it_is_disabled(store: Store, clock: Clock) -> None:
    """It takes what has a field that it does not know for nothing, and would go on sending."""
    one = standing(store)
    await fails(one, clock, 49)
    assert store.value["disabled"]
    assert store.value.keys() <= {"url", "disabled", "disabled_at", "failing_since"}
    store.value["newer"] = 1
    await one.look()
    assert one.record.disabled, "and this one reads what a newer version noted"


async def test_it_is_not_noted_at_every_look(store: Store, clock: Clock) -> None:
    one = standing(store)
    await fails(one, clock, 1, every=5.0)
    assert store.revision <= 8


@given(st.lists(st.integers(1, 604_800), min_size=1, max_size=20), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1e9) | st.none())
def test_no_attempt_is_later_than_the_longest_step(schedule: list[int], attempt: int, chance: float, asked: float | None) -> None:
    longest = longest_seconds(schedule, asked)
    assert delay_seconds(attempt, schedule, asked, chance) <= longest <= max(1.2 * max(schedule), MOST_RETRY_AFTER_SECONDS)


async def test_what_others_note_meanwhile_is_not_written_over(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = standing(store), standing(store)
    await fails(one, clock, 1)
    one.saw(FAILS)
    clock.now += 700
    one.saw(FAILS)
    note = store.note

    async def late(*args: Any) -> Any:
        monkeypatch.setattr(store, "note", note)
        other.saw(TAKES)
        await other.look()
        return await note(*args)

    monkeypatch.setattr(store, "note", late)
    await asyncio.wait_for(one.look(), 5)
    assert one.record.failing_since is None
    assert store.value == {"url": URL}
