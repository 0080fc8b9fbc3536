"""Switchovers that the operator begins by itself: when, where to, and that they end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baas_operator.api.kinds import OPERATION
from baas_operator.desired.database.names import MAX_LAG_BYTES
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, STALLED
from baas_operator.observe.nodes import leaving
from baas_operator.policy.database import plan_database
from baas_operator.policy.moves import AGAIN, APART, SETTLED
from baas_operator.policy.operations.common import WHY_LABEL
from baas_operator.policy.plan import Plan, StartOperation
from tests.unit.objects import message, node, own, reason, status
from tests.unit.policy.postgres import MEBIBYTE, Postgres

A, B, C = "zone-a", "zone-b", "zone-c"
"""Zones of db-0, which leads at first, db-1 and db-2."""
MINUTE = 60.0


def database(**spec: Any) -> Postgres:
    """One that has served for a while."""
    db = Postgres(spec).serving()
    db.wait(10 * MINUTE)
    return db


def preferring(*zones: str, **spec: Any) -> Postgres:
    return database(placement={"preferredZones": list(zones)}, **spec)


def begun(plan: Plan) -> Manifest | None:
    found = [each.manifest for each in plan.effects if isinstance(each, StartOperation)]
    assert len(found) <= 1
    return found[0] if found else None


def target(plan: Plan) -> str | None:
    made = begun(plan)
    return made["spec"]["parameters"]["to"] if made else None


def finish(db: Postgres, phase: str = "Succeeded") -> None:
    """The Operation that was begun is carried out."""
    last = db.operations[-1]
    if phase == "Succeeded":
        db.switch_over(last["spec"]["parameters"]["to"])
    last["status"] = {"phase": phase}


def by_somebody(db: Postgres, name: str = "mine", phase: str | None = None) -> Manifest:
    made = db.begin(own(OPERATION, name, {"target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover"}))
    if phase:
        db.operations[-1]["status"] = {"phase": phase}
    return made


# --- away from a node that goes ---------------------------------------------------------------------------------------


def test_a_cordon_moves_the_primary_at_once_to_a_node_that_stays() -> None:
    db = database(maintenanceWindows=[{"schedule": "0 2 * * SUN"}])
    db.cordon(A, C)

    made = begun(db.reconcile())

    assert made
    assert made["kind"] == "Operation"
    assert made["spec"] == {
        "target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover", "parameters": {"to": "db-1"},
        "reason": "db-0 leads and node-zone-a is cordoned.", "timeoutSeconds": 120,
    }  # fmt: skip
    assert made["metadata"]["labels"][WHY_LABEL] == "node-leaving"
    assert len(made["metadata"]["name"]) <= 63

    assert begun(db.reconcile()) is None, "it is under way"
    finish(db)
    for _ in range(3):
        db.wait(MINUTE)
        assert begun(db.reconcile()) is None
    assert db.leader == "db-1"


def test_looked_at_twice_it_is_made_once_also_by_another_operator() -> None:
    db = database()
    db.cordon(A)

    first, second = begun(db.plan()), begun(db.plan())

    assert first == second
    assert first


def test_where_all_nodes_are_cordoned_the_primary_stays_and_that_is_told() -> None:
    db = database()
    db.cordon(A, B, C)

    plan = db.reconcile()

    assert begun(plan) is None
    assert status(plan, READY)
    assert "node-zone-a is cordoned. No standby is fit to take over from db-0 now." in message(plan, READY)


def test_nodes_that_are_cordoned_one_after_another_are_left_one_after_another() -> None:
    db = database()
    for zone in (A, B, C, A):
        db.cordon(zone)
        db.reconcile()
        if db.members[db.leader or ""].zone == zone:
            finish(db)
        assert db.members[db.leader or ""].zone != zone
        assert begun(db.reconcile()) is None
        db.cordon(zone, on=False)
        db.wait(MINUTE)
    assert len(db.operations) < 5


def test_of_equals_the_youngest_is_taken_as_its_own_agent_would() -> None:
    db = database()
    db.members["db-1"].since += timedelta(minutes=1)
    db.cordon(A)

    assert target(db.reconcile()) == "db-1"


@pytest.mark.parametrize("what", ["lags", "starts", "confirms nothing", "is not ready"])
def test_only_a_fit_standby_takes_over(what: str) -> None:
    db = database()
    for name in ("db-1", "db-2"):
        match what:
            case "lags":
                db.members[name].behind = MAX_LAG_BYTES + MEBIBYTE
            case "starts":
                db.members[name].state = "starting"
            case "confirms nothing":
                db.sync = ()
            case _:
                db.members[name].ready = False
    db.cordon(A)
    assert begun(db.reconcile()) is None

    db.join("db-2")
    db.members["db-2"].behind = 0
    assert target(db.reconcile()) == "db-2"


def test_a_pod_that_is_evicted_already_hands_over_by_itself() -> None:
    db = database()
    db.cordon(A)
    db.members["db-0"].goes = True

    assert begun(db.reconcile()) is None


def test_a_primary_that_is_not_ready_is_left_to_the_failover() -> None:
    db = database()
    db.cordon(A)
    db.members["db-0"].ready = False

    assert begun(db.reconcile()) is None


def test_somebodys_operation_comes_first() -> None:
    db = database()
    db.cordon(A)
    by_somebody(db)
    assert begun(db.reconcile()) is None

    db.operations[-1]["status"] = {"phase": "Refused"}
    assert begun(db.reconcile()), "it did not help"


def test_one_that_did_not_come_about_is_tried_again_after_a_while_under_another_name() -> None:
    db = database()
    db.cordon(A)
    first = begun(db.reconcile())
    finish(db, "Failed")

    db.wait(AGAIN.total_seconds() - 1)
    plan = db.reconcile()
    assert begun(plan) is None
    assert first
    assert f"Operation {first['metadata']['name']} did not come to that" in message(plan, READY)

    db.wait(2)
    second = begun(db.reconcile())
    assert second
    assert second["metadata"]["name"] != first["metadata"]["name"]


def test_a_rolling_update_waits_for_it() -> None:
    db = database()
    db.applied[("StatefulSet", "db")]["status"] = {"observedGeneration": 1, "updateRevision": "new"}
    view = db.view()
    for (kind, _), each in view.children.items():
        if kind == "Pod":
            each["metadata"]["labels"]["controller-revision-hash"] = "old"
            each["metadata"]["uid"] = "u"
    assert [type(each).__name__ for each in plan_database(view).effects] == ["DeletePod"]
    db.cordon(A)
    assert [type(each).__name__ for each in plan_database(view).effects] == ["StartOperation"]
    by_somebody(db)
    assert plan_database(replace(view, others=db.view().others)).effects == ()


@pytest.mark.parametrize(
    ("spec", "metadata", "why"),
    [
        ({"unschedulable": True}, {}, "is cordoned"),
        ({}, {"deletionTimestamp": "2026-05-01T12:00:00Z"}, "is being deleted"),
        ({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}, {}, "is removed by the cluster autoscaler"),
        ({"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]}, {}, "is removed by Karpenter"),
        ({"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}, {}, "is out of service"),
        ({"taints": [{"key": "DeletionCandidateOfClusterAutoscaler", "effect": "PreferNoSchedule"}]}, {}, None),
        ({"taints": [{"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}]}, {}, None),
        ({}, {}, None),
    ],
)
def test_which_nodes_are_about_to_go(spec: Manifest, metadata: Manifest, why: str | None) -> None:
    made = node("worker", A)
    made["spec"] |= spec
    made["metadata"] |= metadata

    assert leaving(made) == why


# --- to the zone that is preferred -------------------------------------------------------------------------------------


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


# --- and no further ----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    preferred=st.lists(st.sampled_from([A, B, C, "zone-x"]), unique=True, max_size=3), cordoned=st.sets(st.sampled_from([A, B, C])),
    replicas=st.sampled_from([2, 3, 4]), leader=st.sampled_from(["db-0", "db-1", "db-2", "db-3"]), windows=st.booleans(),
)  # fmt: skip
def test_whatever_is_asked_for_moves_end(preferred: list[str], cordoned: set[str], replicas: int, leader: str, windows: bool) -> None:
    """Three moves at the most, one for each thing that a move may be for; and then none for days."""
    db = preferring(*preferred, replicas=4, maintenanceWindows=[{"schedule": "0 3 * * *"}] if windows else [])
    if leader != "db-0":
        db.switch_over(leader)
    db.cordon(*cordoned)
    db.resource["spec"]["replicas"] = replicas
    moves = []
    for _ in range(30):
        if made := begun(db.reconcile()):
            moves.append(made["metadata"]["labels"][WHY_LABEL])
            finish(db)
        for name in [each for each in db.members if int(each[-1]) >= db.statefulset()["spec"]["replicas"]]:
            del db.members[name]
            db.sync = tuple(each for each in db.sync if each != name)
        db.wait(170 * MINUTE)

    assert len(moves) <= 3
    assert len(set(moves)) == len(moves)
    primary = db.members[db.leader or ""]
    staying = {each.zone for name, each in db.members.items() if int(name[-1]) < replicas} - cordoned
    assert primary.zone not in cordoned or not staying
    wanted = [zone for zone in preferred if zone in staying]
    assert primary.zone == wanted[0] if wanted and len(db.members) == replicas else True
    assert len(db.members) == replicas or db.leader not in [f"db-{number}" for number in range(replicas)]
