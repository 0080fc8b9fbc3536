"""The signing secret of a webhook from one rotation to the next: what is signed at any moment, some who verify know."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from baas_operator.api.kinds import EVENT_QUEUE, SECRET
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.build import queue_secrets
from baas_operator.desired.queue.dispatcher import OVERLAP_SECONDS
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, OVERLAP_ANNOTATION
from baas_operator.dispatcher.signing import keys_of
from baas_operator.engine import applier
from baas_operator.engine.store import Store
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.logins import with_due_slots
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, NOW, keyed, own, owner

MQ = owner(EVENT_QUEUE, "mq")
SPEC = EventQueueSpec.model_validate({
    "streams": [{"name": "orders", "subjects": ["orders.>"]}],
    "webhooks": [{"name": "crm", "stream": "orders", "url": "https://crm.example/hook"}],
})  # fmt: skip
REQUEST = next(each for each in queue_secrets(SPEC, MQ, "PEM") if each.name == "mq-webhook-crm")


class World:
    """The Secret at the API server, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api, self.store, self.now = StandInApi(), Store(), NOW
        monkeypatch.setattr(applier.time, "time", self.clock)

    def clock(self) -> float:
        return self.now.timestamp()

    async def live(self) -> Manifest:
        found = await self.api.get(SECRET, NAMESPACE, REQUEST.name)
        assert found is not None
        return found

    async def turn(self) -> bool:
        """A reconcile of the Secret; whether something of it was due."""
        (request,) = with_due_slots(View(own(EVENT_QUEUE, "mq"), keyed(await self.live()), {}, self.now), [REQUEST])
        await applier.ensure_secret(self.api, self.store, request)  # type: ignore[arg-type]
        return request.replaces is not None

    async def signing(self) -> list[str]:
        text = secret_text(await self.live(), "secret") or ""
        assert keys_of(text), "a dispatcher understands it"
        return text.split()

    async def annotate(self, **annotations: str | None) -> None:
        self.store.put(await self.api.merge(SECRET, NAMESPACE, REQUEST.name, {"metadata": {"annotations": annotations}}))

    async def ask(self) -> None:
        await self.annotate(**{EXPIRES_ANNOTATION: "2020-01-01T00:00:00Z"})

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    await applier.ensure_secret(made.api, made.store, REQUEST)  # type: ignore[arg-type]
    return made


async def test_both_sign_for_the_overlap_and_then_the_old_one_is_dropped(world: World) -> None:
    (first,) = await world.signing()
    assert not await world.turn(), "nobody asked"
    await world.ask()

    assert await world.turn()
    second, old = await world.signing()
    assert old == first
    assert second != first
    assert EXPIRES_ANNOTATION not in (await world.live())["metadata"]["annotations"]

    world.passes(OVERLAP_SECONDS - 1)
    assert not await world.turn()
    assert await world.signing() == [second, first]
    world.passes(1)
    assert await world.turn()
    assert await world.signing() == [second]
    assert OVERLAP_ANNOTATION not in (await world.live())["metadata"]["annotations"]
    assert not await world.turn(), "nothing is asked for any more"


async def test_another_rotation_waits_for_the_overlap_unless_that_is_ended_by_hand(world: World) -> None:
    await world.ask()
    await world.turn()
    second, first = await world.signing()
    await world.ask()
    assert not await world.turn()

    await world.annotate(**{OVERLAP_ANNOTATION: to_text(world.now)})
    assert await world.turn()
    assert await world.signing() == [second], "a secret that leaked signs nothing from then on"
    assert await world.turn(), "and what was asked for meanwhile is done"
    third, kept = await world.signing()
    assert kept == second
    assert third not in (first, second)


async def test_a_secret_that_is_deleted_in_the_middle_comes_back_and_the_old_one_still_goes(world: World) -> None:
    await world.ask()
    await world.turn()
    before, live = await world.signing(), await world.live()
    world.store.put(own(EVENT_QUEUE, "mq"))
    await world.api.delete(SECRET, NAMESPACE, REQUEST.name, uid=live["metadata"]["uid"])
    world.store.drop(live)
    await applier.ensure_secret(world.api, world.store, REQUEST)  # type: ignore[arg-type]
    assert await world.signing() == before
    world.passes(OVERLAP_SECONDS)
    assert await world.turn()
    assert await world.signing() == before[:1]


async def test_several_that_a_hand_wrote_stay_as_they_are(world: World) -> None:
    (first,) = await world.signing()
    two = base64.b64encode(f"{first} {first}".encode()).decode()
    world.store.put(await world.api.merge(SECRET, NAMESPACE, REQUEST.name, {"metadata": {}, "data": {"secret": two}}))
    world.passes(10 * OVERLAP_SECONDS)
    assert not await world.turn()
    assert await world.signing() == [first, first]
