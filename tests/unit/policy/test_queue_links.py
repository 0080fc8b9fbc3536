"""Copies of streams of other queues: who is asked with which password, and what can not be."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.remotes import domain, impossible, links
from baas_operator.observe.conditions import COPY_STALLED, READY, RECONCILING, STALLED
from baas_operator.observe.queue import CopyState
from baas_operator.policy.plan import EnsureStream
from tests.unit.objects import NAMESPACE, message, owner, reason, secret, status
from tests.unit.policy.queue_model import ORDERS, Nats, kinds


def copy_of(stream: str, **queue: Any) -> Manifest:
    return {"stream": stream, "queue": queue}


EAST = {"name": "mq", "namespace": "east", "credentials": {"name": "east-copier"}}


def _given(mq: Nats, **values: str) -> None:
    mq.secrets = {"east-copier": secret(owner(EVENT_QUEUE, "mq"), "east-copier", names.COMPONENT, **values)}


CA = {"ca.crt": "PEM"}


def test_a_queue_that_can_not_be_asked_is_told_and_keeps_nothing_else_from_being_done() -> None:
    mq = Nats({"name": "copy", "mirror": copy_of("orders", **EAST)}, ORDERS)
    _given(mq, username="copier")
    plan = mq.plan()
    assert (reason(plan, STALLED), status(plan, READY)) == ("CopyCredentialsMissing", True)
    assert "Secret east-copier" in message(plan, STALLED)
    assert "StatefulSet" in kinds(plan)
    assert plan.effects == (), "a copy that is there stays as it is"

    _given(mq, username="copier", password="p", **CA)
    assert reason(mq.plan(), STALLED) != "CopyCredentialsMissing"
    assert mq.plan().effects == ()

    assert mq.jetstream
    mq.jetstream = replace(mq.jetstream, streams={"orders": mq.jetstream.streams["orders"]})
    for username in ("copier", "copier-alt"):
        _given(mq, username=username, password="p", **CA)
        (effect,) = mq.plan().effects
        assert isinstance(effect, EnsureStream)
        assert effect.config["mirror"]["external"] == {"api": "$JS.east_mq.API", "deliver": f"$JS.COPY.copier.{NAMESPACE}_mq"}
    _given(mq, username="copier")
    plan = mq.plan()
    assert plan.effects == (), "it is not known where its copies are to come"
    assert (reason(plan, STALLED), status(plan, READY)) == ("CopyCredentialsMissing", True)


FAR = {"url": "tls://queue.eu.example:7422", "domain": "hub", "credentials": {"name": "east-copier"}}


@pytest.mark.parametrize(
    ("queue", "also", "sent"),
    [
        (EAST, {}, False),  # any password: of a repository, for instance, whose Secret looks like that
        (FAR, {}, False),
        (FAR, CA, True),
        (FAR, {"url": "tls://queue.eu.example:7422"}, True),
        (FAR, {"url": "tls://queue.eu.example"}, False),
        (FAR, {"url": "https://git.example"}, False),
        (EAST, {"url": "tls://mq.east.svc:7422"}, True),
    ],
)
def test_a_password_goes_only_where_its_secret_says(queue: dict[str, Any], also: dict[str, str], sent: bool) -> None:
    """Whoever may write an EventQueue names the Secret, and the server."""
    mq = Nats({"name": "copy", "mirror": copy_of("orders", **queue)}, ORDERS)
    _given(mq, username="somebody", password="hunter2", **also)
    plan = mq.plan()
    assert (reason(plan, STALLED) != "CopyCredentialsMissing") is sent
    (auth,) = [each for each in plan.manifests if each["metadata"]["name"] == names.auth_secret("mq")]
    assert ("hunter2" in base64.b64decode(auth["data"]["leafnodes.conf"]).decode()) is sent


@pytest.mark.parametrize(("namespace", "name", "twin"), [("a", "b-c", True), ("a", "b-d", False), ("a-b", "d", False)])
def test_queues_whose_clusters_nats_takes_for_one_are_told(namespace: str, name: str, twin: bool) -> None:
    queue = {"name": name, "namespace": namespace, "credentials": {"name": "s"}}
    spec = EventQueueSpec.model_validate({"streams": [{"name": "m", "mirror": copy_of("x", **queue)}]})
    why = impossible(links(spec, "a-b"), domain("a-b", "c"))
    assert (why is not None) is twin
    assert why is None or "both clusters are called a-b-c" in why


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (copy_of("a", **FAR | {"url": "nats://queue.eu.example"}), copy_of("b", **EAST), "in clear"),
        (copy_of("a", name="mq"), copy_of("b", **EAST), "this very queue"),
        (copy_of("a", name="other"), copy_of("a", **EAST), "Streams called a would be copied from two queues"),
        (
            copy_of("a", name="other"), copy_of("b", name="other", credentials={"name": "own"}),
            f"Domain {NAMESPACE}_other is reached by two addresses or as two users",
        ),
    ],
)  # fmt: skip
def test_links_that_nats_can_not_tell_apart_are_refused(one: Manifest, other: Manifest, says: str) -> None:
    plan = Nats({"name": "one", "mirror": one}, {"name": "other", "mirror": other}).plan()
    assert plan.refused
    assert reason(plan, STALLED) == "LinkRefused"
    assert says in message(plan, STALLED)


def test_a_copy_that_would_go_round_is_not_begun_and_holds_up_nothing_else() -> None:
    ring = [{"name": one, "subjects": [f"{one}.>"], "sources": [{"stream": other, "filters": ["x.>"]}]} for one, other in ("de", "ed")]
    mq = Nats(*ring, ORDERS)
    assert mq.jetstream
    mq.jetstream = replace(mq.jetstream, streams={})
    plan = mq.plan()
    assert [each.config["name"] for each in plan.effects if isinstance(each, EnsureStream)] == ["orders"]

    mq = Nats(*ring, ORDERS)
    for each in "de":
        mq.say(each, config={**mq.stream({"name": each}).config, "sources": []})
    plan = mq.plan()
    assert (reason(plan, STALLED), status(plan, READY)) == ("StreamRefused", True)
    assert "Stream d: it would copy from e, which copies from d" in message(plan, STALLED)
    assert plan.effects == ()
    assert "StatefulSet" in kinds(plan)


def test_a_queue_beside_this_one_is_asked_as_its_app_and_another_server_by_its_own_domain() -> None:
    far = {"url": "tls://queue.eu.example:7422", "domain": "hub", "credentials": {"name": "far"}}
    spec = EventQueueSpec.model_validate(
        {"streams": [{"name": "one", "mirror": copy_of("a", name="other")}, {"name": "two", "mirror": copy_of("b", **far)}]}
    )
    found = {each.domain: (each.url, each.secret) for each in links(spec, "prod")}
    assert found == {"prod_other": ("tls://other.prod.svc:7422", "other-user-app"), "hub": ("tls://queue.eu.example:7422", "far")}


def test_an_outbox_can_not_publish_to_a_mirror() -> None:
    outbox = {"name": "out", "databaseRef": {"name": "db"}, "database": "shop", "stream": "copy"}
    plan = Nats(ORDERS, {"name": "copy", "mirror": {"stream": "orders"}}, outboxes=[outbox]).plan()
    assert reason(plan, STALLED) == "MirrorTakesNothing"


def test_a_copy_that_hears_nothing_is_told_whatever_else_goes_on() -> None:
    mq = Nats({"name": "copy", "mirror": copy_of("orders", **EAST)}, ORDERS)
    _given(mq, username="copier", password="p", **CA)
    mq.say("copy", copies=(CopyState("orders", lag=0, active_seconds=30.0),))
    assert status(mq.plan(), COPY_STALLED) is None

    mq.say("copy", copies=(CopyState("orders", lag=0, active_seconds=31.0),))
    plan = mq.plan()
    assert "has heard nothing of orders, which it copies from, for 31 s" in message(plan, COPY_STALLED)
    assert (reason(plan, RECONCILING), status(plan, READY)) == ("CopyStalled", True)

    mq.ready.remove("mq-2")
    plan = mq.plan()
    assert status(plan, COPY_STALLED)
    assert reason(plan, RECONCILING) == "ServersNotReady", "of which it speaks first"
