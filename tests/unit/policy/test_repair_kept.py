"""A member that does not come back by itself keeps its data where that may be worth something or a copy is no cure, and why is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from baas_operator.observe.conditions import READY, RECONCILING
from baas_operator.observe.report import Report, Volume
from tests.unit.objects import message, reason
from tests.unit.policy.broken import DB_1, LATE, Broken, behind, crashed
from tests.unit.policy.postgres import MEBIBYTE

# --- when it must not be ----------------------------------------------------------------------------------------------


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


# --- what may be the spec's doing, or the volume's --------------------------------------------------------------------


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


def test_but_one_that_runs_is() -> None:
    it = behind()
    it.revisions["db-1"] = "two"

    assert it.repaired(minutes=LATE) == DB_1


def test_a_full_volume_needs_room_and_no_copy() -> None:
    it = crashed()
    it.reports["db-1"] = Report(Volume(5 * 2**30, 0), admitted=True)

    assert it.repaired(minutes=LATE) == []
    assert "its volume is full" in message(it.look(), RECONCILING)
