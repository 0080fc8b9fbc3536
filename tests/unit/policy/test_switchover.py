"""Operation: a switchover from the wish to the new primary, and the targets that are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from baas_operator.desired.database.names import MAX_LAG_BYTES
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.policy.operations.common import KEPT, WHY_LABEL, Why, with_answer
from baas_operator.policy.plan import Discard, Switchover
from tests.unit.objects import message, reason, status
from tests.unit.policy.postgres import MEBIBYTE
from tests.unit.policy.switchover import World


def test_from_the_wish_to_the_new_primary() -> None:
    world = World(to="db-2")

    intent = world.reconcile()
    assert intent.effects == (), "the intent is written down before anything is done"
    assert world.phase == "Running"
    assert world.status["candidate"] == "db-2"
    assert world.status["result"] == {"fromMember": "db-0"}, "who is the primary after is told once it is"
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
    assert world.status["result"] == {"fromMember": "db-0", "toMember": "db-2", "durationSeconds": 2.5}
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

    assert world.status["candidate"] == "db-2"


def test_one_whose_lag_is_not_known_is_taken_last() -> None:
    world = World()
    world.db.members["db-1"].behind = None
    world.db.members["db-2"].behind = 3 * MEBIBYTE

    world.reconcile()

    assert world.status["candidate"] == "db-2"


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


def test_why_it_was_not_done_is_told_while_it_goes_on_and_when_it_is_given_up() -> None:
    """What the primary's agent sees, nobody else does: that a long query holds up replay on the target, say."""
    world = World(to="db-1")
    world.reconcile()
    for answer in ("db-1 does not replay.", "db-2 does not confirm."):
        world.write(with_answer(world.plan(), answer))
        plan = world.reconcile()
        assert message(plan, READY) == f"db-1 is becoming the primary. Last answer: {answer}"

    world.time_out()
    assert message(world.reconcile(), READY).endswith("then create another Operation. Last answer: db-2 does not confirm.")


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
    assert "toMember" not in world.status["result"]


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [None, "Pending"])
def test_one_that_was_not_begun_in_time_is_given_up_untouched(phase: str | None) -> None:
    """It was created while the operator was down for the night."""
    world = World(to="db-1")
    if phase:
        world.operation["status"] = {"phase": phase}
    world.time_out()

    plan = world.reconcile()

    assert world.phase == "Failed"
    assert world.asked == ()
    assert reason(plan, READY) == "TimedOut"
    assert message(plan, READY) == (
        "It was not begun within 60 s of its creation, so nothing was done: create another Operation."
    )  # fmt: skip


# --- others on the same database ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more", "waits"),
    [
        ("earlier", {"created": "2026-05-01T11:59:59Z"}, True),
        ("later", {"created": "2026-05-01T12:00:01Z"}, False),
        ("a-by-name", {}, True),
        ("z-by-name", {}, False),
        ("z-begun", {"started": "2026-05-01T12:00:00.100Z"}, True),
    ],
)
def test_one_operation_at_a_time(name: str, more: dict[str, str], waits: bool) -> None:
    world = World(to="db-1")
    world.rival(name, "Running" if "started" in more else None, **more)

    plan = world.reconcile()

    assert world.phase == ("Pending" if waits else "Running")
    if waits:
        assert reason(plan, READY) == reason(plan, RECONCILING) == "WaitingForOperation"
        assert message(plan, READY) == f"It waits for Operation {name}: one at a time is carried out on db."
        assert plan.requeue_after


def test_of_two_that_were_begun_at_once_the_second_steps_back_before_it_acts() -> None:
    world = World(to="db-1")
    world.reconcile()
    world.rival("z-other", "Running", started="2026-05-01T11:59:59.999Z")

    assert world.reconcile().effects == ()
    assert world.phase == "Pending"
    assert not {"candidate", "result"} & world.status.keys()
    assert world.status["steps"] == []


def test_it_begins_once_the_other_is_over_and_the_members_follow() -> None:
    """Two were applied together. Right after the first, nobody streams from its new primary yet."""
    world = World(to="db-2")
    other = world.rival("a", "Running", started="2026-05-01T12:00:00.100Z")
    world.reconcile()
    world.db.lock("db-1")
    world.db.promote()
    world.db.route()
    world.db.members["db-2"].state = "starting"
    other["status"]["phase"] = "Succeeded"

    world.reconcile()
    assert world.phase == "Pending", "not refused: that passes by itself"

    world.db.members["db-0"].role = "standby"
    world.db.join("db-0", "db-2")
    world.reconcile()
    assert world.phase == "Running"
    assert world.status["result"] == {"fromMember": "db-1"}
    assert world.reconcile().effects == (Switchover("db", "db-1", "10.0.0.1", "db-2"),)


@pytest.mark.parametrize(
    ("taint", "patient"), [(None, True), ("ToBeDeletedByClusterAutoscaler", False)], ids=["a drain has begun", "a drain comes later"]
)
def test_away_from_a_node_that_was_just_cordoned_the_agent_may_wait_for_a_calm_moment(taint: str | None, patient: bool) -> None:
    world = World(to="db-2")
    world.operation["metadata"]["labels"] = {WHY_LABEL: Why.NODE_LEAVING.value}
    world.reconcile()
    world.db.cordon("zone-a")
    if taint:
        world.db.nodes["node-zone-a"]["spec"]["taints"] = [{"key": taint, "effect": "NoSchedule"}]

    (effect,) = world.reconcile().effects

    assert isinstance(effect, Switchover)
    assert effect.patient is patient


def test_what_waits_in_vain_is_given_up() -> None:
    world = World(to="db-2")
    world.rival("a", "Running", started="2026-05-01T12:00:00.100Z")
    assert (world.reconcile().requeue_after or 0) < 60
    world.time_out()

    plan = world.reconcile()

    assert world.phase == "Failed"
    assert "It waits for Operation a" in message(plan, READY), "why it was not begun"


def test_one_that_is_being_deleted_keeps_nobody_waiting() -> None:
    world = World(to="db-1")
    world.rival("a", None)["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    world.reconcile()
    assert world.phase == "Running"


def test_of_those_that_are_over_the_youngest_are_kept() -> None:
    world = World(to="db-0")
    for number in range(KEPT + 2):
        world.rival(f"old-{number}", "Failed", created=f"2026-04-01T12:00:{number:02}Z")
    world.rival("older-and-waiting", None, created="2026-05-01T12:00:01Z")

    plan = world.reconcile()

    assert world.phase == "Refused"
    assert {each.name for each in plan.effects if isinstance(each, Discard)} == {"old-0", "old-1", "old-2"}
    assert Discard("old-0", "uid-of-old-0") in plan.effects
    assert world.reconcile().effects == (), "those that are over look at nothing any more"


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


def is_one_too_many(world: World) -> None:
    world.db.resource["spec"]["replicas"] = 1


def is_on_a_node_that_goes(world: World) -> None:
    world.db.cordon("zone-b")


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
        ("db-1", is_one_too_many, "TargetGoes", "one too many for spec.replicas 1"),
        ("db-1", is_on_a_node_that_goes, "TargetNodeGoes", "would be moved away from at once: node-zone-b is cordoned"),
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
    assert reason(plan, READY) == why
    assert reason(plan, STALLED) is None, "nothing waits for anybody any more"
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
    assert world.status["candidate"] == "db-2"


def test_without_a_name_one_whose_node_goes_is_passed_over_and_where_all_go_any_will_do() -> None:
    world = World()
    world.db.cordon("zone-b")
    world.reconcile()
    assert world.status["candidate"] == "db-2"

    world = World(to="db-1")
    world.db.cordon("zone-a", "zone-b")
    world.reconcile()
    assert world.status["candidate"] == "db-1"


def test_under_async_no_standby_is_synchronous_and_any_that_streams_will_do() -> None:
    world = World(to="db-1", spec={"durability": "async"})
    world.db.sync = ()
    world.reconcile()
    assert world.phase == "Running"


def test_what_the_operator_had_in_mind_is_not_begun_once_its_target_is_suspended() -> None:
    world = World()
    world.db.resource["spec"]["suspend"] = True
    world.operation["metadata"]["labels"] = {WHY_LABEL: Why.NODE_LEAVING.value}

    plan = world.plan()

    assert plan.status["phase"] == "Refused"
    assert reason(plan, READY) == "TargetSuspended"
    assert plan.effects == ()


def test_somebody_may_switch_over_a_database_that_is_suspended() -> None:
    world = World()
    world.db.resource["spec"]["suspend"] = True

    assert world.plan().status["phase"] == "Running"
