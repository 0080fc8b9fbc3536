"""Operation: a switchover through every interruption.

The operator may die before or after anything that it does, and its successor knows what the API server holds: the Operation's status
and the database as it then is. All that can happen is tried, in every order, until nothing new comes of it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, merge
from baas_operator.observe.view import View
from baas_operator.policy.operation import MAX_LAG_BYTES, plan_operation
from baas_operator.policy.plan import Plan, Switchover
from tests.unit.objects import message, own, reason, status
from tests.unit.policy.postgres import MEBIBYTE, Postgres

FINAL = ("Succeeded", "Refused", "Failed")
TIMEOUT_SECONDS = 60


class World:
    """A database that serves, an Operation on it, and an operator that can be killed."""

    def __init__(self, *, to: str | None = None, spec: Manifest | None = None) -> None:
        self.db = Postgres(spec).serving()
        self.db.applied = {key: each for key, each in self.db.applied.items() if key[0] == "EndpointSlice"}  # all that is looked at
        parameters = {"to": to} if to else {}
        self.operation = own(OPERATION, "op", {
            "target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover", "parameters": parameters,
            "timeoutSeconds": TIMEOUT_SECONDS,
        })  # fmt: skip
        self.promised: str | None = None
        """Whom Patroni is handing over to."""
        self.asked: tuple[tuple[str, str], ...] = ()
        """(leader, candidate) of every request to Patroni."""

    def copy(self) -> World:
        made = copy.copy(self)
        made.db, made.operation = self.db.copy(), copy.deepcopy(self.operation)
        return made

    @property
    def status(self) -> Manifest:
        found: Manifest = self.operation["status"]
        return found

    @property
    def phase(self) -> str | None:
        return self.status.get("phase")

    # --- the operator ------------------------------------------------------------------------------------------------

    def plan(self, *, target: bool = True) -> Plan:
        key = (DATABASE_REPLICA.name, "db")
        return plan_operation(View(
            resource=self.operation, children={}, nodes=self.db.nodes, now=self.db.now,
            others={key: self.db.resource} if target else {},
            other_children={key: self.db.children()} if target else {},
        ))  # fmt: skip

    def carry_out(self, plan: Plan) -> None:
        """The effects, which come before the status is written."""
        for effect in plan.effects:
            assert isinstance(effect, Switchover)
            self.asked = (*self.asked, (effect.leader, effect.candidate))
            self.patroni_is_asked(effect)

    def write(self, plan: Plan) -> None:
        conditions = merge(self.status.get("conditions", []), plan.conditions, generation=1, now="2026-05-01T12:00:00Z")
        self.operation["status"] = {**plan.status, "observedGeneration": 1, "conditions": conditions}

    def reconcile(self) -> Plan:
        plan = self.plan()
        self.carry_out(plan)
        self.write(plan)
        return plan

    # --- Patroni, which decides for itself ------------------------------------------------------------------------------

    def patroni_is_asked(self, effect: Switchover) -> None:
        fit = self.db.leader == effect.leader and effect.candidate in self.db.sync and self.db.members[effect.candidate].ready
        if fit and self.promised is None:
            self.promised = effect.candidate

    def hand_over(self) -> None:
        """The next thing that Patroni does of a switchover, if there is one."""
        db = self.db
        if self.promised is None:
            self.settle()
        elif db.leader == self.promised:
            self.promised = None
            db.promote()
        elif db.leader is None:
            db.lock(self.promised)
        else:
            old = db.members[db.leader]
            old.role, old.state, old.ready = "standby", "stopped", False
            db.lock(None)

    def settle(self) -> None:
        """With nothing left to hand over: the primary's agent routes to it, and the others follow it."""
        db = self.db
        if db.leader is None or db.members[db.leader].role != "primary":
            return
        if not plan_routed(db):
            db.route()
        else:
            db.join(*(name for name, each in db.members.items() if name != db.leader and each.role != "unknown"))

    def fail_over(self, to: str) -> None:
        """The leader dies, and the standbys elect one of them."""
        db = self.db
        if db.leader:
            db.power_off(db.leader)
            db.members[db.leader].role = "unknown"
        self.promised = None
        db.lock(to)
        db.promote()

    def time_out(self) -> None:
        self.db.wait(TIMEOUT_SECONDS + 1)


def plan_routed(db: Postgres) -> bool:
    assert db.leader
    (endpoint,) = db.applied[("EndpointSlice", "db-rw")]["endpoints"]
    return bool(endpoint["addresses"] == [db.members[db.leader].ip])


# --- the stories ----------------------------------------------------------------------------------------------------


def test_from_the_wish_to_the_new_primary() -> None:
    world = World(to="db-2")

    intent = world.reconcile()
    assert intent.effects == (), "the intent is written down before anything is done"
    assert world.phase == "Running"
    assert world.status["result"] == {"fromMember": "db-0", "toMember": "db-2"}
    assert reason(intent, RECONCILING) == "Running"

    assert world.reconcile().effects == (Switchover("db", "db-0", "10.0.0.0", "db-2"),)
    for _ in range(3):
        world.hand_over()
        assert world.reconcile().effects == (), "what is under way is not asked for again"
        assert world.phase == "Running", "a new primary that nobody is routed to is not the end"

    world.db.wait(2.5)
    world.hand_over()
    done = world.reconcile()
    assert world.phase == "Succeeded"
    assert world.status["result"]["durationSeconds"] == 2.5
    assert world.status["steps"][0]["finishedAt"] == "2026-05-01T12:00:02.500Z"
    assert reason(done, READY) == "SwitchedOver"
    assert done.requeue_after is None


def test_what_is_over_stays_as_it_was_told() -> None:
    world = World(to="db-0")
    world.reconcile()
    told = copy.deepcopy(world.operation)

    world.fail_over("db-1")
    world.db.route()
    world.time_out()
    again = world.reconcile()

    assert world.operation == told
    assert again.effects == ()
    assert again.requeue_after is None


def test_the_standby_with_the_least_lag_is_taken() -> None:
    world = World()
    world.db.members["db-1"].behind = 5 * MEBIBYTE
    world.db.members["db-2"].behind = 3 * MEBIBYTE

    world.reconcile()

    assert world.status["result"]["toMember"] == "db-2"


def test_one_whose_lag_is_not_known_is_taken_last() -> None:
    world = World()
    world.db.members["db-1"].behind = None
    world.db.members["db-2"].behind = 3 * MEBIBYTE

    world.reconcile()

    assert world.status["result"]["toMember"] == "db-2"


def test_a_step_that_patroni_refuses_is_asked_for_again_until_time_is_up() -> None:
    world = World(to="db-1")
    world.reconcile()
    world.db.sync = ()

    world.reconcile()
    world.reconcile()
    assert world.asked == (("db-0", "db-1"),) * 2

    world.time_out()
    world.reconcile()
    assert world.phase == "Failed"
    assert world.status["conditions"][0]["reason"] == "TimedOut"


def test_success_that_is_seen_late_is_success() -> None:
    """The operator was away for an hour; the switchover was done in a second."""
    world = World(to="db-1")
    world.reconcile()
    world.reconcile()
    for _ in range(4):
        world.hand_over()
    world.db.wait(3600)

    world.reconcile()

    assert world.phase == "Succeeded"


def test_a_failover_that_comes_between_ends_it() -> None:
    world = World(to="db-1")
    world.reconcile()
    world.fail_over("db-2")

    plan = world.reconcile()

    assert world.phase == "Failed"
    assert reason(plan, READY) == "OtherPrimary"
    assert plan.effects == ()


# --- refusals -------------------------------------------------------------------------------------------------------


def lags(world: World) -> None:
    world.db.members["db-1"].behind = MAX_LAG_BYTES + MEBIBYTE


def does_not_stream(world: World) -> None:
    world.db.members["db-1"].state = "starting"


def is_not_ready(world: World) -> None:
    world.db.members["db-1"].ready = False


def is_not_synchronous(world: World) -> None:
    world.db.sync = ("db-2",)


def has_no_primary(world: World) -> None:
    world.db.lock(None)


def nothing(world: World) -> None:
    """All is well."""


@pytest.mark.parametrize(
    ("to", "what", "why", "advice"),
    [
        ("db-0", nothing, "AlreadyPrimary", "primary already"),
        ("db-7", nothing, "UnknownMember", "its members are db-0, db-1, db-2"),
        ("db-1", lags, "TargetLags", "17 MiB behind, more than 16 MiB: wait until it has caught up"),
        ("db-1", does_not_stream, "TargetNotStreaming", "wait until it does"),
        ("db-1", is_not_ready, "TargetNotStreaming", "wait until it does"),
        ("db-1", is_not_synchronous, "TargetNotSynchronous", "may lack acknowledged commits"),
        ("db-1", has_no_primary, "NoPrimary", "wait until the database is Ready"),
        (None, has_no_primary, "NoPrimary", "wait until the database is Ready"),
    ],
)
def test_an_unfit_target_is_refused_with_a_sentence(to: str | None, what: Callable[[World], None], why: str, advice: str) -> None:
    world = World(to=to)
    what(world)

    plan = world.reconcile()

    assert world.phase == "Refused"
    assert world.asked == ()
    assert reason(plan, READY) == reason(plan, STALLED) == why
    assert status(plan, READY) is False
    assert advice in message(plan, READY)


def test_a_target_that_is_not_there_is_refused() -> None:
    world = World()
    plan = world.plan(target=False)
    assert plan.status["phase"] == "Refused"
    assert "check spec.target.name" in message(plan, READY)


def test_without_a_name_the_unfit_are_passed_over() -> None:
    world = World()
    lags(world)
    world.reconcile()
    assert world.status["result"]["toMember"] == "db-2"


def test_under_async_no_standby_is_synchronous_and_any_that_streams_will_do() -> None:
    world = World(to="db-1", spec={"durability": "async"})
    world.db.sync = ()
    world.reconcile()
    assert world.phase == "Running"


# --- every interruption ---------------------------------------------------------------------------------------------


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
            assert after.asked[-1] == (intent["fromMember"], intent["toMember"]), "only what was written down is done"
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
