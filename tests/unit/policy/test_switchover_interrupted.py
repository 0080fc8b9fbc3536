"""Operation: a switchover through every interruption.

The operator may die before or after anything that it does, and its successor knows what the API server holds: the Operation's status
and the database as it then is. All that can happen is tried, in every order, until nothing new comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.policy.postgres import Postgres
from tests.unit.policy.switchover import FINAL, TIMEOUT_SECONDS, World, plan_routed


def dies_before_it_acts(world: World) -> None:
    world.plan()


def dies_between_acting_and_telling(world: World) -> None:
    world.carry_out(world.plan())


def lives(world: World) -> None:
    world.reconcile()


def patroni_goes_on(world: World) -> None:
    world.hand_over()


def target_loses_power(world: World) -> None:
    if world.db.leader != "db-1" and world.db.members["db-1"].ready:
        world.db.power_off("db-1")
        if world.promised == "db-1":
            world.fail_over("db-2")


def third_member_takes_over(world: World) -> None:
    if world.db.leader != "db-2":
        world.fail_over("db-2")


def sync_state_is_lost(world: World) -> None:
    world.db.sync = ()


def time_is_up(world: World) -> None:
    if world.db.now - timedelta(seconds=TIMEOUT_SECONDS) < Postgres().now:
        world.time_out()


OPERATOR = (dies_before_it_acts, dies_between_acting_and_telling, lives)
EVENTS = (patroni_goes_on, target_loses_power, third_member_takes_over, sync_state_is_lost, time_is_up)


def fingerprint(world: World) -> str:
    db = world.db
    members = [(each.role, each.state, each.ready) for each in db.members.values()]
    return json.dumps([
        world.status, world.promised, sorted(set(world.asked)), members, db.leader, db.sync, plan_routed(db) if db.leader else None,
        db.now.isoformat(),
    ], sort_keys=True, default=str)  # fmt: skip


def everything_that_can_happen(start: World) -> Iterator[tuple[World, Any, World]]:
    """(before, what happened, after), each situation once."""
    seen, front = {fingerprint(start)}, [start]
    while front:
        world = front.pop()
        for step in OPERATOR if world.phase in FINAL else (*OPERATOR, *EVENTS):
            after = world.copy()
            step(after)
            mark = fingerprint(after)
            if mark not in seen:
                seen.add(mark)
                front.append(after)
            yield world, step, after


@pytest.mark.parametrize("to", ["db-1", None])
def test_whenever_the_operator_dies_its_successor_does_what_was_meant(to: str | None) -> None:
    ends: set[tuple[str | None, str]] = set()
    looked = 0
    for before, step, after in everything_that_can_happen(World(to=to)):
        looked += 1
        assert len(set(after.asked)) <= 1, "never two different switchovers"
        if len(after.asked) > len(before.asked):
            intent = before.status["result"]
            assert after.asked[-1] == (intent["fromMember"], before.status["candidate"]), "only what was written down is done"
            assert before.phase == "Running"
        if before.phase in FINAL:
            assert after.status == before.status, "what is over stays over"
            assert after.asked == before.asked
        elif after.phase in FINAL:
            assert step is lives
            ends.add((after.phase, after.status["conditions"][0]["reason"]))
        if after.phase == "Succeeded" and before.phase != "Succeeded":
            assert after.db.leader == after.status["result"]["toMember"]
            assert plan_routed(after.db)
    assert looked > 500
    assert {("Succeeded", "SwitchedOver"), ("Failed", "TimedOut"), ("Failed", "OtherPrimary"), ("Refused", "TargetNotStreaming")} <= ends


def test_from_wherever_it_was_interrupted_it_comes_to_an_end() -> None:
    situations = {fingerprint(after): after for _, step, after in everything_that_can_happen(World(to="db-1")) if step in EVENTS}
    for world in situations.values():
        for _ in range(8):
            if world.phase in FINAL:
                break
            world.reconcile()
            world.hand_over()
        if world.phase not in FINAL:
            world.time_out()
            world.reconcile()
            world.reconcile()
        assert world.phase in FINAL
