"""Operations that enable a webhook again: what can not be is refused with a sentence, and what was done and not noted is done again."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.operation import OperationPhase
from baas_operator.observe.conditions import READY
from baas_operator.policy.operation import carried_on
from baas_operator.policy.operations.common import with_answer
from baas_operator.policy.plan import EnableWebhook, Forgotten
from tests.unit.objects import message, reason
from tests.unit.policy.dead_letters import STREAMS, World

HOOK = {"name": "partner", "stream": "orders", "url": "https://partner.example/hook"}


def enabling(webhook: str = "partner", *, status: dict[str, Any] | None = None, **hook: Any) -> World:
    world = World("enable-webhook", stream=None, webhook=webhook)
    assert world.queue
    world.queue["spec"] = {"streams": STREAMS, "webhooks": [HOOK | hook, HOOK | {"name": "other"}]}
    world.queue["status"] = {"webhooks": [{"name": "partner"} | status]} if status else {}
    return world


def test_from_the_wish_to_the_end() -> None:
    world = enabling(status={"state": "Disabled", "reason": "the endpoint answered 410", "disabledAt": "2026-05-01T11:00:00Z"})
    assert world.step().effects == (), "the intent is written down before anything is done"
    plan = world.plan()
    assert plan.effects == (EnableWebhook("events", "partner"),)
    assert plan == world.plan(), "whoever is killed now asks for the same again"

    world.wait(1.5)
    done = carried_on(world.view, plan, Forgotten("the endpoint answered 410"))
    world.write(done)
    assert (world.status["phase"], reason(done, READY)) == (OperationPhase.SUCCEEDED, "WebhookEnabled")
    assert message(done, READY) == (
        "Nothing is noted against webhook partner any more: it is delivered within seconds. It was disabled: the endpoint answered 410."
    )
    assert world.status["result"]["durationSeconds"] == 1.5
    assert all(each["finishedAt"] for each in world.status["steps"])
    assert world.plan().effects == ()


def test_where_nothing_was_noted_it_succeeds_as_well() -> None:
    world = enabling()
    world.step()
    done = carried_on(world.view, world.plan(), Forgotten(None))
    assert "was disabled" not in message(done, READY)
    assert done.status["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("world", "why", "sentence"),
    [
        (enabling("nobody"), "WebhookNotFound", "events has no webhook 'nobody'; those that it has are other, partner: check"),
        (enabling(enabled=False), "WebhookPaused", "partner is paused by `enabled: false`: set that to true in the spec of events."),
        (
            enabling(status={"state": "Disabled", "reason": "its secret is not there"}), "WebhookMisconfigured",
            "Webhook partner: its secret is not there. It goes on by itself once that is put right.",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused(world: World, why: str, sentence: str) -> None:
    told = world.step()
    assert (world.status["phase"], reason(told, READY)) == ("Refused", why)
    assert sentence in message(told, READY)


def test_why_it_waits_is_told_and_after_its_time_it_is_given_up() -> None:
    world = enabling()
    world.step()
    world.write(with_answer(world.plan(), "JetStream did not answer: TimeoutError"))
    assert "Last answer: JetStream did not answer" in message(world.plan(), READY)
    world.wait(70)
    told = world.step()
    assert (world.status["phase"], reason(told, READY)) == ("Failed", "TimedOut")
    assert "could not be forgotten in 60 s" in message(told, READY)
    assert "JetStream did not answer" in message(told, READY)
