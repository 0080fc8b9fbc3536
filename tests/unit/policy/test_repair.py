"""A member that does not come back by itself is copied anew: after a while, one at a time, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from baas_operator.observe.conditions import READY, RECONCILING
from baas_operator.observe.report import Report
from baas_operator.policy.plan import Reclone
from tests.unit.objects import ZONES, message, reason
from tests.unit.policy.broken import DB_1, LATE, SOON, Broken, behind, crashed, thrown_away
from tests.unit.policy.postgres import MEBIBYTE

# --- what is repaired -------------------------------------------------------------------------------------------------


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


# --- what gets over it by itself --------------------------------------------------------------------------------------


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


# --- how often --------------------------------------------------------------------------------------------------------


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


def test_what_was_repaired_once_is_not_said_to_be_copied_for_ever() -> None:
    it = crashed()
    it.repaired(minutes=LATE)
    it.back("db-1")
    it.look(minutes=600)

    it.db.power_off("db-1")
    it.db.members["db-1"].role = it.db.members["db-1"].state = "unknown"
    assert "copied" not in message(it.look(), RECONCILING)
