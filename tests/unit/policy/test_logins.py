"""Passwords of a queue's users from one rotation to the next, told by what the Secret says after each write; and what counts meanwhile."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from baas_operator.api.kinds import EVENT_QUEUE, SECRET
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.build import OVERLAP_SECONDS, queue_secrets
from baas_operator.desired.queue.users import Login
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, NEXT, OVERLAP_ANNOTATION, PREPARED_ANNOTATION, PREVIOUS
from baas_operator.engine import applier
from baas_operator.engine.store import Store
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.logins import LEARN_SECONDS, logins, with_due_slots
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, NOW, keyed, own, owner

MQ = owner(EVENT_QUEUE, "mq")
SPEC = EventQueueSpec.model_validate({"users": [{"name": "shop"}]})
REQUEST = next(each for each in queue_secrets(SPEC, MQ, "PEM") if each.name == "mq-user-shop")
PAST = {EXPIRES_ANNOTATION: "2020-01-01T00:00:00Z"}


class World:
    """A Secret at the API server, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api, self.store, self.now = StandInApi(), Store(), NOW
        monkeypatch.setattr(applier.time, "time", self.clock)

    def clock(self) -> float:
        return self.now.timestamp()

    async def live(self) -> Manifest:
        found = await self.api.get(SECRET, NAMESPACE, REQUEST.name)
        assert found is not None
        return found

    async def view(self) -> View:
        return View(own(EVENT_QUEUE, "mq"), keyed(await self.live()), {}, self.now)

    async def turn(self) -> bool:
        """A reconcile of the Secret; whether something of it was due."""
        view = await self.view()
        (request,) = with_due_slots(view, [REQUEST])
        await applier.ensure_secret(self.api, self.store, request)  # type: ignore[arg-type]
        return request.replaces is not None

    async def logins(self) -> tuple[Login, ...]:
        return logins(await self.view(), ["shop"])["shop"]

    async def said(self) -> Login:
        """What a client reads."""
        live = await self.live()
        return Login(secret_text(live, "username") or "", secret_text(live, "password") or "")

    async def annotate(self, **annotations: str | None) -> None:
        self.store.put(await self.api.merge(SECRET, NAMESPACE, REQUEST.name, {"metadata": {"annotations": annotations}}))

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    await applier.ensure_secret(made.api, made.store, REQUEST)  # type: ignore[arg-type]
    return made


async def test_who_reads_the_secret_at_any_moment_is_let_in(world: World) -> None:
    first = await world.said()
    assert await world.logins() == (first,)
    assert not await world.turn()
    await world.annotate(**PAST)

    assert await world.turn()
    assert await world.said() == first, "nobody is told of a password that no server knows yet"
    second = Login("shop-alt", secret_text(await world.live(), NEXT) or "")
    assert await world.logins() == (first, second)
    world.passes(LEARN_SECONDS - 1)
    assert not await world.turn()

    world.passes(1)
    assert await world.turn()
    assert await world.said() == second
    assert await world.logins() == (second, first)
    live = await world.live()
    uri = urlsplit(secret_text(live, "uri") or "")
    assert (uri.scheme, uri.username, uri.password) == ("tls", "shop-alt", second.password)
    assert set(live["data"]) == {"username", "password", "uri", "ca.crt", PREVIOUS}
    told = live["metadata"]["annotations"]
    assert {key for key in told if key.startswith("baas-operator.io/")} & {EXPIRES_ANNOTATION, PREPARED_ANNOTATION} == set()
    assert not await world.turn(), "nothing is asked for any more"
    assert await world.said() == second, "what is said beside the password follows the name that it has"

    world.passes(OVERLAP_SECONDS - 1)
    assert await world.logins() == (second, first)
    world.passes(1)
    assert await world.logins() == (second,)


async def test_the_names_take_turns(world: World) -> None:
    seen = []
    for _ in range(3):
        await world.annotate(**PAST)
        assert await world.turn()
        world.passes(LEARN_SECONDS)
        assert await world.turn()
        seen.append((await world.said()).username)
        world.passes(OVERLAP_SECONDS)
    assert seen == ["shop-alt", "shop", "shop-alt"]


async def test_another_rotation_waits_for_the_overlap_unless_that_is_ended_by_hand(world: World) -> None:
    """The next password takes the name of the one before: whoever still has that would be turned away."""
    await world.annotate(**PAST)
    await world.turn()
    world.passes(LEARN_SECONDS)
    await world.turn()
    old = (await world.logins())[1]
    await world.annotate(**PAST)
    assert not await world.turn()

    await world.annotate(**{OVERLAP_ANNOTATION: to_text(world.now)})
    assert old not in await world.logins(), "a password that leaked is refused from then on"
    assert await world.turn()


@pytest.mark.parametrize("asked", ["while servers learn the first one", "while the one before still counts"])
async def test_another_rotation_that_is_asked_for_during_one_is_done_after_it(world: World, asked: str) -> None:
    await world.annotate(**PAST)
    await world.turn()
    if asked == "while servers learn the first one":
        await world.annotate(**PAST)
    world.passes(LEARN_SECONDS)
    assert await world.turn()
    if asked == "while the one before still counts":
        await world.annotate(**PAST)
    second, first = await world.logins()
    world.passes(OVERLAP_SECONDS - 1)
    assert not await world.turn()
    assert await world.logins() == (second, first)

    world.passes(1)
    assert await world.turn(), "it was kept"
    world.passes(LEARN_SECONDS)
    assert await world.turn()
    third = await world.said()
    assert third.username == "shop"
    assert third.password not in (first.password, second.password)
    world.passes(OVERLAP_SECONDS)
    assert not await world.turn(), "once for each time that it was asked for"


async def test_a_rotation_that_is_set_for_later_while_another_is_done_happens_then(world: World) -> None:
    await world.annotate(**PAST)
    await world.turn()
    later = to_text(world.now + timedelta(days=30))
    await world.annotate(**{EXPIRES_ANNOTATION: later})
    world.passes(LEARN_SECONDS)
    await world.turn()
    assert (await world.live())["metadata"]["annotations"][EXPIRES_ANNOTATION] == later
    world.passes(30 * 24 * 3600)
    assert await world.turn()


@pytest.mark.parametrize("before", [EXPIRES_ANNOTATION, PREPARED_ANNOTATION])
async def test_a_hand_that_takes_an_annotation_away_leaves_nothing_half_done(world: World, before: str) -> None:
    await world.annotate(**PAST)
    await world.turn()
    await world.annotate(**{before: None})
    world.passes(LEARN_SECONDS)
    assert await world.turn()
    assert (await world.said()).username == "shop-alt"


async def test_a_secret_that_is_deleted_in_the_middle_comes_back_with_what_was_said_of_it(world: World) -> None:
    await world.annotate(**PAST)
    await world.turn()
    world.passes(LEARN_SECONDS)
    await world.turn()
    counted = await world.logins()
    live = await world.live()
    world.store.put(own(EVENT_QUEUE, "mq"))
    await world.api.delete(SECRET, NAMESPACE, REQUEST.name, uid=live["metadata"]["uid"])
    world.store.drop(live)
    await applier.ensure_secret(world.api, world.store, REQUEST)  # type: ignore[arg-type]
    assert await world.logins() == counted


async def test_the_route_s_password_is_none_of_this() -> None:
    route = next(each for each in queue_secrets(SPEC, MQ, "PEM") if each.name == "mq-user-route")
    assert route.alternate is None
    assert not route.rotates


def test_what_is_due_is_one_version_of_the_secret() -> None:
    live = MQ.child("v1", "Secret", REQUEST.name, "nats", data={"username": base64.b64encode(b"admin").decode(), "password": "cA=="})
    live["metadata"]["resourceVersion"] = "7"
    live["metadata"]["annotations"] = PAST
    view = View(own(EVENT_QUEUE, "mq"), keyed(live), {}, NOW)
    (due,) = with_due_slots(view, [REQUEST])
    assert due == replace(REQUEST, replaces="7")
    assert logins(view, ["shop"])["shop"] == (Login("shop", "p"),), "a hand can not make a user another one's"
