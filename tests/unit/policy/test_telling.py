"""Pods of a queue are told of what they mount, once for each change of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.observe.view import View
from baas_operator.policy.queue.telling import tell
from baas_operator.policy.telling import TOLD_ANNOTATION
from tests.unit.objects import NOW, keyed, own, owner, pod, secret

WHOSE = owner(EVENT_QUEUE, "mq")


def config_map(name: str, component: str, version: str) -> Manifest:
    made = WHOSE.child("v1", "ConfigMap", name, component, data={})
    made["metadata"]["resourceVersion"] = version
    return made


def view(*pods: Manifest, users: str = "1", webhooks: str = "1", signing: str = "1") -> View:
    auth = secret(WHOSE, names.auth_secret("mq"), names.COMPONENT)
    auth["metadata"]["resourceVersion"] = users
    signs = secret(WHOSE, names.webhook_secret("mq", "crm"), names.DISPATCHER)
    signs["metadata"]["resourceVersion"] = signing
    mounted = (auth, config_map("mq-nats", names.COMPONENT, "7"), signs, config_map("mq-dispatcher", names.DISPATCHER, webhooks))
    return View(resource=own(EVENT_QUEUE, "mq", {}), children=keyed(*pods, *mounted), nodes={}, now=NOW)


def told(name: str, component: str, by: View) -> Manifest:
    """A pod that was told all that it is to be told."""
    made = pod(WHOSE, name, component, on="node-a")
    effect = next(each for each in tell(replace(by, children={**by.children, **keyed(made)})) if each.name == name)
    made["metadata"]["annotations"] = {TOLD_ANNOTATION: effect.value}
    return made


def whom(**changed: Any) -> list[str]:
    before = view()
    pods = told("mq-0", names.COMPONENT, before), told("mq-dispatcher-x", names.DISPATCHER, before)
    return [each.name for each in tell(view(*pods, **changed))]


def test_each_is_told_of_what_it_mounts_once() -> None:
    assert whom() == []
    assert whom(users="2") == ["mq-0"]
    assert whom(webhooks="2") == ["mq-dispatcher-x"]
    assert whom(signing="2") == ["mq-dispatcher-x"]


def test_a_pod_that_goes_is_told_nothing() -> None:
    going = pod(WHOSE, "mq-0", names.COMPONENT, on="node-a")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert tell(view(going)) == []


def test_it_is_this_very_pod_that_is_told() -> None:
    (effect,) = tell(view(pod(WHOSE, "mq-0", names.COMPONENT, on="node-a")))
    assert (effect.name, effect.uid, effect.key) == ("mq-0", "mq-0-uid", TOLD_ANNOTATION)
    assert effect.value == "1-7", "versions, and nothing of what a Secret holds"
