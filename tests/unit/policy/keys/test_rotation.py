"""A key from its drawing to its end, told by what is written, and by who takes which token meanwhile."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from baas_operator.api.kinds import SECRET
from baas_operator.desired.key_set import MAX_PREVIOUS
from baas_operator.desired.secrets import EXPIRES_ANNOTATION
from baas_operator.engine import key_material, signing
from baas_operator.observe.moments import to_text
from baas_operator.policy.keys import LEARN_SECONDS
from tests.unit.objects import NAMESPACE

from .world import DRAIN_SECONDS, PUBLIC, SIGNING, World, ready, world

assert world, "a backend that serves, a fixture"

HOUR, DAY = 3600, 86400
OVERLAP = 168 * HOUR


async def learnt(world: World) -> None:
    """A next key that was drawn is switched to."""
    await world.settle()
    world.passes(LEARN_SECONDS)
    await world.settle()


async def test_the_phases_of_a_rotation(world: World) -> None:
    first = world.held.current.kid
    user = world.sign_in(world.signers()[0])
    anon = world.text(PUBLIC, "anon")
    status = world.plan().status
    assert status
    assert (status.phase, [each.state for each in status.set]) == ("Stable", ["current"])
    assert world.plan().progress is None

    # Published: it is drawn, and signs nothing.
    await world.ask()
    assert await world.reconcile()
    assert world.held.current.kid == first
    second = world.held.next.kid if world.held.next else ""
    assert [each["kid"] for each in json.loads(world.text(PUBLIC, "jwks.json"))["keys"]] == [first, second]
    assert EXPIRES_ANNOTATION not in world.live(SIGNING)["metadata"]["annotations"], "the wish is granted"
    assert world.text(PUBLIC, "anon") == anon, "no client needs another"
    plan = world.plan()
    assert plan.status
    assert plan.status.phase == "Publishing"
    assert plan.progress
    assert plan.progress.message == f"Key {second} is going to sign; not all know it yet: shop-auth, shop-rest."

    # Not proven while one pod of one Deployment is old.
    world.passes(10 * LEARN_SECONDS)
    await world.reconcile()
    for program in world.programs:
        world.roll(program)
    await world.reconcile()
    assert world.held.next
    assert world.held.next.proven is None
    await world.settle()
    assert world.held.next.proven == to_text(world.now)
    assert world.plan().wake_seconds == LEARN_SECONDS

    # Switched once who loads a mounted file has had the time.
    world.passes(LEARN_SECONDS - 1)
    await world.settle()
    assert world.held.current.kid == first
    world.passes(1)
    await world.reconcile()
    assert (world.held.current.kid, world.held.next, [each.kid for each in world.held.previous]) == (second, None, [first])
    assert world.text(PUBLIC, "anon") != anon
    assert world.taken(world.text(PUBLIC, "anon")) == world.taken(anon) == world.taken(user.text) == {True}
    assert {each.signer["kid"] for each in world.signers() if each.signer} == {first}, "pods sign with it until they are replaced"
    plan = world.plan()
    assert plan.status
    assert plan.status.phase == "Switching"
    assert plan.status.set[1].until is None, "nobody knows yet when the last token of the old key is issued"

    # Settled when no pod signs with the old one any more.
    await world.settle()
    settled = world.now
    assert {each.signer["kid"] for each in world.signers() if each.going is None and each.signer} == {second}
    plan = world.plan()
    assert plan.status
    assert plan.status.phase == "Overlapping"
    assert plan.status.set[1].until == to_text(settled + timedelta(seconds=OVERLAP))
    assert plan.progress is None
    assert plan.wake_seconds == OVERLAP

    # Retired after the overlap.
    world.passes(OVERLAP - 1)
    await world.settle()
    assert world.taken(anon) == {True}
    world.passes(1)
    await world.settle()
    world.passes(LEARN_SECONDS)
    assert world.held.kids == (second,)
    assert world.taken(anon) == {False}
    assert world.taken(world.text(PUBLIC, "anon")) == {True}
    assert first not in world.text(SIGNING, "gotrue-keys.json")
    assert [(each.kid, each.revoked) for each in world.held.gone] == [(first, False)]
    plan = world.plan()
    assert plan.status
    assert plan.status.phase == "Stable"
    assert plan.wake_seconds is None


async def test_a_file_that_still_has_the_old_set_is_waited_for(world: World) -> None:
    """An operator that is killed after it drew, and before it wrote what pods mount."""
    await world.ask()
    await world.draw()
    for program in world.programs:
        program.annotations["baas-operator.io/key-ids"] = ",".join(world.held.kids)
    plan = world.plan()
    assert plan.progress
    assert plan.progress.message.endswith("not all know it yet: ConfigMap shop-gateway.")
    await world.draw()
    assert world.held.next
    assert world.held.next.proven is None


async def test_at_rest_nothing_is_written(world: World) -> None:
    world.api.writes.clear()
    for _ in range(3):
        await world.reconcile()
        world.passes(DAY)
    assert world.api.writes == []


async def test_what_is_told_has_nothing_secret(world: World) -> None:
    await world.ask()
    await learnt(world)
    private = [each["jwk"]["d"] for each in json.loads(world.text(SIGNING, "keys.json"))["keys"]]
    plan = world.plan()
    assert len(private) == 2
    told = [plan, world.held, world.live(SIGNING)["metadata"], world.live(PUBLIC), world.text(PUBLIC, "jwks.json")]
    assert not any(each in str(told) for each in private)


async def test_gotrue_is_given_one_key_to_sign_and_of_the_others_no_private_part(world: World) -> None:
    await world.ask()
    await learnt(world)
    first, second = json.loads(world.text(SIGNING, "gotrue-keys.json"))
    assert (first["kid"], first["key_ops"], "d" in first) == (world.held.current.kid, ["sign", "verify"], True)
    assert (second["key_ops"], "d" in second) == (["verify"], False)
    assert {first["alg"], second["alg"], first["use"], second["use"]} == {"ES256", "sig"}


async def test_a_rotation_that_is_asked_for_during_one_waits(world: World) -> None:
    await world.ask()
    await world.settle()
    second = world.held.next
    await world.ask()
    await world.settle()
    assert world.held.next
    assert second
    assert world.held.next.kid == second.kid
    world.passes(LEARN_SECONDS)
    await world.reconcile()
    await world.reconcile()
    assert world.held.next is None, "it is switched to, and some pods still sign with the first"
    await world.settle()
    assert world.held.next, "now it is the other's turn"
    assert world.held.current.kid == second.kid


async def test_keys_that_still_count_are_not_without_number(world: World) -> None:
    for _ in range(MAX_PREVIOUS):
        await world.ask()
        await learnt(world)
    assert len(world.held.previous) == MAX_PREVIOUS
    await world.ask()
    await learnt(world)
    assert (len(world.held.previous), world.held.next) == (MAX_PREVIOUS, None)
    world.passes(world.plan().wake_seconds or 0)
    await world.settle()
    assert world.held.next, "one is retired, and what was asked for is done"


async def test_a_full_set_of_keys_as_they_are_drawn_is_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are ten times as large as the ones of the other tests. A Secret that is seen in part would be taken for one without a set."""
    monkeypatch.setattr(signing, "draw", key_material.draw)
    world, anons = await ready(), []
    for _ in range(MAX_PREVIOUS):
        anons.append(world.text(PUBLIC, "anon"))
        await world.ask()
        await learnt(world)
    await world.ask()
    await world.settle()
    held = world.held
    assert len(held.previous) == MAX_PREVIOUS
    assert [world.taken(each) for each in anons] == [{True}] * MAX_PREVIOUS
    world.api.writes.clear()
    await world.reconcile()
    assert world.api.writes == []

    live = world.live(SIGNING)
    await world.api.delete(SECRET, NAMESPACE, SIGNING, uid=live["metadata"]["uid"])
    world.store.drop(live)
    await world.settle()
    assert world.held == held, "and it comes back as a whole"


async def told_and_left_alone(world: World) -> None:
    """The set can not be read, and nothing is written for it."""
    world.api.writes.clear()
    await world.reconcile()
    plan = world.plan()
    assert plan.stalled
    assert plan.stalled.reason == "KeySetUnreadable"
    assert world.api.writes == []


async def test_a_set_that_is_among_more_than_is_looked_at_is_told_and_left_alone(world: World) -> None:
    """It is not to be taken for none: the key in private.pem would be all that is left of it."""
    held = json.loads(world.text(SIGNING, "keys.json"))
    text = base64.b64encode(json.dumps(held | {"more": "x" * 70_000}).encode()).decode()
    world.store.put(await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": {"keys.json": text}}))
    await told_and_left_alone(world)


async def test_others_are_served_while_a_key_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    served = threading.Event()

    def draw() -> ec.EllipticCurvePrivateKey:
        assert served.wait(5)
        return ec.generate_private_key(ec.SECP256R1())

    monkeypatch.setattr(signing, "draw", draw)
    drawing = asyncio.create_task(World().draw())
    await asyncio.sleep(0)
    served.set()
    await drawing


async def test_a_schedule(world: World) -> None:
    first = world.held.current
    world.spec(rotationDays=30)
    plan = world.plan()
    assert plan.status
    assert plan.status.next_rotation == "2026-05-31T12:00:00Z"
    assert plan.wake_seconds == 30 * DAY
    world.passes(30 * DAY - 1)
    await world.settle()
    assert world.held.keys == (first,)
    world.passes(1)
    await learnt(world)
    assert world.held.previous[0].kid == first.kid
    assert world.held.current.since == to_text(world.now)


async def test_a_wish_for_later_and_one_that_is_no_time(world: World) -> None:
    await world.annotate(**{EXPIRES_ANNOTATION: to_text(world.now + timedelta(days=2))})
    assert world.plan().wake_seconds == 2 * DAY
    await world.settle()
    assert world.held.next is None
    await world.annotate(**{EXPIRES_ANNOTATION: "soon"})
    plan = world.plan()
    assert plan.stalled
    assert plan.stalled.reason == "KeyNotRotated"
    assert "its value is no time: write one such as" in plan.stalled.message


async def test_a_wish_for_later_outlives_a_rotation_by_schedule(world: World) -> None:
    later = to_text(world.now + timedelta(days=60))
    await world.annotate(**{EXPIRES_ANNOTATION: later})
    world.spec(rotationDays=30)
    world.passes(30 * DAY)
    await learnt(world)
    assert world.held.previous
    assert world.live(SIGNING)["metadata"]["annotations"][EXPIRES_ANNOTATION] == later


@pytest.mark.parametrize("hours", [1, 2])
async def test_the_overlap_is_never_shorter_than_tokens_live(hours: int) -> None:
    world = await ready(overlapHours=hours)
    await world.ask()
    await world.settle()
    world.passes(LEARN_SECONDS)
    await world.reconcile()
    for program in world.programs:
        while world.roll(program):
            pass
    await world.reconcile()
    old = next(each for each in world.signers() if each.going)
    world.passes(DRAIN_SECONDS - 1)
    token = world.sign_in(old)
    world.passes(HOUR - 1)
    await world.settle()
    assert world.taken(token.text) == {True}
    world.passes(max(hours * HOUR, HOUR + LEARN_SECONDS) - HOUR)
    await world.settle()
    assert len(world.held.keys) == 1


async def test_what_a_hand_changed_is_put_right(world: World) -> None:
    before = {name: dict(world.live(name)["data"]) for name in (SIGNING, PUBLIC)}
    for name, key in ((SIGNING, "private.pem"), (SIGNING, "gotrue-keys.json"), (PUBLIC, "anon"), (PUBLIC, "jwks.json")):
        world.store.put(await world.api.merge(SECRET, NAMESPACE, name, {"metadata": {}, "data": {key: "bm9uc2Vuc2U="}}))
        await world.settle()
        found = dict(world.live(name)["data"])
        if key == "anon":
            assert world.taken(world.text(PUBLIC, "anon")) == {True}
            before[PUBLIC]["anon"] = found["anon"]
        assert found == before[name]


async def test_a_set_that_a_hand_broke_is_told_and_left_alone(world: World) -> None:
    first = world.held.current.kid
    world.store.put(await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": {"keys.json": "e30="}}))
    await told_and_left_alone(world)

    world.store.put(await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": {"keys.json": None}}))
    await world.settle()
    assert world.held.kids == (first,), "private.pem is the key that goes on"
    assert world.taken(world.text(PUBLIC, "anon")) == {True}


async def test_secrets_that_are_deleted_in_the_middle_come_back(world: World) -> None:
    await world.ask()
    await learnt(world)
    held, anon = world.held, world.text(PUBLIC, "anon")
    for name in (SIGNING, PUBLIC):
        live = world.live(name)
        await world.api.delete(SECRET, NAMESPACE, name, uid=live["metadata"]["uid"])
        world.store.drop(live)
    await world.settle()
    assert world.held == held
    assert world.text(PUBLIC, "anon") == anon
