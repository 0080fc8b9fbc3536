"""A member that does not come back by itself is copied anew: only when its data is worth nothing, and one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from baas_operator.observe.conditions import READY, RECONCILING
from baas_operator.observe.report import Report, Volume
from baas_operator.policy.plan import DeletePod, Reclone, ReplaceVolume
from tests.unit.objects import ZONES, message, reason
from tests.unit.policy.broken import Broken, thrown_away
from tests.unit.policy.postgres import MEBIBYTE

SOON, LATE = 9, 11
"""Minutes, before and after the patience that is the default."""
DB_1 = [Reclone("db-1", "10.0.0.1")]


def crashed(spec: dict[str, object] | None = None) -> Broken:
    """db-1 does not start, and somebody has noticed."""
    made = Broken(spec)
    made.crash("db-1")
    made.look()
    return made


def behind(spec: dict[str, object] | None = None) -> Broken:
    """db-1 comes no further, and somebody has noticed."""
    made = Broken(spec)
    made.leave_behind("db-1")
    made.look()
    return made


# --- what is repaired ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["crashed", "start failed", "stopped"])
def test_a_standby_that_does_not_start_is_copied_anew_after_a_while(state: str) -> None:
    it = Broken()
    it.crash("db-1", state)
    it.look()

    assert it.repaired(minutes=SOON) == []
    assert it.repaired(minutes=LATE - SOON) == DB_1


def test_a_standby_that_comes_no_further_is_copied_anew_after_a_while() -> None:
    it = behind()

    assert it.repaired(minutes=SOON) == []
    assert it.repaired(minutes=LATE - SOON) == DB_1


def test_it_is_written_down_before_and_told_until_it_is_done() -> None:
    it = crashed()
    assert it.trouble("db-1") == {"reason": "NotStarting", "since": "2026-05-01T12:00:00Z"}

    announced = it.look(minutes=LATE)
    assert announced.status["repairs"] == [{"member": "db-1", "reason": "NotStarting", "at": "2026-05-01T12:11:00Z"}]
    assert announced.requeue_after is not None
    assert announced.requeue_after < 1
    assert (reason(announced, READY), reason(announced, RECONCILING)) == ("Serving", "Repairing")
    assert message(announced, RECONCILING) == (
        "db-1: its PostgreSQL does not start, since 2026-05-01T12:00:00Z. It is copied anew from the primary db-0 now."
    )
    assert thrown_away(it.look()) == DB_1

    it.copying("db-1")
    on_its_way = it.look(minutes=1)
    assert thrown_away(on_its_way) == []
    assert reason(on_its_way, RECONCILING) == "Repairing"

    it.back("db-1")
    done = it.look(minutes=1)
    assert reason(done, RECONCILING) is None
    assert it.trouble("db-1") is None
    assert len(done.status["repairs"]) == 1, "it stays to be read"


def test_patience_is_the_specs() -> None:
    it = crashed({"repair": {"afterMinutes": 60}})

    assert it.repaired(minutes=59) == []
    assert it.repaired(minutes=2) == DB_1


# --- what gets over it by itself ---------------------------------------------------------------------------------------


def _advance(it: Broken) -> None:
    it.db.members["db-1"].behind = (it.db.members["db-1"].behind or 0) - MEBIBYTE


def _stream(it: Broken) -> None:
    _advance(it)
    it.db.members["db-1"].state = "streaming"


def _nearly_there(it: Broken) -> None:
    it.db.members["db-1"].behind = 15 * MEBIBYTE


def _start(it: Broken) -> None:
    it.db.members["db-1"].state, it.db.members["db-1"].behind = "starting", None


def _copy(it: Broken) -> None:
    it.copying("db-1")


def _lead(it: Broken) -> None:
    it.db.lock("db-1")
    it.db.promote()


@pytest.mark.parametrize("gets_over", [_advance, _stream, _nearly_there, _start, _copy, _lead])
def test_one_that_gets_further_is_left_alone(gets_over: Callable[[Broken], None]) -> None:
    it = behind()
    for _ in range(4):
        gets_over(it)
        assert it.repaired(minutes=SOON) == []


def test_between_two_failures_to_start_nothing_is_better() -> None:
    it = crashed()
    for state in ("starting", "start failed", "starting"):
        it.db.members["db-1"].state = state
        assert it.repaired(minutes=4) == []

    it.db.members["db-1"].state = "crashed"
    assert it.repaired() == DB_1


def test_between_two_refusals_it_only_seems_to_stream() -> None:
    """PostgreSQL connects, says that it streams, and is told that what it asks for is gone: four times a second."""
    it = behind()
    for state in ("streaming", "running", "streaming"):
        it.db.members["db-1"].state = state
        assert it.repaired(minutes=4) == []

    it.db.members["db-1"].state = "running"
    assert it.repaired() == DB_1


def test_one_that_streams_is_left_alone_however_far_behind_it_is() -> None:
    it = Broken()
    it.db.members["db-1"].behind = 640 * MEBIBYTE
    it.reports["db-1"] = Report(admitted=True)

    assert it.repaired(minutes=60) == []
    assert it.repaired(minutes=60) == []


def test_a_recovery_that_takes_its_time_is_not_ended() -> None:
    it = Broken()
    it.crash("db-1", "starting")

    for _ in range(10):
        assert it.repaired(minutes=30) == []
    assert it.trouble("db-1") is None


def test_what_came_back_and_breaks_again_gets_its_patience_again() -> None:
    it = crashed()
    it.look(minutes=SOON)
    it.back("db-1")
    it.look(minutes=1)
    it.crash("db-1")
    it.look()

    assert it.repaired(minutes=SOON) == []


# --- when it must not be ---------------------------------------------------------------------------------------------


def _no_primary(it: Broken) -> None:
    it.db.lock(None)


def _not_routed(it: Broken) -> None:
    it.db.applied[("EndpointSlice", "db-rw")]["endpoints"] = []


def _primary_unready(it: Broken) -> None:
    it.db.members["db-0"].ready = False


def _other_goes(it: Broken) -> None:
    it.going = {"db-2"}


def _other_copied(it: Broken) -> None:
    it.copying("db-2")


def _other_lags(it: Broken) -> None:
    it.db.members["db-2"].behind = 32 * MEBIBYTE


def _other_gone(it: Broken) -> None:
    it.db.power_off("db-2")


def _other_not_synchronous(it: Broken) -> None:
    it.db.sync = ()


def _other_in_the_zone_of_the_primary(it: Broken) -> None:
    it.db.members["db-2"].zone = "zone-a"


def _has_a_vote(it: Broken) -> None:
    it.db.sync = ("db-1", "db-2")


def _not_let_in(it: Broken) -> None:
    it.reports["db-1"] = Report(admitted=False)


def _nobody_tried(it: Broken) -> None:
    del it.reports["db-1"]


def _node_silent(it: Broken) -> None:
    it.db.nodes["node-zone-b"]["status"] = {"conditions": [{"type": "Ready", "status": "Unknown"}]}


def _container_down(it: Broken) -> None:
    it.db.members["db-1"].waiting = ("CrashLoopBackOff", "back-off")


@pytest.mark.parametrize(
    "breaks",
    [
        _no_primary, _not_routed, _primary_unready, _other_goes, _other_copied, _other_lags, _other_gone, _other_not_synchronous,
        _other_in_the_zone_of_the_primary, _has_a_vote, _not_let_in, _nobody_tried, _node_silent, _container_down,
    ],
)  # fmt: skip
def test_data_that_may_be_worth_something_is_kept(breaks: Callable[[Broken], None]) -> None:
    it = behind()
    breaks(it)

    assert it.repaired(minutes=LATE) == []
    assert it.repaired(minutes=LATE) == []


def test_why_it_is_kept_is_told() -> None:
    it = behind()
    it.reports["db-1"] = Report(admitted=False)

    told = it.look(minutes=LATE)

    assert reason(told, RECONCILING) == "MemberStuck"
    assert message(told, RECONCILING) == (
        "db-1: it has come no further in the primary's log, since 2026-05-01T12:00:00Z. It is not copied anew, as the primary has not let "
        "it log in: look at the network between them, and at its log."
    )


def test_it_can_be_left_to_people() -> None:
    it = crashed({"repair": {"reclone": "Never"}})

    assert it.repaired(minutes=LATE) == []
    assert "spec.repair.reclone is Never" in message(it.look(), RECONCILING)


def test_where_no_commit_waits_for_another_zone_a_standby_in_the_same_will_do() -> None:
    it = behind({"durability": "quorum"})
    _other_in_the_zone_of_the_primary(it)

    assert it.repaired(minutes=LATE) == DB_1


def test_async_looks_at_who_streams_alone() -> None:
    it = behind({"durability": "async"})
    it.db.sync = ()

    assert it.repaired(minutes=LATE) == DB_1


def test_the_only_standby_is_copied_anew_only_when_its_data_is_unusable() -> None:
    late = behind({"replicas": 2})
    assert late.repaired(minutes=LATE) == []
    told = late.look()
    assert reason(told, READY) == "NoSynchronousStandby"
    assert "no other standby that streams has what it has" in message(told, READY)

    assert crashed({"replicas": 2}).repaired(minutes=LATE) == DB_1


# --- what may be the spec's doing, or the volume's ---------------------------------------------------------------------


@pytest.mark.parametrize("rolls", [lambda it: it.revisions.update({"db-1": "two"}), lambda it: it.pending.add("db-2")],
                         ids=["a new template", "parameters that others have not taken in yet"])  # fmt: skip
def test_what_a_rolling_update_may_have_broken_is_copied_only_if_all_of_it_is_elsewhere(rolls: Callable[[Broken], None]) -> None:
    """The update itself waits for this member, so that without a copy nothing would ever come of either."""
    it = crashed()
    rolls(it)
    assert it.repaired(minutes=LATE) == DB_1

    it = crashed()
    rolls(it)
    _other_in_the_zone_of_the_primary(it)
    assert it.repaired(minutes=LATE) == []
    assert "mend the spec" in message(it.look(), RECONCILING)


def test_what_was_repaired_once_is_not_said_to_be_copied_for_ever() -> None:
    it = crashed()
    it.repaired(minutes=LATE)
    it.back("db-1")
    it.look(minutes=600)

    it.db.power_off("db-1")
    it.db.members["db-1"].role = it.db.members["db-1"].state = "unknown"
    assert "copied" not in message(it.look(), RECONCILING)


def test_but_one_that_runs_is() -> None:
    it = behind()
    it.revisions["db-1"] = "two"

    assert it.repaired(minutes=LATE) == DB_1


def test_a_full_volume_needs_room_and_no_copy() -> None:
    it = crashed()
    it.reports["db-1"] = Report(Volume(5 * 2**30, 0), admitted=True)

    assert it.repaired(minutes=LATE) == []
    assert "its volume is full" in message(it.look(), RECONCILING)


# --- how often -------------------------------------------------------------------------------------------------------


def test_what_was_announced_is_tried_for_a_while_and_then_given_a_rest() -> None:
    it = crashed()
    assert it.repaired(minutes=LATE) == DB_1
    assert thrown_away(it.look(minutes=4)) == DB_1, "Patroni was busy"

    assert thrown_away(it.look(minutes=2)) == []
    assert "2026-05-01T12:41:00Z, if it has not come back by then" in message(it.look(), RECONCILING)
    assert it.repaired(minutes=22) == []
    assert it.repaired(minutes=3) == DB_1


def test_an_announcement_is_for_one_trouble_alone() -> None:
    it = crashed({"repair": {"afterMinutes": 1}})
    assert it.repaired(minutes=2) == DB_1
    it.back("db-1")
    it.look(minutes=1)

    it.crash("db-1")
    it.look()
    assert it.repaired(minutes=2) == []
    assert it.repaired(minutes=26) == []
    assert it.repaired(minutes=2) == DB_1


def test_one_at_a_time() -> None:
    it = Broken({"replicas": 5}, zones=(*ZONES, "zone-d", "zone-e"))
    it.crash("db-1")
    it.crash("db-2")
    it.look()
    assert it.repaired(minutes=LATE) == DB_1

    it.copying("db-1")
    assert it.repaired(minutes=60) == [], "the copy takes long"

    it.back("db-1")
    assert it.repaired(minutes=1) == [Reclone("db-2", "10.0.0.2")]


def test_what_has_come_back_holds_up_nobody() -> None:
    it = Broken({"replicas": 5}, zones=(*ZONES, "zone-d", "zone-e"))
    it.crash("db-1")
    it.look()
    assert it.repaired(minutes=LATE) == DB_1
    it.back("db-1")
    it.lose_node("db-2")
    it.look()

    it.db.wait(0)
    assert "db-1 is copied" not in message(it.look(minutes=LATE), RECONCILING)


def test_three_an_hour() -> None:
    it = Broken({"replicas": 6, "repair": {"afterMinutes": 1}}, zones=(*ZONES, "zone-d", "zone-e", "zone-f"))
    done = []
    for name in ("db-1", "db-2", "db-3", "db-4"):
        it.crash(name)
        it.look()
        done += it.repaired(minutes=6)
        if name != "db-4":
            it.back(name)
        it.look(minutes=1)

    assert [each.name for each in done if isinstance(each, Reclone)] == ["db-1", "db-2", "db-3"]
    assert "3 were in the last hour" in message(it.look(), RECONCILING)
    assert it.repaired(minutes=60) == [Reclone("db-4", "10.0.0.4")]


def test_a_status_that_a_hand_made_something_else_is_no_reason_to_fail() -> None:
    it = crashed()
    it.db.resource["status"]["members"][1]["trouble"] = {"reason": "NotStarting", "since": "yesterday"}
    it.db.resource["status"]["repairs"] = [{"member": "db-1"}, "?"]

    assert it.repaired(minutes=LATE) == [], "it counts from now"
    assert it.repaired(minutes=LATE) == DB_1


# --- a node that is gone with its volume -------------------------------------------------------------------------------

DB_2 = ReplaceVolume("db-2", "uid-db-2", "data-db-2", "uid-data-db-2", "node-zone-c")


def lost() -> Broken:
    """db-2's node is deleted, and somebody has noticed."""
    made = Broken()
    made.lose_node("db-2")
    made.look()
    return made


def test_a_volume_that_went_with_its_node_is_made_anew() -> None:
    it = lost()

    assert it.repaired(minutes=SOON) == []
    assert it.repaired(minutes=LATE - SOON) == [DB_2]
    assert "its volume was on node node-zone-c, which is gone" in message(it.look(), RECONCILING)


def test_so_is_that_of_a_node_which_somebody_said_is_out_of_service() -> None:
    it = Broken()
    node = it.db.nodes["node-zone-c"]
    it.lose_node("db-2")
    node["spec"]["taints"] = [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]
    it.db.nodes["node-zone-c"] = node
    it.look()

    assert it.repaired(minutes=LATE) == [DB_2]


def test_a_node_that_only_does_not_answer_is_waited_for() -> None:
    it = Broken()
    node = it.db.nodes["node-zone-c"]
    it.lose_node("db-2")
    node["status"] = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    node["spec"]["taints"] = [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]
    it.db.nodes["node-zone-c"] = node
    it.look()

    assert it.repaired(minutes=600) == []
    assert it.trouble("db-2") is None


def test_without_nodes_nothing_is_proven() -> None:
    it = lost()
    it.db.nodes = {}

    assert it.repaired(minutes=LATE) == []


def test_nor_is_a_volume_replaced_that_nothing_else_has_a_copy_of() -> None:
    it = lost()
    it.db.power_off("db-1")

    assert it.repaired(minutes=LATE) == []


def test_a_volume_that_turns_out_to_be_tied_to_no_host_is_tried_once_for_each_pod() -> None:
    """Such as one of a whole zone, whose node an autoscaler has taken away: the engine sees that, and keeps it."""
    it = lost()
    assert it.repaired(minutes=LATE) == [DB_2]

    for _ in range(20):
        assert it.repaired(minutes=40) == []
    assert "see why the pod has no place" in message(it.look(), RECONCILING)
    assert len(it.db.resource["status"]["repairs"]) == 1


def test_a_pod_whose_claim_is_gone_already_follows_it() -> None:
    """The operator died between the two."""
    it = lost()
    it.repaired(minutes=LATE)
    del it.claims["db-2"]

    assert thrown_away(it.look()) == [DeletePod("db-2", "uid-db-2")]
