"""The conditions of webhooks and outboxes: they turn for what lasts, name what is wrong and what helps, and leave the queue Ready."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.observe.conditions import OUTBOXES_RELAYING, READY, WEBHOOKS_DELIVERING, Condition, merge
from baas_operator.observe.dispatchers import DispatcherReport
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View
from baas_operator.policy.deliveries import deliveries
from tests.unit.objects import NOW, keyed, message, own, owner, pod, status
from tests.unit.policy.queue_model import ORDERS, Nats

MQ = owner(EVENT_QUEUE, "mq")
HOOK = {"name": "crm", "stream": "orders", "url": "https://crm.example/hook"}
OUTBOX = {"name": "shop", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"}


class World:
    """A queue whose conditions are kept from one look to the next."""

    def __init__(self, **spec: Any) -> None:
        self.resource = own(EVENT_QUEUE, "mq", {"streams": [ORDERS], **spec})
        self.dispatchers = {"a": True, "b": True}

    def look(self, *reports: dict[str, Any]) -> Condition | None:
        """What is told, if it is anything. A report: `webhooks` by name, `outboxes`."""
        made = []
        for each in reports:
            hooks = [{"name": "crm", "state": "Closed"} | one for one in each.get("webhooks", [])]
            outboxes = [{"name": "shop"} | one for one in each.get("outboxes", [])]
            made.append(DispatcherReport.model_validate({"webhooks": hooks, "outboxes": outboxes}))
        pods = [pod(MQ, name, "dispatcher", on="node-zone-a", ready=ready) for name, ready in self.dispatchers.items()]
        view = View(self.resource, keyed(*pods), {}, NOW)
        told = deliveries(EventQueueSpec.model_validate(self.resource["spec"]), view, made)
        before = self.resource["status"].get("conditions") or []
        self.resource["status"]["conditions"] = merge(before, told, generation=1, now="2026-05-01T12:00:00Z")
        assert len(told) <= 1
        return told[0] if told else None


def hook(**said: Any) -> dict[str, Any]:
    return {"webhooks": [said]}


def outbox(**said: Any) -> dict[str, Any]:
    return {"outboxes": [said]}


def ago(seconds: float) -> str:
    return to_text(NOW - timedelta(seconds=seconds))


def told(condition: Condition | None) -> tuple[bool | None, str]:
    assert condition
    return condition.status, condition.reason


def test_nothing_is_told_where_nothing_is_declared() -> None:
    assert World().look(hook()) is None


def test_all_are_delivered_or_paused() -> None:
    world = World(webhooks=[HOOK, HOOK | {"name": "later", "enabled": False}])
    found = world.look(hook())
    assert found == Condition(WEBHOOKS_DELIVERING, True, "Delivering", "1 webhook is delivered; 1 other is paused.")


DISABLED = {"state": "Disabled", "reason": "the endpoint answered 410 (Gone): it wants nothing more"}


@pytest.mark.parametrize(
    ("said", "reason", "sentence"),
    [
        (hook(**DISABLED, disabledAt=ago(60)), "WebhookDisabled", "kubectl baas webhook enable mq crm -n prod."),
        (hook(state="Disabled", reason="no secret"), "WebhookMisconfigured", "Webhook crm: no secret. It goes on by itself"),
        (hook(state="Open", reason="answered 503", failingSince=ago(130)), "WebhookFailing", f"since {ago(130)}: answered 503."),
        (hook(state="HalfOpen", failingSince=ago(130)), "WebhookFailing", "see to the endpoint"),
        (hook(reason="answered 401", failingSince=ago(700)), "WebhookFailing", "answered 401"),
        (hook(reason="JetStream refuses it", unheardSeconds=70.0), "WebhookUnheard", "JetStream refuses it"),
    ],
)  # fmt: skip
def test_what_lasts_is_told_with_what_helps(said: dict[str, Any], reason: str, sentence: str) -> None:
    found = World(webhooks=[HOOK]).look(said)
    assert told(found) == (False, reason)
    assert found
    assert sentence in found.message


@pytest.mark.parametrize(
    "said",
    [
        hook(consecutiveFailures=1, reason="answered 500"),
        hook(state="Open", reason="answered 503"),
        hook(state="Open", failingSince=ago(70)),
        hook(reason="answered 401", failingSince=ago(500)),
        hook(reason="JetStream does not answer", unheardSeconds=5.0),
    ],
)
def test_what_passes_is_nothing(said: dict[str, Any]) -> None:
    assert told(World(webhooks=[HOOK]).look(said)) == (True, "Delivering")


def test_one_dispatcher_that_hears_nothing_is_no_failure_of_the_webhook() -> None:
    assert told(World(webhooks=[HOOK]).look(hook(unheardSeconds=300.0), hook())) == (True, "Delivering")


def test_a_dispatcher_that_has_just_started_does_not_turn_it() -> None:
    world = World(webhooks=[HOOK])
    failing = hook(reason="answered 401", failingSince=ago(700))
    assert told(world.look(failing, hook())) == (False, "WebhookFailing")


def test_the_worst_is_told_first_and_all_are_named() -> None:
    world = World(webhooks=[HOOK, *(HOOK | {"name": each} for each in ("b", "c", "well"))])
    reports = [{"name": "b", **DISABLED, "disabledAt": ago(9)}, {"name": "c", "state": "Open", "failingSince": ago(900)}, {"name": "well"}]
    found = world.look({"webhooks": [{"state": "Disabled", "reason": "no secret"}, *reports]})
    assert found
    assert found.message.startswith("Webhook b is disabled")
    assert found.message.endswith("Nor are these delivered, as status.webhooks says: c, crm.")


def test_nobody_answers_and_what_was_told_last_stays() -> None:
    world = World(webhooks=[HOOK])
    assert told(world.look()) == (None, "WebhookStarting")
    world.look(hook(**DISABLED, disabledAt=ago(9)))
    assert told(world.look()) == (False, "WebhookDisabled")
    world.look(hook())
    assert told(world.look()) == (True, "Delivering")


def test_one_that_was_just_declared_is_not_called_well() -> None:
    world = World(webhooks=[HOOK])
    world.look(hook())
    world.resource["spec"]["webhooks"].append(HOOK | {"name": "new"})
    found = world.look(hook())
    assert told(found) == (None, "WebhookStarting")
    assert found
    assert "new" in found.message


def test_without_a_dispatcher_nothing_is_delivered() -> None:
    world = World(webhooks=[HOOK])
    world.look(hook())
    world.dispatchers = {"a": False}
    assert told(world.look()) == (False, "NoDispatcher")
    world.dispatchers = {"a": True}
    assert told(world.look()) == (None, "WebhookStarting"), "it is no word of a dispatcher's, and does not stay"


# --- outboxes -------------------------------------------------------------------------------------------------------------

RELAYS = {"state": "relaying", "progress": True}


def test_an_outbox_that_is_relayed() -> None:
    found = World(outboxes=[OUTBOX]).look(outbox(state="waiting"), outbox(**RELAYS, backlog=9, oldestSeconds=900.0))
    assert found == Condition(OUTBOXES_RELAYING, True, "Relaying", "1 outbox is relayed.")


@pytest.mark.parametrize(
    "said",
    [
        outbox(state="failing", message="no table", failingSeconds=61.0),
        outbox(
            state="relaying", message="Stream orders takes no messages just now: no table", progress=False, backlog=3, oldestSeconds=61.0
        ),
    ],
)
def test_what_lasts_of_an_outbox_is_told(said: dict[str, Any]) -> None:
    found = World(outboxes=[OUTBOX]).look(said, outbox(state="waiting"))
    assert told(found) == (False, "OutboxFailing")
    assert found
    assert "no table. Its rows wait" in found.message


def test_a_failover_of_the_database_turns_nothing() -> None:
    world = World(outboxes=[OUTBOX])
    assert told(world.look(outbox(state="starting"))) == (None, "OutboxStarting")
    world.look(outbox(**RELAYS))
    world.resource["status"]["outboxes"] = [{"name": "shop", "state": "Relaying"}]
    for gap in (
        [outbox(state="failing", failingSeconds=8.0)] * 2, [outbox(state="starting"), outbox(state="waiting")],
        [outbox(state="relaying", progress=False, backlog=2, oldestSeconds=8.0)],
    ):  # fmt: skip
        assert told(world.look(*gap)) == (True, "Relaying")
    world.look(outbox(state="failing", failingSeconds=80.0))
    world.resource["status"]["outboxes"] = [{"name": "shop", "state": "Failing"}]
    assert told(world.look(outbox(state="relaying", progress=False))) == (False, "OutboxFailing"), "until rows become messages"
    assert told(world.look(outbox(**RELAYS))) == (True, "Relaying")


# --- the queue ------------------------------------------------------------------------------------------------------------


def test_the_queue_is_ready_all_the_same() -> None:
    mq = Nats(ORDERS, webhooks=[HOOK], outboxes=[OUTBOX])
    plan = mq.plan()
    assert not status(plan, WEBHOOKS_DELIVERING)
    assert not status(plan, OUTBOXES_RELAYING)
    assert "No dispatcher is ready" in message(plan, WEBHOOKS_DELIVERING)
    assert message(plan, READY) == message(Nats(ORDERS).plan(), READY)
    assert status(plan, READY)
