"""Operations on dead letters: what is meant is decided first, each step's outcome is in the status, and what can not be is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from baas_operator.api.operation import Action, LetterFilter
from baas_operator.api.streams import DeadLetter
from baas_operator.observe.conditions import READY, RECONCILING
from baas_operator.policy.dead_letters import expiring
from baas_operator.policy.plan import Discard, LetterWork
from tests.unit.objects import message, reason
from tests.unit.policy.dead_letters import World

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def test_from_the_wish_to_the_end() -> None:
    world = World(ratePerSecond=10, limit=5, letters={"consumer": "c"})
    intent = world.step()
    assert intent.effects == (), "the intent is written down before anything is done"
    assert world.status["phase"] == "Running"

    effect = world.asked()
    assert (effect.action, effect.stream, effect.rate, effect.limit) == (Action.REPLAY_DEAD_LETTERS, "orders", 10, 5)
    assert effect.letters == LetterFilter(consumer="c")
    assert effect.operation_uid == "uid-of-op"
    assert effect.work == LetterWork()


def test_each_step_goes_on_where_the_last_came_to() -> None:
    world = World()
    world.step()
    world.step(looked_at=0, last=40, selected=5, left=9)
    assert [each["name"] for each in world.status["steps"]] == ["Select", "Replay"]
    assert world.status["result"]["selected"] == 5

    told = world.step(looked_at=20, done=3, left=6)
    assert message(told, READY) == message(told, RECONCILING) == "3 of 5 dead letters of orders are replayed."
    assert world.asked().work == LetterWork(looked_at=20, last=40, selected=5, done=3, left=6)

    world.wait(2)
    done = world.step(looked_at=40, done=5, left=4, finished=True)
    assert world.status["phase"] == "Succeeded"
    assert reason(done, READY) == "DeadLettersReplayed"
    assert message(done, READY) == "5 of 5 dead letters of orders are replayed; 4 dead letters are left."
    assert {key: world.status["result"][key] for key in ("selected", "replayed", "left")} == {"selected": 5, "replayed": 5, "left": 4}
    assert all(each["finishedAt"] for each in world.status["steps"])
    assert world.plan().effects == ()


def test_a_selection_that_takes_several_steps_forgets_nothing() -> None:
    world = World()
    world.step()
    world.step(looked_at=100, selected=7)
    assert world.asked().work == LetterWork(looked_at=100, selected=7)


def test_nothing_that_fits_is_a_success() -> None:
    world = World("purge-dead-letters")
    world.step()
    done = world.step(last=0, selected=0, left=2, finished=True)
    assert world.status["phase"] == "Succeeded"
    assert (reason(done, READY), message(done, READY)) == (
        "DeadLettersPurged", "No dead letter of orders is meant; 2 dead letters are left.",
    )  # fmt: skip
    assert world.status["result"]["purged"] == 0


def test_why_it_comes_no_further_is_told_until_it_does() -> None:
    world = World()
    world.step()
    world.step(last=40, selected=5)
    told = world.step(problem="orders is full")
    assert message(told, READY).endswith("Last answer: orders is full")
    assert world.asked().work.problem == "", "the question is the same one"
    assert "Last answer" not in message(world.step(done=1), READY)


def test_what_is_not_done_in_time_stays() -> None:
    world = World(timeout=30)
    world.step()
    world.step(last=40, selected=5, done=2)
    world.wait(30)
    told = world.step()
    assert world.status["phase"] == "Failed"
    assert message(told, READY) == (
        "2 of 5 dead letters of orders are replayed in 30 s; the others are where they were: create another Operation."
    )


@pytest.mark.parametrize(
    ("parameters", "why", "sentence"),
    [
        ({"stream": "plain"}, "NoDeadLetters", "events has no stream 'plain' with deadLetter or a webhook; those that have are orders"),
        ({"stream": "other"}, "NoDeadLetters", "check parameters.stream"),
        ({"letters": {"since": "yesterday"}}, "FilterInvalid", "'yesterday' is no time"),
    ],
)
def test_what_can_not_be_is_refused(parameters: dict[str, Any], why: str, sentence: str) -> None:
    world = World(**parameters)
    told = world.step()
    assert world.status["phase"] == "Refused"
    assert reason(told, READY) == why
    assert sentence in message(told, READY)


def test_a_queue_that_is_not_there_is_refused() -> None:
    world = World()
    world.queue = None
    assert "There is no EventQueue 'events'" in message(world.step(), READY)


def test_one_at_a_time_is_carried_out_on_a_queue() -> None:
    world, other = World(), World()
    rival = other.operation
    rival["metadata"] |= {"name": "a", "uid": "uid-of-a"}
    rival["status"] = {"phase": "Running", "steps": [{"name": "Select", "startedAt": "2026-05-01T12:00:00Z"}]}
    world.rivals = [rival]
    assert message(world.step(), READY) == "It waits for Operation a: one at a time is carried out on events."

    rival["status"]["phase"] = "Succeeded"
    world.step()
    assert world.status["phase"] == "Running"


def test_old_ones_are_deleted_when_another_is_over() -> None:
    world = World()
    for number in range(25):
        rival = World().operation
        rival["metadata"] |= {"name": f"old-{number:02}", "uid": str(number), "creationTimestamp": f"2026-04-01T12:00:{number:02}Z"}
        rival["status"] = {"phase": "Succeeded"}
        world.rivals.append(rival)
    world.step()
    done = world.step(last=0, finished=True)
    assert {each.name for each in done.effects if isinstance(each, Discard)} == {f"old-{number:02}" for number in range(6)}


# --- before they expire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours_ago", "count", "told"),
    [(27, 3, False), (29, 3, True), (99, 3, True), (29, 0, False)],
)
def test_who_should_look_is_told_before_the_oldest_expires(hours_ago: int, count: int, told: bool) -> None:
    oldest = (NOW - timedelta(hours=hours_ago)).isoformat().replace("+00:00", ".123456789Z")
    found = expiring("orders", count, oldest, DeadLetter(max_age_hours=100, alarm_hours=72), NOW)
    assert (found is not None) == told
    if found:
        assert found.reason == "DeadLettersExpiring"
        assert f"{count} dead letters of orders are kept, and the oldest expires in {100 - hours_ago} hour" in found.message


def test_none_that_was_ever_buried_is_no_alarm() -> None:
    assert expiring("orders", 0, None, DeadLetter(), NOW) is None
