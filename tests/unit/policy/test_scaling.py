"""A scale-in takes one member after another, never the primary, and never what the durability needs; what zones can not give is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from baas_operator.api.kinds import OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.policy.database import plan_database
from baas_operator.policy.plan import Plan, StartOperation
from tests.unit.objects import message, nodes, own, reason, status
from tests.unit.policy.postgres import MEBIBYTE, Postgres

A, B, C = "zone-a", "zone-b", "zone-c"


def database(replicas: int, *, zones: tuple[str, ...] = (A, B, C), **spec: Any) -> Postgres:
    return Postgres({"replicas": replicas} | spec, zones=zones).serving()


def scale(db: Postgres, replicas: int, **more: Any) -> None:
    db.resource["spec"] |= {"replicas": replicas} | more


def wanted(plan: Plan) -> int:
    return int(next(each["spec"]["replicas"] for each in plan.manifests if each["kind"] == "StatefulSet"))


def remove(db: Postgres) -> None:
    """The StatefulSet's controller ends the pods that are too many."""
    for name in list(db.members):
        if int(name[-1]) >= db.statefulset()["spec"]["replicas"]:
            del db.members[name]
            db.sync = tuple(each for each in db.sync if each != name)


def begun(plan: Plan) -> list[str]:
    return [each.manifest["spec"]["parameters"]["to"] for each in plan.effects if isinstance(each, StartOperation)]


def test_members_go_one_at_a_time() -> None:
    db = database(5)
    scale(db, 3)

    plan = db.reconcile()
    assert wanted(plan) == 4
    assert (reason(plan, RECONCILING), status(plan, READY)) == ("ScalingIn", True)
    assert message(plan, RECONCILING) == "5 members become 3, one at a time. db-4 goes now."

    plan = db.reconcile()
    assert wanted(plan) == 4
    assert message(plan, RECONCILING).endswith("It goes on once db-4 is gone.")

    remove(db)
    assert wanted(db.reconcile()) == 3
    remove(db)
    assert wanted(db.reconcile()) == 3
    assert reason(db.reconcile(), RECONCILING) is None


def test_a_primary_that_would_go_moves_first_to_a_member_that_stays() -> None:
    db = database(4)
    db.switch_over("db-3")
    db.members["db-2"].behind = 0
    scale(db, 2)

    plan = db.reconcile()
    assert wanted(plan) == 4
    assert message(plan, RECONCILING).endswith("It goes on once the primary has moved away from db-3.")
    assert begun(plan) == ["db-1"], "db-2 goes as well"
    assert db.operations[0]["spec"]["reason"] == "db-3 leads and is one too many for spec.replicas 2."

    plan = db.reconcile()
    assert (wanted(plan), begun(plan)) == (4, [])
    assert message(plan, RECONCILING).endswith("It goes on once the Operation that is under way is over.")

    db.switch_over("db-1")
    db.operations[0]["status"] = {"phase": "Succeeded"}
    assert wanted(db.reconcile()) == 3
    remove(db)
    assert wanted(db.reconcile()) == 2


def test_somebodys_operation_is_waited_for() -> None:
    db = database(3)
    scale(db, 2)
    db.begin(own_operation())
    assert wanted(db.reconcile()) == 3

    db.operations.clear()
    assert wanted(db.reconcile()) == 2


def own_operation() -> dict[str, Any]:
    return own(OPERATION, "mine", {"target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover"})


def lags(db: Postgres) -> None:
    db.members["db-1"].behind = 64 * MEBIBYTE


def confirms_nothing(db: Postgres) -> None:
    db.sync = ("db-2",)


def is_not_ready(db: Postgres) -> None:
    db.members["db-1"].ready = False


def is_missing(db: Postgres) -> None:
    del db.members["db-1"]


def has_no_primary(db: Postgres) -> None:
    db.lock(None)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (lags, "db-1 has caught up"),
        (confirms_nothing, "db-1 confirms commits"),
        (is_not_ready, "db-1 is ready"),
        (is_missing, "all 2 that stay are there"),
        (has_no_primary, "there is a primary"),
    ],
)
def test_nobody_goes_before_those_that_stay_make_up_for_it(what: Callable[[Postgres], None], why: str) -> None:
    db = database(3)
    scale(db, 2)
    what(db)

    plan = db.reconcile()

    assert wanted(plan) == 3
    if status(plan, READY):
        assert message(plan, RECONCILING) == f"3 members become 2, one at a time. It goes on once {why}."


def test_one_that_goes_may_be_broken() -> None:
    db = database(3)
    db.power_off("db-2")
    scale(db, 2)

    assert wanted(db.reconcile()) == 2


def test_members_in_one_zone_are_not_left_alone_with_zone_quorum() -> None:
    db = database(4, zones=(A, A, B, B))
    scale(db, 2)

    plan = db.reconcile()

    assert wanted(plan) == 4
    assert status(plan, READY)
    assert reason(plan, STALLED) == "ScaleInRefused"
    assert message(plan, STALLED) == (
        "The members that would stay, db-0 and db-1, are all in zone-a, and durability zone-quorum needs two zones: set spec.replicas "
        "higher again, or spec.durability to quorum."
    )
    scale(db, 3)
    assert wanted(db.reconcile()) == 3

    db = database(4, zones=(A, A, B, B))
    scale(db, 2, durability="quorum")
    assert wanted(db.reconcile()) == 3


def test_down_to_one_without_any_durability() -> None:
    db = database(3)
    scale(db, 1, durability="async")

    for left in (2, 1):
        assert wanted(db.reconcile()) == left
        remove(db)


def test_what_is_asked_back_is_there_at_once() -> None:
    db = database(3)
    scale(db, 2)
    assert wanted(db.reconcile()) == 2

    scale(db, 3)
    assert wanted(db.reconcile()) == 3


def test_a_rolling_update_that_mends_a_member_goes_on_while_the_scale_in_waits_for_that_member() -> None:
    db = database(3)
    db.members["db-1"].ready = False
    scale(db, 2)
    db.reconcile()
    view = db.view()
    view.children[("StatefulSet", "db")]["status"] = {"observedGeneration": 1, "updateRevision": "new"}
    for name in db.members:
        pod = view.children[("Pod", name)]
        pod["metadata"]["labels"]["controller-revision-hash"] = "old"
        pod["metadata"]["uid"] = f"uid-{name}"
    assert [str(each) for each in plan_database(view).effects] == ["DeletePod(name='db-1', uid='uid-db-1')"]


# --- what the zones can give -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", ["quorum", "async"])
def test_zone_quorum_in_one_zone_is_refused_also_later_and_what_runs_goes_on_as_it_was(now: str) -> None:
    db = Postgres({"durability": now}, zones=(A, A, A)).serving()
    before = db.dynamic
    db.resource["spec"] |= {"durability": "zone-quorum", "parameters": {"work_mem": "8MB"}}

    for _ in range(2):
        plan = db.reconcile()
        assert status(plan, READY)
        assert reason(plan, STALLED) == "ZonesInsufficient"
        assert "or set spec.durability to quorum" in message(plan, STALLED)
    parameters = before["postgresql"]["parameters"] | {"work_mem": "8MB"}
    assert db.dynamic == before | {"postgresql": before["postgresql"] | {"parameters": parameters}}, "and nothing else has changed"

    db.nodes = nodes(A, B)
    plan = db.reconcile()
    assert reason(plan, STALLED) == "ZonesInsufficient"
    assert "all are in zone-a" in message(plan, STALLED)

    db.members["db-2"].zone = B
    db.join("db-1", "db-2")
    db.reconcile()
    assert db.dynamic["synchronous_mode_strict"] is True
    assert reason(db.reconcile(), STALLED) is None


def test_zones_that_vanish_later_take_nothing_back() -> None:
    db = database(3)
    before = db.dynamic
    db.nodes = nodes(A)

    plan = db.reconcile()

    assert reason(plan, STALLED) is None
    assert db.dynamic == before


def chosen(*zones: str, taint: Manifest | None = None) -> dict[str, Manifest]:
    """Nodes in three zones, of which those in some are labelled for databases."""
    made = nodes(A, B, C)
    for zone in zones:
        node = made[f"node-{zone}"]
        node["metadata"]["labels"]["disk"] = "fast"
        node["spec"]["taints"] = [taint] if taint else []
    return made


SELECTED = {"placement": {"nodeSelector": {"disk": "fast"}}}
CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def test_zones_without_a_node_that_is_chosen_do_not_count() -> None:
    """Three members in one zone would else be taken for one a zone, and zone-quorum for what it is not."""
    db = Postgres(SELECTED)
    db.nodes = chosen(A)

    plan = db.reconcile()

    assert reason(plan, READY) == "ZonesInsufficient"
    assert "there are 1 with those that spec.placement.nodeSelector leaves" in message(plan, READY)


def test_a_commit_waits_for_as_many_members_as_share_a_zone_of_chosen_nodes() -> None:
    db = Postgres(SELECTED)
    db.nodes = chosen(A, B)

    plan = db.reconcile()

    (text,) = (each["data"]["patroni.yml"] for each in plan.manifests if "patroni.yml" in each.get("data", {}))
    assert yaml.safe_load(text)["bootstrap"]["dcs"]["synchronous_node_count"] == 2


@pytest.mark.parametrize(
    ("toleration", "enough"),
    [
        pytest.param(None, False, id="control planes are no place for pods"),
        pytest.param({"operator": "Exists"}, True, id="all is tolerated"),
        pytest.param({"key": CONTROL_PLANE["key"], "operator": "Exists"}, True, id="this is"),
        pytest.param({"key": CONTROL_PLANE["key"], "effect": "NoSchedule"}, True, id="its empty value is"),
        pytest.param({"key": CONTROL_PLANE["key"], "value": "yes"}, False, id="another value is"),
        pytest.param({"key": CONTROL_PLANE["key"], "operator": "Exists", "effect": "NoExecute"}, False, id="another effect is"),
        pytest.param({"key": "noisy", "operator": "Exists"}, False, id="another taint is"),
    ],
)
def test_control_planes_count_where_they_are_tolerated(toleration: Manifest | None, enough: bool) -> None:
    db = Postgres({"placement": {"tolerations": [toleration] if toleration else []}})
    db.nodes = chosen(A, B, C, taint=CONTROL_PLANE)

    assert (reason(db.reconcile(), READY) == "ZonesInsufficient") is not enough


# --- more members ------------------------------------------------------------------------------------------------------


def test_commits_wait_for_enough_before_a_member_comes_that_may_be_beside_the_primary() -> None:
    db = database(3)
    assert db.dynamic["synchronous_node_count"] == 1
    scale(db, 4)

    plan = db.reconcile()
    assert (wanted(plan), reason(plan, RECONCILING), status(plan, READY)) == (3, "ScalingOut", True)
    assert message(plan, RECONCILING) == "3 members become 4 once commits wait for 2 standbys, as some will share a zone."
    assert db.dynamic["synchronous_node_count"] == 2
    assert plan.requeue_after is not None
    assert plan.requeue_after < 1, "the operator's own write is no news that would wake it"

    plan = db.reconcile()
    assert (wanted(plan), plan.requeue_after) == (4, 30)
    db.start_members(4)
    db.members["db-3"].zone = None
    db.reconcile()
    assert db.dynamic["synchronous_node_count"] == 2, "nor while it has no place"


def test_nothing_is_waited_for_where_each_has_a_zone_or_none_is_promised() -> None:
    db = database(2, zones=(A, B, C))
    scale(db, 3)
    assert wanted(db.reconcile()) == 3

    db = database(3, durability="quorum")
    scale(db, 5)
    assert wanted(db.reconcile()) == 5
    assert db.dynamic["synchronous_node_count"] == 1


# --- a member that went too early -----------------------------------------------------------------------------------------


def without_db_3(*, volume: bool = True) -> Postgres:
    """A scale-in took db-3, and before Patroni struck it off the primary was gone for good."""
    db = database(4)
    scale(db, 3)
    db.reconcile()
    voters = db.sync
    remove(db)
    db.sync = voters
    db.leader = None
    if volume:
        db.claims = ("data-db-3",)
    return db


def test_a_voter_that_a_scale_in_took_comes_back_while_nobody_leads() -> None:
    db = without_db_3()

    plan = db.reconcile()
    assert wanted(plan) == 4
    assert wanted(db.reconcile()) == 4, "and stays until somebody leads"

    db.start_members(4)
    db.lock("db-1")
    db.promote()
    db.route()
    db.join("db-0", "db-2", "db-3")
    assert wanted(db.reconcile()) == 3


def test_also_where_more_are_to_go() -> None:
    db = without_db_3()
    scale(db, 2)

    assert wanted(db.reconcile()) == 4


def test_a_voter_without_a_volume_has_nothing_to_come_back_with() -> None:
    assert wanted(without_db_3(volume=False).reconcile()) == 3


def test_one_that_is_no_voter_stays_away_and_so_does_any_while_somebody_leads() -> None:
    db = without_db_3()
    db.sync = ("db-1", "db-2")
    assert wanted(db.reconcile()) == 3

    db = without_db_3()
    db.leader = "db-0"
    assert wanted(db.reconcile()) == 3


@pytest.mark.parametrize("written", ["db-999999999", "other-3", "db--3", "db-03"])
def test_no_hand_in_patronis_state_makes_members(written: str) -> None:
    db = without_db_3()
    db.sync = (written,)
    db.claims = (*db.claims, f"data-{written}")

    assert wanted(db.reconcile()) == 3
