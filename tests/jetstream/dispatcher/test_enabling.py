"""A webhook that its endpoint had disabled is enabled again by an Operation, on servers and dispatchers as the operator makes them,
whenever the operator is killed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiohttp import web
from nats.aio.client import Client as Nats

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue import names
from baas_operator.engine.errors import Waiting
from baas_operator.engine.webhooks import enable_webhook
from baas_operator.jetstream.requests import JetStreamError, call
from baas_operator.observe.conditions import WEBHOOKS_DELIVERING, Condition
from baas_operator.observe.view import View
from baas_operator.policy.deliveries import deliveries
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.whole import Pod, Whole, eventually
from tests.jetstream.users.secured import OWNER
from tests.unit.objects import keyed, owner, pod, secret
from tests.unit.policy.dead_letters import World


def enabling(monkeypatch: pytest.MonkeyPatch, dispatchers: Whole, webhook: str) -> World:
    servers = dispatchers.servers
    monkeypatch.setattr(names, "CLIENT_PORT", servers.client_ports[servers.names[0]])
    world = World("enable-webhook", stream=None, queue=OWNER.name, webhook=webhook)
    assert world.queue
    world.queue["metadata"]["namespace"] = OWNER.namespace
    world.queue["spec"] = servers.spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    whose, (login, *_) = owner(EVENT_QUEUE, OWNER.name), servers.logins[names.ADMIN]
    world.children |= keyed(
        secret(whose, names.user_secret(OWNER.name, names.ADMIN), names.COMPONENT, username=login.username, password=login.password),
        secret(whose, names.ca(OWNER.name), names.COMPONENT, **{"ca.crt": servers.authority[0]}),
    )
    return world


async def condition(world: World, pods: list[Pod]) -> Condition:
    """What the operator tells of webhooks, from what the dispatchers say."""
    assert world.queue
    made = [pod(owner(EVENT_QUEUE, OWNER.name), f"d-{number}", names.DISPATCHER, on="node") for number in range(len(pods))]
    view = View(world.queue, keyed(*made), {}, datetime.now(UTC))
    told = deliveries(EventQueueSpec.model_validate(world.queue["spec"]), view, [await each.report() for each in pods])
    return next(each for each in told if each.type == WEBHOOKS_DELIVERING)


async def state(pod: Pod, webhook: str) -> tuple[str, bool]:
    """Its state, and whether it is told since when it is disabled."""
    found = [each for each in (await pod.report()).webhooks if each.name == webhook]
    return (found[0].state.value, found[0].disabled_at is not None) if found else ("", False)


@pytest.mark.parametrize("killed_at", [None, 0, 1, 2])
async def test_it_is_enabled_whenever_the_operator_is_killed(
    dispatchers: Whole, admin: Nats, endpoint: HttpEndpoint, monkeypatch: pytest.MonkeyPatch, killed_at: int | None
) -> None:
    endpoint.answer = lambda _: web.Response(status=410)
    pods = [dispatchers.start(), dispatchers.start()]
    await admin.publish("orders.old", b"refused")
    for each in pods:

        async def disabled(one: Pod = each) -> bool:
            return await state(one, "plain") == ("Disabled", True)

        await eventually(disabled, "both know")
    await admin.publish("orders.old", b"waits")
    endpoint.answer = lambda _: web.Response(status=204)

    world = enabling(monkeypatch, dispatchers, "plain")
    told = await condition(world, pods)
    assert (told.status, told.reason) == (False, "WebhookDisabled")
    assert f"kubectl baas webhook enable {OWNER.name} plain -n {OWNER.namespace}." in told.message
    for turn in range(5):
        await world.reconcile(enable_webhook, killed=turn == killed_at)
    assert world.status["phase"] == "Succeeded"
    said = world.status["conditions"][0]["message"]
    assert "It was disabled: the endpoint answered 410" in said or killed_at == 1, "what was done and not noted is done again"
    await eventually(lambda: [each.payload for each in endpoint.taken] == [b"waits"], "what waited is delivered, once")
    for each in pods:

        async def closed(one: Pod = each) -> bool:
            return await state(one, "plain") == ("Closed", False)

        await eventually(closed, "both go on")

    assert (await condition(world, pods)).reason == "Delivering"

    again = enabling(monkeypatch, dispatchers, "plain")
    for _ in range(3):
        await again.reconcile(enable_webhook)
    assert again.status["phase"] == "Succeeded", "twice is no harm"
    assert dispatchers.violations() == []


async def test_what_can_not_be_done_waits_or_is_refused(dispatchers: Whole, admin: Nats, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = enabling(monkeypatch, dispatchers, "nobody")
    await nobody.reconcile(enable_webhook)
    assert nobody.status["phase"] == "Refused"

    early = enabling(monkeypatch, dispatchers, "plain")
    for _ in range(3):
        await early.reconcile(enable_webhook)
    assert early.status["phase"] == "Succeeded", "before any dispatcher has noted anything"
    try:
        kept = (await call(admin, "$JS.API.STREAM.INFO.KV_BAAS_webhooks"))["config"]
        assert kept["num_replicas"] == 1, "as many as dispatchers would have made"
    except JetStreamError as error:
        pytest.fail(f"the store that dispatchers would make was not made: {error}")

    away = enabling(monkeypatch, dispatchers, "plain")
    await away.reconcile(enable_webhook)
    monkeypatch.setattr(names, "CLIENT_PORT", 1)
    with pytest.raises(Waiting, match="did not answer"):
        await away.reconcile(enable_webhook)
