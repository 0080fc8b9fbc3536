"""A queue that was made for a backend is kept as if it declared what probers publish to, and whatever its owner declared beside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE, SERVICE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.room import room
from baas_operator.desired.queue.streams import all_kept, marks
from baas_operator.desired.queue.users import rights
from baas_operator.engine.config import Config
from baas_operator.engine.gather import view_of
from baas_operator.engine.store import Store
from baas_operator.observe.view import View
from baas_operator.policy.queue import plan_queue
from baas_operator.policy.queue.probes import with_probes
from tests.unit.objects import NOW, keyed, own, owner, secret

ORDERS = {"name": "orders", "subjects": ["orders.>"]}
ON = {"prober": {"publish": True}}


def seen(spec: Manifest | None = None, *, addresses: list[str] | None = None, queue: str = "shop-events", made: bool = True) -> View:
    """A queue, the backend `shop`, and the probers' Service once it has `addresses`."""
    resource = own(EVENT_QUEUE, queue)
    if made:
        resource["metadata"]["ownerReferences"] = [owner(BAAS_INSTANCE, "shop").reference()]
    backend = own(BAAS_INSTANCE, "shop", ON if spec is None else spec)
    service = {(SERVICE.name, "shop-prober"): {"spec": {"clusterIPs": addresses}}} if addresses else {}
    key = (BAAS_INSTANCE.name, "shop")
    return View(resource=resource, children={}, nodes={}, now=NOW, others={key: backend}, other_children={key: service})


def kept(view: View, **declared: Any) -> EventQueueSpec:
    return with_probes(EventQueueSpec.model_validate({"streams": [ORDERS]} | declared), view)


def test_it_has_a_stream_a_user_and_a_webhook_beside_what_it_declares() -> None:
    hook = {"name": "partner", "stream": "orders", "url": "https://partner.example/"}
    spec = kept(seen(addresses=["10.96.3.4"]), webhooks=[hook], users=[{"name": "billing"}])
    assert [each.name for each in spec.streams] == ["orders", "baas-probe"]
    assert [each.name for each in spec.users] == ["billing", "shop.prober"]
    assert [each.name for each in spec.webhooks] == ["partner", "baas-probe"]
    made = spec.webhooks[1]
    assert (made.stream, made.url, made.enabled) == ("baas-probe", "http://shop-prober.prod.svc:8080/hook", True)
    assert made.allow_networks == ["10.96.3.4/32"], "the address of the Service, and no other private one"


def test_the_stream_is_bounded_and_takes_no_share_of_others() -> None:
    spec = kept(seen(addresses=["10.96.3.4"]))
    (stream,) = [each for each in all_kept(spec, queue="shop-events", namespace="prod", shares={}) if each.name == "baas-probe"]
    assert (stream.config["max_msgs"], stream.config["max_bytes"], stream.config["max_age"]) == (500, 2**20, 3600 * 10**9)
    assert (stream.config["subjects"], stream.config["discard"]) == (["baas-probe.>"], "old")
    (letters,) = [each for each in letters_kept(spec, queue="shop-events", shares={}) if each.name == "BAAS_DEAD_baas-probe"]
    assert letters.config["max_bytes"] == 2**20
    gone_with_the_wish = marks("shop-events", DeletionPolicy.DELETE)
    assert stream.config["metadata"] == letters.config["metadata"] == gone_with_the_wish
    before, after = (room(each, {}).shares for each in (EventQueueSpec.model_validate({"streams": [ORDERS]}), spec))
    assert before.keys() == after.keys() == {"orders"}
    assert after["orders"] > 0.98 * before["orders"]


def test_its_user_publishes_there_and_reads_nothing() -> None:
    given = rights(kept(seen(addresses=["10.96.3.4"])))["APP"]["shop.prober"]
    assert given.publish == ("baas-probe.>",)
    assert given.subscribe == ("_INBOX_shop.prober.>",)
    assert "_INBOX_shop.prober.>" in rights(kept(seen()))["APP"]["app"].deny_subscribe


@pytest.mark.parametrize("addresses", [None, ["None"], ["10.96.3"]])
def test_before_there_is_an_address_there_is_no_webhook(addresses: list[str] | None) -> None:
    spec = kept(seen(addresses=addresses))
    assert [each.name for each in spec.streams] == ["orders", "baas-probe"]
    assert spec.webhooks == []


def test_while_the_backend_sleeps_nothing_is_sent() -> None:
    assert not kept(seen(ON | {"hibernate": True}, addresses=["10.96.3.4"])).webhooks[0].enabled


@pytest.mark.parametrize(
    "view",
    [
        seen({}), seen({"prober": {"publish": True, "enabled": False}}), seen(ON | {"queueRef": {"name": "shop-events"}}),
        seen(queue="other"), seen(made=False), seen({"prober": {"publish": "what"}}),
    ],
)  # fmt: skip
def test_who_does_not_ask_or_may_not_gets_nothing(view: View) -> None:
    assert kept(view) == EventQueueSpec.model_validate({"streams": [ORDERS]})


@pytest.mark.parametrize(
    "declared",
    [
        {"streams": [{"name": "baas-probe", "subjects": ["mine.>"]}]},
        {"streams": [{"name": "mine", "subjects": ["baas-probe.*"]}]},
        {"webhooks": [{"name": "baas-probe", "stream": "orders", "url": "https://partner.example/"}]},
    ],
)
def test_what_the_queues_owner_declares_counts(declared: Manifest) -> None:
    assert kept(seen(addresses=["10.96.3.4"]), **declared) == EventQueueSpec.model_validate({"streams": [ORDERS]} | declared)


def test_the_plan_has_all_of_it() -> None:
    authority = secret(owner(EVENT_QUEUE, "shop-events"), names.ca("shop-events"), names.COMPONENT, **{"ca.crt": "of the queue"})
    plan = plan_queue(replace(seen(addresses=["10.96.3.4"]), children=keyed(authority)))
    made = {(each["kind"], each["metadata"]["name"]) for each in plan.manifests}
    assert ("NetworkPolicy", "shop-events-dispatcher") in made
    assert {names.user_secret("shop-events", "shop.prober"), names.webhook_secret("shop-events", "baas-probe")} <= {
        each.name for each in plan.secrets
    }
    off = plan_queue(seen({}))
    assert ("NetworkPolicy", "shop-events-dispatcher") not in {(each["kind"], each["metadata"]["name"]) for each in off.manifests}


def test_a_queues_view_has_the_services_of_the_backend_that_it_was_made_for() -> None:
    store = Store()
    backend, queue = own(BAAS_INSTANCE, "shop", ON), own(EVENT_QUEUE, "shop-events")
    whose = owner(BAAS_INSTANCE, "shop")
    queue["metadata"]["ownerReferences"] = [whose.reference()]
    service = whose.child("v1", "Service", "shop-prober", "prober", spec={"clusterIPs": ["10.96.3.4"]})
    service["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    for each in (backend, queue, service):
        store.put(each)
    spec = kept(view_of(store, queue, Config()))
    assert spec.webhooks[0].allow_networks == ["10.96.3.4/32"]
