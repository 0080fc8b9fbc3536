"""BaasInstance: what comes first, what waits for it, and what is said meanwhile."""

from __future__ import annotations

import re
from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, ZONE_TOLERANT
from tests.unit.objects import condition, conditions, message, reason, secret, status
from tests.unit.policy.backend import COMPONENTS, WELL, Backend, deployments, kinds


def test_first_the_database_then_the_bootstrap_then_the_components() -> None:
    shop = Backend()

    first = shop.reconcile()
    assert {"DatabaseReplica", "EventQueue"} <= kinds(first)
    assert not {"Job", "Deployment"} & kinds(first)
    assert reason(first, READY) == "DatabaseNotReady"

    shop.draw_keys()
    shop.has(DATABASE_REPLICA, "shop-db", conditions(condition(READY, False, "Bootstrapping", "The first member is being made.")))
    waiting = shop.reconcile()
    assert message(waiting, READY) == "shop-db: The first member is being made."
    assert "Job" not in kinds(waiting)
    assert deployments(waiting) == {"shop-gateway"}, "rest would end without its database"

    shop.has(DATABASE_REPLICA, "shop-db", WELL)
    making = shop.reconcile()
    assert "Job" in kinds(making)
    assert reason(making, READY) == "BootstrappingDatabase"
    assert deployments(making) == {"shop-gateway"}

    shop.bootstrap()
    started = shop.reconcile()
    assert deployments(started) == {f"shop-{each}" for each in COMPONENTS}
    assert reason(started, READY) == "ComponentDown"

    shop.roll_out()
    served = shop.reconcile()
    assert reason(served, READY) == "Serving"
    assert reason(served, RECONCILING) == "QueueNotReady", "the data API needs no queue"

    shop.has(EVENT_QUEUE, "shop-events", WELL)
    done = shop.reconcile()
    assert [(each.type, each.status) for each in done.conditions] == [(READY, True), (ZONE_TOLERANT, True)]
    assert done.status["endpoint"] == "http://shop-gateway.prod.svc:8000"


def test_nothing_is_taken_away_while_the_database_is_down() -> None:
    shop = Backend().serving()
    before = {(each["kind"], each["metadata"]["name"]) for each in shop.reconcile().manifests}
    shop.has(DATABASE_REPLICA, "shop-db", conditions(condition(READY, False, "NoPrimary", "No member holds the leader lock.")))

    plan = shop.reconcile()

    assert {(each["kind"], each["metadata"]["name"]) for each in plan.manifests} == before
    assert reason(plan, READY) == "DatabaseNotReady"
    assert reason(plan, ZONE_TOLERANT) == "DatabaseReplicaNotZoneTolerant"


def test_rest_stays_once_it_was_started_though_its_job_is_gone() -> None:
    shop = Backend().serving()
    shop.applied = {key: each for key, each in shop.applied.items() if key[0] != "Job"}

    assert deployments(shop.plan()) == {f"shop-{each}" for each in COMPONENTS}


def test_a_change_of_what_the_bootstrap_does_makes_a_new_job_and_takes_nothing_down() -> None:
    shop = Backend().serving()
    (old,) = (name for kind, name in shop.applied if kind == "Job")
    shop.resource["spec"] = {"components": {"rest": {"schemas": ["public", "api"]}}}

    plan = shop.reconcile()

    (new,) = (name for kind, name in shop.applied if kind == "Job")
    assert new != old
    assert deployments(plan) == {f"shop-{each}" for each in COMPONENTS}


def test_a_database_that_is_begun_anew_is_bootstrapped_anew() -> None:
    shop = Backend(databaseRef={"name": "theirs"})
    shop.has(DATABASE_REPLICA, "theirs", WELL)
    shop.serving()
    (first,) = (name for kind, name in shop.applied if kind == "Job")
    shop.reconcile()
    assert [name for kind, name in shop.applied if kind == "Job"] == [first]

    shop.others[DATABASE_REPLICA.name, "theirs"]["metadata"]["uid"] = "another"
    shop.reconcile()

    assert [name for kind, name in shop.applied if kind == "Job"] != [first], "the passwords are the same, the database is not"


def test_a_database_that_is_away_for_a_moment_is_no_other() -> None:
    shop = Backend().serving()
    jobs = [name for kind, name in shop.applied if kind == "Job"]
    del shop.others[DATABASE_REPLICA.name, "shop-db"]

    shop.reconcile()

    assert [name for kind, name in shop.applied if kind == "Job"] == jobs


def test_gateways_that_an_autoscaler_made_share_what_the_instance_lets_in() -> None:
    limits = {"total": {"requestsPerSecond": 100}}
    shop = Backend(components={"gateway": {"autoscaling": {"minReplicas": 3, "maxReplicas": 10}, "limits": limits}}).serving()
    shop.keys = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": [{"kid": "one"}]}'})

    def per_pod() -> set[str]:
        config = next(each for each in shop.plan().manifests if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "shop-gateway"))
        return set(re.findall(r"tokens_per_fill\W+(\d+)", " ".join(config["data"].values())))

    assert "34" in per_pod()
    shop.applied["Deployment", "shop-gateway"]["spec"]["replicas"] = 10

    assert "10" in per_pod()
    assert "34" not in per_pod()


def test_the_bootstrap_runs_where_the_database_does() -> None:
    """It has the same image. Where all nodes are tainted, or the registry is private, it would wait for ever otherwise."""
    tolerations = [{"key": "team", "operator": "Exists"}]
    shop = Backend().serving()
    shop.others[DATABASE_REPLICA.name, "shop-db"]["spec"] = {
        "placement": {"nodeSelector": {"disk": "ssd"}, "tolerations": tolerations}, "imagePullSecrets": [{"name": "registry"}],
    }  # fmt: skip

    def where() -> Any:
        pod = next(each["spec"]["template"]["spec"] for each in shop.reconcile().manifests if each["kind"] == "Job")
        return pod.get("nodeSelector"), pod.get("tolerations"), pod.get("imagePullSecrets")

    placed = where()
    assert placed == ({"disk": "ssd"}, tolerations, [{"name": "registry"}])
    del shop.others[DATABASE_REPLICA.name, "shop-db"]
    assert where() == placed, "while it is away, no other Job is made"


def test_an_autoscaler_begins_from_what_there_is() -> None:
    """To cut a component that is under load to the least it may have, until the autoscaler has looked, would be an outage."""
    scaling = {"gateway": {"autoscaling": {"minReplicas": 3, "maxReplicas": 12}}}

    def pods(shop: Backend) -> int:
        return int(
            next(
                each["spec"]["replicas"]
                for each in shop.plan().manifests
                if each["metadata"]["name"] == "shop-gateway" and each["kind"] == "Deployment"
            )
        )

    shop = Backend(components={"gateway": {"replicas": 10}}).serving()
    shop.resource["spec"] = {"components": scaling}
    assert pods(shop) == 10, "declared in place of a number"

    shop = Backend(components=scaling).serving()
    shop.applied["Deployment", "shop-gateway"]["spec"]["replicas"] = 11
    del shop.applied["HorizontalPodAutoscaler", "shop-gateway"]
    assert pods(shop) == 11, "deleted by somebody"

    shop.resource["spec"] = {"components": {"gateway": {"replicas": 4}}}
    assert pods(shop) == 4, "a number in place of it"

    shop.resource["spec"] = {"components": scaling}
    shop.applied["Deployment", "shop-gateway"]["spec"]["replicas"] = 0
    assert pods(shop) == 3, "after it hibernated"


def test_the_message_of_a_stalled_database_is_handed_on() -> None:
    shop = Backend()
    stalled = conditions(condition(READY, False, "ZonesInsufficient", "Not so."), condition(STALLED, True, message="Label the nodes."))
    shop.has(DATABASE_REPLICA, "shop-db", stalled)

    assert message(shop.plan(), READY) == "shop-db: Label the nodes."


@pytest.mark.parametrize(("kind", "name"), [("DatabaseReplica", "shop-db"), ("EventQueue", "shop-events")])
def test_an_edit_of_a_spec_that_nobody_has_looked_at_yet_is_no_outage(kind: str, name: str) -> None:
    shop = Backend().serving()
    shop.others[kind, name]["metadata"]["generation"] = 2

    assert [(each.type, each.status) for each in shop.plan().conditions] == [(READY, True), (ZONE_TOLERANT, True)]


def test_one_pod_lost_still_serves() -> None:
    shop = Backend().serving()
    shop.pods["Pod", "shop-rest-0"]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    plan = shop.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, RECONCILING) == "ComponentsNotReady"


def test_pods_in_one_zone_serve_and_are_not_tolerant() -> None:
    shop = Backend().serving()
    shop.roll_out(zones=("zone-a",))

    plan = shop.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, ZONE_TOLERANT) == "ComponentInOneZone"
    assert message(plan, ZONE_TOLERANT) == "All ready pods of gateway are in one zone: without it nothing would serve."


def test_without_a_ready_pod_there_is_no_talk_of_zones() -> None:
    shop = Backend().serving()
    shop.roll_out(ready=False)

    plan = shop.plan()

    assert reason(plan, READY) == reason(plan, ZONE_TOLERANT) == "ComponentDown"
    assert message(plan, ZONE_TOLERANT) == "gateway does not serve: 0 of 3 pods are ready."


def test_a_rollout_is_told_until_the_last_old_pod_is_gone() -> None:
    shop = Backend().serving()
    shop.applied["Deployment", "shop-gateway"]["status"]["replicas"] = 4

    assert reason(shop.plan(), RECONCILING) == "RollingOut"


@pytest.mark.parametrize("kind", [DATABASE_REPLICA, EVENT_QUEUE])
def test_it_is_as_tolerant_as_what_it_stands_on(kind: Any) -> None:
    shop = Backend().serving()
    name = "shop-db" if kind is DATABASE_REPLICA else "shop-events"
    shop.has(kind, name, conditions(condition(READY, True), condition(ZONE_TOLERANT, False, "OneZone", "Only one zone.")))

    plan = shop.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, ZONE_TOLERANT) == f"{kind.name}NotZoneTolerant"
    assert message(plan, ZONE_TOLERANT) == f"{name}: Only one zone."


def test_the_deletion_policy_is_handed_on_to_what_it_makes() -> None:
    plan = Backend(deletionPolicy="Delete").plan()

    assert {each["spec"]["deletionPolicy"] for each in plan.manifests if "deletionPolicy" in each.get("spec", {})} == {"Delete"}


def test_a_rollout_that_is_stuck_is_told_and_what_ran_before_serves() -> None:
    shop = Backend().serving()
    rest = shop.applied["Deployment", "shop-rest"]
    rest["status"] |= {"replicas": 4, "conditions": [condition("Progressing", False, "ProgressDeadlineExceeded", "has timed out")]}
    plan = shop.plan()
    assert status(plan, READY) is True
    assert reason(plan, RECONCILING) == "RolloutStuck"
    assert message(plan, RECONCILING) == (
        "rest is not rolled out: its new pods do not get ready. 3 pods of it are ready and serving meanwhile. "
        "Correct spec.components.rest, or take the change back."
    )

    quota = 'pods "shop-rest-1" is forbidden: exceeded quota: team, requested: cpu=50m, used: cpu=2, limited: cpu=2'
    rest["status"]["conditions"] = [condition("ReplicaFailure", True, "FailedCreate", quota)]
    assert "exceeded quota: team" in message(shop.plan(), RECONCILING)
