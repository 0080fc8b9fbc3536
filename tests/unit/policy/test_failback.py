"""Switchovers that the operator begins by itself, to the zone that is preferred: when, and no more often than that."""

from __future__ import annotations

import pytest

from baas_operator.observe.conditions import READY, STALLED
from baas_operator.policy.moves import APART, SETTLED
from baas_operator.policy.operations.common import WHY_LABEL
from tests.unit.objects import message, reason, status
from tests.unit.policy.moving import MINUTE, A, B, C, begun, by_somebody, finish, preferring, target


def test_without_windows_the_primary_moves_back_once_all_has_been_well_for_a_while() -> None:
    db = preferring(B)
    made = begun(db.reconcile())
    assert made
    assert target(db.plan()) is None
    assert made["metadata"]["labels"][WHY_LABEL] == "failback"
    assert made["spec"]["reason"] == "db-0 is not in zone-b, where the primary is preferred to be."
    finish(db)
    assert db.leader == "db-1"
    db.wait(2 * APART.total_seconds())

    db.switch_over("db-2")
    db.power_off("db-1")
    db.wait(10 * MINUTE)
    assert begun(db.reconcile()) is None, "nobody is there"

    db.members["db-1"].since = db.now
    db.join("db-1")
    db.wait(SETTLED.total_seconds() - 1)
    plan = db.reconcile()
    assert begun(plan) is None
    assert "It moves there once all members have been well for 60 s." in message(plan, READY)
    db.wait(1)
    assert target(db.reconcile()) == "db-1"


def test_a_primary_that_is_where_it_should_be_stays() -> None:
    db = preferring(A, B)
    plan = db.reconcile()
    assert begun(plan) is None
    assert message(plan, READY) == "db-0 takes the writes; 2 standbys stream."


def test_zones_are_preferred_in_their_order() -> None:
    db = preferring(C, B)
    assert target(db.reconcile()) == "db-2"

    db = preferring(C, B)
    db.sync = ("db-1",)
    assert begun(db.reconcile())
    assert target(preferring("zone-x", B).reconcile()) == "db-1"


def test_a_new_primary_is_not_moved_before_it_has_led_for_a_while() -> None:
    db = preferring(A)
    db.switch_over("db-1")

    db.wait(SETTLED.total_seconds() - 1)
    assert begun(db.reconcile()) is None
    db.wait(1)
    assert target(db.reconcile()) == "db-0"


def test_it_waits_for_a_window_and_says_when_that_opens() -> None:
    db = preferring(B, maintenanceWindows=[{"schedule": "0 14 * * *", "durationMinutes": 60, "timeZone": "Europe/Berlin"}])
    db.now = db.renewed = db.now.replace(day=2, hour=11, minute=59)
    plan = db.reconcile()
    assert begun(plan) is None
    assert status(plan, READY)
    assert "It moves there in the next maintenance window, which opens at 2026-05-02T12:00Z." in message(plan, READY)

    db.wait(MINUTE)
    assert target(db.reconcile()) == "db-1"


def test_a_zone_that_comes_and_goes_gets_the_primary_back_once_a_window() -> None:
    db = preferring(B, maintenanceWindows=[{"schedule": "0 12 * * *", "durationMinutes": 120}])
    begun(db.reconcile())
    finish(db)
    db.switch_over("db-0")
    db.wait(30 * MINUTE)
    plan = db.reconcile()
    assert begun(plan) is None
    assert "It was moved before: it moves there in the next window." in message(plan, READY)

    db.wait(24 * 60 * MINUTE)
    assert target(db.reconcile()) == "db-1"


def test_without_windows_it_is_once_an_hour() -> None:
    db = preferring(B)
    db.reconcile()
    finish(db)
    db.switch_over("db-0")

    db.wait(APART.total_seconds() - 1)
    assert begun(db.reconcile()) is None
    db.wait(2)
    assert target(db.reconcile()) == "db-1"


def test_somebodys_own_switchover_is_not_undone_before_the_next_window() -> None:
    db = preferring(A, maintenanceWindows=[{"schedule": "0 12 * * *", "durationMinutes": 120}])
    by_somebody(db, phase="Succeeded")
    db.switch_over("db-2")
    db.wait(20 * MINUTE)
    assert begun(db.reconcile()) is None

    db.wait(24 * 60 * MINUTE)
    assert target(db.reconcile()) == "db-0"


def test_after_a_node_was_served_its_zone_gets_the_primary_back_in_the_same_window() -> None:
    db = preferring(A, maintenanceWindows=[{"schedule": "0 12 * * *", "durationMinutes": 120}])
    db.cordon(A)
    assert begun(db.reconcile())
    finish(db)
    assert begun(db.reconcile()) is None
    db.wait(10 * MINUTE)
    assert begun(db.reconcile()) is None, "it is cordoned still"

    db.cordon(A, on=False)
    assert target(db.reconcile()) == "db-0"


@pytest.mark.parametrize("what", ["it grows", "a member is away", "a pooler is away"])
def test_nothing_moves_back_while_something_is_on_its_way(what: str) -> None:
    db = preferring(B)
    match what:
        case "it grows":
            db.resource["spec"]["replicas"] = 4
            db.reconcile()
        case "a member is away":
            db.power_off("db-2")
        case _:
            db.poolers = db.poolers[:1]
    plan = db.plan()
    assert begun(plan) is None
    assert "once all members have been well" in message(plan, READY)


def test_a_zone_without_a_member_is_told() -> None:
    plan = preferring("zone-x").reconcile()

    assert begun(plan) is None
    assert message(plan, READY).endswith("db-0 is not in zone-x, where the primary is preferred to be. No standby is there.")


def test_a_window_that_never_opens_is_told_and_the_database_goes_on() -> None:
    plan = preferring(B, maintenanceWindows=[{"schedule": "0 2 * * *", "timeZone": "Europe/Nowhere"}]).reconcile()

    assert status(plan, READY)
    assert reason(plan, STALLED) == "WindowInvalid"
    assert begun(plan) is None
    assert plan.manifests
