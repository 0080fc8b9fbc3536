"""Switchovers that the operator begins by itself: away from a node that goes, at once; and whatever they are for, they end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baas_operator.desired.database.names import MAX_LAG_BYTES
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY
from baas_operator.observe.nodes import leaving
from baas_operator.policy.database import plan_database
from baas_operator.policy.moves import AGAIN
from baas_operator.policy.operations.common import WHY_LABEL
from tests.unit.objects import message, node, status
from tests.unit.policy.moving import MINUTE, A, B, C, begun, by_somebody, database, finish, preferring, target
from tests.unit.policy.postgres import MEBIBYTE

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


# --- and no further ---------------------------------------------------------------------------------------------------


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
