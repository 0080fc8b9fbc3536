"""DatabaseReplica: what is decided and said from the first pod to the loss of a primary."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import yaml

from baas_operator.api.kinds import JOB
from baas_operator.observe.conditions import READY, RECONCILING, ZONE_TOLERANT
from baas_operator.policy.plan import GrowVolume, PatchAnnotation, Plan
from tests.unit.objects import message, reason
from tests.unit.policy.postgres import MEBIBYTE, Postgres


def kinds(plan: Plan) -> set[str]:
    return {each["kind"] for each in plan.manifests}


def slice_of(plan: Plan) -> list[str]:
    found = next(each for each in plan.manifests if each["kind"] == "EndpointSlice")
    return [each["targetRef"]["name"] for each in found["endpoints"]]


# --- the way up -----------------------------------------------------------------------------------------------------


def test_from_nothing_to_serving() -> None:
    db = Postgres({"databases": [{"name": "shop"}]})

    first = db.reconcile()
    assert reason(first, READY) == reason(first, RECONCILING) == "Bootstrapping"
    assert "StatefulSet" in kinds(first)
    assert "Job" not in kinds(first), "there is nobody who could run SQL"

    db.start_members()
    assert reason(db.reconcile(), READY) == "Bootstrapping"

    db.lock("db-0")
    assert reason(db.reconcile(), READY) == "Promoting"

    db.initialise()
    led = db.reconcile()
    assert reason(led, READY) == "NotRouted"
    assert slice_of(led) == ["db-0"], "no agent has routed yet, so the operator does"

    alone = db.reconcile()
    assert reason(alone, READY) == "JoiningStandbys"
    assert "Job" in kinds(alone)
    assert db.dynamic["synchronous_mode_strict"] is False, "Patroni can not bootstrap a strict cluster"

    db.join()
    assert reason(db.reconcile(), READY) == "JoiningStandbys"
    assert db.dynamic["synchronous_mode_strict"] is True, "from now on no commit is on the primary alone"
    assert reason(db.reconcile(), READY) == "CreatingDatabases"

    db.finish_jobs()
    pooling = db.reconcile()
    assert (reason(pooling, READY), reason(pooling, RECONCILING)) == ("Serving", "PoolerNotReady")
    assert reason(pooling, ZONE_TOLERANT) == "PoolerInOneZone"

    db.start_poolers()
    done = db.reconcile()
    assert [(each.type, each.status) for each in done.conditions] == [(READY, True), (ZONE_TOLERANT, True)]
    assert done.status["primary"] == "db-0"
    assert done.status["zones"] == 3


def test_why_a_member_does_not_start_is_told() -> None:
    db = Postgres()
    db.reconcile()
    db.start_members()
    db.members["db-1"].waiting = ("ErrImagePull", "no such image")

    plan = db.reconcile()

    assert "db-1: ErrImagePull: no such image" in message(plan, READY)


def test_a_database_that_is_as_it_should_be_is_left_alone() -> None:
    db = Postgres({"databases": [{"name": "shop"}]}).serving()
    before = db.reconcile()

    again = db.reconcile()

    assert again.manifests == before.manifests
    assert again.effects == ()


# --- members and primaries that go ----------------------------------------------------------------------------------


def test_a_standby_lost_still_serves_and_says_that_no_zone_may_go_now() -> None:
    db = Postgres().serving()
    db.power_off("db-2")

    plan = db.reconcile()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, RECONCILING) == "MembersNotReady"
    assert "db-2: not ready" in message(plan, RECONCILING)
    assert reason(plan, ZONE_TOLERANT) == "OneStandbyZone"


def test_both_standbys_lost_stop_the_writes_and_that_is_not_called_ready() -> None:
    db = Postgres().serving()
    db.power_off("db-1")
    db.power_off("db-2")

    plan = db.reconcile()

    assert reason(plan, READY) == "NoSynchronousStandby"
    assert reason(plan, ZONE_TOLERANT) == "NoStandbyInAnotherZone"
    assert plan.effects == (), "what was promised once stays promised: strict is not taken back"


def test_quorum_goes_on_alone_but_is_not_zone_tolerant() -> None:
    db = Postgres({"durability": "quorum"}).serving()
    db.power_off("db-1")
    db.power_off("db-2")

    plan = db.reconcile()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, ZONE_TOLERANT) == "NoStandbyInAnotherZone"


def test_the_primary_loses_power_and_another_takes_over() -> None:
    db = Postgres().serving()

    db.power_off("db-0")
    db.wait(40)
    leaderless = db.reconcile()
    assert reason(leaderless, READY) == reason(leaderless, ZONE_TOLERANT) == "NoPrimary"
    (dead,) = (each for each in leaderless.status["members"] if each["name"] == "db-0")
    assert dead["role"] == "unknown", "the label of a dead primary is a memory"
    assert slice_of(leaderless) == ["db-0"], "where -rw leads is the agents' to change"

    db.lock("db-1")
    assert reason(db.reconcile(), READY) == "Promoting"

    db.promote()
    unrouted = db.reconcile()
    assert reason(unrouted, READY) == "NotRouted"
    assert slice_of(unrouted) == ["db-0"], "the operator does not overwrite what an agent wrote"

    db.route()
    db.join("db-2")
    assert reason(db.reconcile(), READY) == "Serving"


def test_a_lock_that_is_not_renewed_is_no_lock_even_while_the_pod_looks_well() -> None:
    """A frozen node: its pod stays ready for 40 s, its label says primary, its lock runs out."""
    db = Postgres().serving()
    renewed = db.renewed
    db.wait(120)
    db.renewed = renewed

    assert reason(db.plan(), READY) == "NoPrimary"
    assert "Or db-0 holds it, which is ready as the primary, and its node's clock is behind" in message(db.plan(), READY)

    db.power_off("db-0")
    assert "clock" not in message(db.plan(), READY)


def test_the_operators_own_clock_may_be_a_little_fast() -> None:
    db = Postgres().serving()
    renewed = db.renewed
    db.wait(25)
    db.renewed = renewed

    assert reason(db.plan(), READY) == "Serving"


def test_two_that_call_themselves_primary_are_told_apart_by_the_lock() -> None:
    db = Postgres().serving()
    db.members["db-1"].role = "primary"

    assert db.plan().status["primary"] == "db-0"
    assert reason(db.plan(), READY) == "Serving"


# --- Patroni's dynamic configuration --------------------------------------------------------------------------------


def test_drift_of_the_dynamic_configuration_is_put_right_once_with_its_version() -> None:
    db = Postgres().serving()
    good = db.dynamic
    db.dynamic, db.dynamic_version = good | {"synchronous_mode": "off"}, 41

    plan = db.reconcile()

    (effect,) = plan.effects
    assert isinstance(effect, PatchAnnotation)
    assert (effect.kind, effect.name, effect.key, effect.version) == ("ConfigMap", "db-config", "config", "41")
    assert json.loads(effect.value) == good
    assert db.reconcile().effects == ()


def test_a_dynamic_configuration_that_is_no_json_is_put_right_too() -> None:
    db = Postgres().serving()
    good, db.dynamic = db.dynamic, "{ttl: 20"

    db.reconcile()

    assert db.dynamic == good


def test_before_patroni_wrote_it_there_is_nothing_to_patch() -> None:
    db = Postgres()
    db.reconcile()
    db.start_members()

    assert db.plan().effects == ()


def test_a_parameter_reaches_patroni_and_rolls_no_pod() -> None:
    db = Postgres().serving()
    template = db.statefulset()["spec"]["template"]
    db.resource["spec"] = {"parameters": {"work_mem": "8MB"}}

    db.reconcile()

    assert db.dynamic["postgresql"]["parameters"]["work_mem"] == "8MB"
    assert db.statefulset()["spec"]["template"] == template


def test_a_commit_waits_for_as_many_standbys_as_may_share_the_primarys_zone() -> None:
    """Five members in three zones: two more may be beside the primary, so one standby could be there alone."""
    db = Postgres({"replicas": 5}).serving()

    assert db.dynamic["synchronous_node_count"] == 2
    assert db.dynamic["synchronous_mode_strict"] is True


def test_a_commit_waits_for_no_fewer_while_a_member_has_no_place() -> None:
    """A pod that is made anew may stream from beside the primary before the operator looks again."""
    db = Postgres({"replicas": 4}).serving()
    assert db.dynamic["synchronous_node_count"] == 2

    gone = db.members.pop("db-3")
    db.reconcile()
    assert db.dynamic["synchronous_node_count"] == 2

    db.members["db-3"] = dataclasses.replace(gone, zone=None, ready=False)
    db.reconcile()
    assert db.dynamic["synchronous_node_count"] == 2


def test_a_cluster_begins_with_as_many_as_its_zones_will_hold() -> None:
    db = Postgres({"replicas": 5})
    db.reconcile()

    file = yaml.safe_load(db.applied[("ConfigMap", "db-patroni")]["data"]["patroni.yml"])
    assert file["bootstrap"]["dcs"]["synchronous_node_count"] == 2


def test_volumes_that_are_too_small_are_to_grow_and_none_shrinks() -> None:
    db = Postgres({"storage": {"size": "10Gi"}}).serving()
    for index, size in enumerate(("5Gi", "10240Mi", "20Gi")):
        claim = db.owner.child("v1", "PersistentVolumeClaim", f"data-db-{index}", "postgresql", spec={})
        claim["spec"]["resources"] = {"requests": {"storage": size}}
        db.applied[("PersistentVolumeClaim", f"data-db-{index}")] = claim

    assert db.plan().effects == (GrowVolume("data-db-0", "10Gi"),)


# --- what stays -----------------------------------------------------------------------------------------------------


def test_the_sql_job_stays_wanted_while_there_is_no_primary() -> None:
    """Were it pruned now, a failover would run all the SQL again."""
    db = Postgres({"databases": [{"name": "shop"}]}).serving()
    db.power_off("db-0")
    db.wait(60)

    assert JOB.name in kinds(db.reconcile())


def test_claims_stay_as_they_were_made() -> None:
    """The API server refuses any change of them, and with it all that the StatefulSet should become besides."""
    db = Postgres({"storage": {"size": "5Gi"}}).serving()
    db.statefulset()["spec"]["volumeClaimTemplates"][0]["status"] = {"phase": "Pending"}
    db.statefulset()["spec"]["volumeClaimTemplates"][0]["metadata"]["creationTimestamp"] = None
    db.resource["spec"] = {"storage": {"size": "50Gi"}, "resources": {"requests": {"cpu": "2"}}}

    db.reconcile()

    (claim,) = db.statefulset()["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert set(claim) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(claim["metadata"]) == {"name", "labels"}
    postgres = db.statefulset()["spec"]["template"]["spec"]["containers"][0]
    assert postgres["resources"]["requests"]["cpu"] == "2"


def test_only_delete_needs_the_finalizer() -> None:
    assert Postgres({"deletionPolicy": "Delete"}).plan().finalizer
    assert not Postgres().plan().finalizer


def test_lag_is_told_in_whole_mebibytes() -> None:
    db = Postgres().serving()
    db.members["db-1"].behind = 3 * MEBIBYTE + 17
    db.members["db-2"].behind = None

    told = {each["name"]: each.get("lagBytes") for each in db.plan().status["members"]}

    assert told == {"db-0": None, "db-1": 3 * MEBIBYTE, "db-2": None}


# --- the pooler -----------------------------------------------------------------------------------------------------


def test_a_broken_pooler_hides_no_database_that_works() -> None:
    db = Postgres().serving()
    db.poolers = ()

    plan = db.reconcile()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, RECONCILING) == "PoolerNotReady"
    assert reason(plan, ZONE_TOLERANT) == "PoolerInOneZone"
    assert plan.status["poolerReadyReplicas"] == 0


def test_the_poolers_role_is_made_without_a_declared_database_and_nobody_waits_for_it() -> None:
    db = Postgres().serving()
    db.applied = {key: each for key, each in db.applied.items() if key[0] != "Job"}

    plan = db.reconcile()

    assert "Job" in kinds(plan)
    assert reason(plan, READY) == "Serving"
    assert reason(plan, RECONCILING) == "PoolerNotReady"


def test_a_pooler_that_is_being_replaced_is_told_and_one_that_is_not_wanted_is_not() -> None:
    db = Postgres().serving()
    db.applied["Deployment", "db-pooler"]["status"]["updatedReplicas"] = 1
    assert reason(db.plan(), RECONCILING) == "PoolerRollingOut"

    without = Postgres({"pooler": {"replicas": 0}}).serving()
    plan = without.reconcile()
    assert reason(plan, RECONCILING) is None
    assert reason(plan, ZONE_TOLERANT) == "AnyZoneCanBeLost"
    assert "poolerReadyReplicas" not in plan.status
    assert "Deployment" not in kinds(plan)


# --- where -rw leads ------------------------------------------------------------------------------------------------------


def moved(db: Postgres) -> None:
    db.members["db-0"].ip = "10.0.0.99"


def vanished(db: Postgres) -> None:
    del db.members["db-0"]


def evicted(db: Postgres) -> None:
    db.members["db-0"].phase = "Failed"


@pytest.mark.parametrize("how", [moved, vanished, evicted])
def test_an_address_that_no_member_has_is_dropped_once_nobody_leads(how: Callable[[Postgres], None]) -> None:
    """It may be another tenant's by now, whom clients would tell their passwords."""
    db = Postgres().serving()
    version = db.applied[("EndpointSlice", "db-rw")]["metadata"]["resourceVersion"]
    db.members["db-0"].ready = False
    how(db)
    assert slice_of(db.plan()) == ["db-0"], "it holds the lock, and its agent may have written that before the watch told of its pod"

    db.now += timedelta(seconds=31)
    plan = db.plan()
    assert slice_of(plan) == []
    assert next(each for each in plan.manifests if each["kind"] == "EndpointSlice")["metadata"]["resourceVersion"] == version
    db.reconcile()
    assert slice_of(db.plan()) == []


def test_an_address_that_a_member_has_stays_whoever_leads() -> None:
    db = Postgres().serving()
    db.lock(None)
    assert slice_of(db.plan()) == ["db-0"]

    db.lock("db-1")
    assert slice_of(db.plan()) == ["db-0"], "the agent of db-1 will change it"


def test_it_leads_to_a_new_primary_instead_where_there_is_one() -> None:
    db = Postgres().serving()
    del db.members["db-0"]
    db.lock("db-1")
    db.promote()

    assert slice_of(db.plan()) == ["db-1"]
