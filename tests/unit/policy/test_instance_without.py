"""BaasInstance and what it does without: its queue, components, readable keys, kinds that the cluster does not have, and pods at rest."""

from __future__ import annotations

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, ZONE_TOLERANT
from tests.unit.objects import keyed, message, reason, secret, status
from tests.unit.policy.backend import COMPONENTS, WELL, Backend, kinds


def test_a_backend_that_serves_goes_on_without_the_queue_that_it_refers_to() -> None:
    shop = Backend(queueRef={"name": "theirs"})
    shop.has(EVENT_QUEUE, "theirs", WELL)
    shop.serving()
    before = shop.plan()
    del shop.others[EVENT_QUEUE.name, "theirs"]

    plan = shop.plan()

    assert not plan.refused, "keys are revoked and pods are healed without a queue, too"
    assert status(plan, READY)
    assert (plan.status["components"], plan.manifests) == (before.status["components"], before.manifests)
    assert reason(plan, STALLED) == "EventQueueNotFound"
    assert "create it" in message(plan, STALLED)
    assert reason(plan, ZONE_TOLERANT) == "EventQueueNotZoneTolerant"


@pytest.mark.parametrize("name", ["meta", "reads"])
def test_a_component_without_which_it_serves_makes_nothing_unready_while_it_is_not_there(name: str) -> None:
    shop = Backend(components={"meta": {"enabled": True}}).serving()
    del shop.applied["Deployment", f"shop-{name}"]

    plan = shop.plan()

    assert status(plan, READY)
    assert status(plan, ZONE_TOLERANT)
    assert (reason(plan, RECONCILING), message(plan, RECONCILING)) == ("CreatingComponents", f"Being made: {name}.")


def test_a_component_without_which_it_does_not_serve_does() -> None:
    shop = Backend().serving()
    del shop.applied["Deployment", "shop-rest"]

    plan = shop.plan()

    assert reason(plan, READY) == reason(plan, ZONE_TOLERANT) == "CreatingComponents"


def test_without_any_readable_keys_nothing_is_pruned() -> None:
    shop = Backend().serving()
    assert shop.keys
    shop.keys["data"] = {}
    shop.drawn = keyed(secret(shop.owner, "shop-signing-key", "instance", **{"keys.json": "nonsense"}))

    plan = shop.plan()

    assert plan.refused, "a plan without components would have all of them deleted"
    assert status(plan, READY)
    assert reason(plan, STALLED) == "KeySetUnreadable"
    assert {each["name"] for each in plan.status["components"]} == set(COMPONENTS)


EXPOSED = {"hosts": ["api.shop.example"], "components": {"gateway": {"httpRoute": {"name": "public"}}}}


def test_a_route_that_the_cluster_has_no_kind_for_waits_for_somebody_and_the_backend_serves() -> None:
    shop = Backend(**EXPOSED).serving()

    plan = shop.plan()

    assert status(plan, READY) is True
    assert status(plan, STALLED) is True
    assert reason(plan, STALLED) == "KindMissing"
    assert "httproutes.gateway.networking.k8s.io in version v1: install the Gateway API" in message(plan, STALLED)
    assert "HTTPRoute" not in kinds(plan)
    assert not plan.refused, "all else is applied"

    shop.kinds = frozenset({"HTTPRoute"})
    plan = shop.reconcile()
    assert "HTTPRoute" in kinds(plan)
    assert reason(plan, STALLED) is None


def test_what_a_backend_is_waiting_for_by_itself_is_told_before_what_waits_for_somebody() -> None:
    shop = Backend(**EXPOSED).serving()
    shop.roll_out(ready=False)
    plan = shop.plan()
    assert reason(plan, STALLED) is None
    assert reason(plan, RECONCILING) == "ComponentDown"


def test_a_backend_that_hibernates_has_no_pods_and_keeps_the_rest() -> None:
    shop = Backend().serving()
    shop.resource["spec"]["hibernate"] = True
    plan = shop.reconcile()
    assert {each["spec"]["replicas"] for each in plan.manifests if each["kind"] == "Deployment"} == {0}
    assert {"Service", "ConfigMap", "EventQueue", "DatabaseReplica"} <= kinds(plan)
    assert reason(plan, READY) == "Hibernated"
    shop.roll_out()
    shop.resource["spec"]["hibernate"] = False
    shop.reconcile()
    shop.roll_out()
    assert status(shop.plan(), READY) is True


def test_a_backend_that_hibernates_keeps_its_policies_and_its_ways_in() -> None:
    shop = Backend(**EXPOSED).serving()
    shop.kinds = frozenset({"HTTPRoute", "PodMonitor"})
    awake = kinds(shop.reconcile())

    shop.resource["spec"]["hibernate"] = True
    plan = shop.reconcile()

    assert {"NetworkPolicy", "HTTPRoute"} <= kinds(plan)
    assert kinds(plan) == awake
    assert all(each["spec"]["replicas"] == 0 for each in plan.manifests if each["kind"] == "Deployment")
