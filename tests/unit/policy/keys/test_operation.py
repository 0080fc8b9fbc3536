"""Operations that rotate keys, on a backend whose keys are drawn and written for real; and an operator that can be killed in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from baas_operator.api.kinds import SECRET
from baas_operator.api.operation import OperationPhase
from baas_operator.desired.key_set import MAX_PREVIOUS
from baas_operator.desired.secrets import EXPIRES_ANNOTATION
from baas_operator.engine.effects import bring_about
from baas_operator.engine.errors import ApiError
from baas_operator.observe.conditions import READY
from baas_operator.observe.moments import to_text
from baas_operator.policy.keys import LEARN_SECONDS
from baas_operator.policy.operation import plan_operation
from tests.unit.objects import NAMESPACE, message, reason
from tests.unit.policy.rotating import Asked

from .test_rotation import OVERLAP, learnt
from .world import PUBLIC, SIGNING, World, world

assert world, "a backend that serves, a fixture"


class Rotation(Asked):
    """The Operation on that backend."""

    def __init__(self, world: World, **spec: Any) -> None:
        super().__init__(world, "rotate-keys", **spec)


async def test_from_the_wish_to_the_end(world: World) -> None:
    first = world.held.current.kid
    it = Rotation(world)
    told = await it.step()
    assert (it.status["phase"], told.effects) == ("Running", ()), "the intent is written down before anything is asked for"
    await it.step()
    assert EXPIRES_ANNOTATION in world.live(SIGNING)["metadata"]["annotations"]
    await world.reconcile()
    second = world.held.next
    assert second
    assert "not all know it yet: shop-auth, shop-rest" in message(await it.step(), READY)
    await world.settle()
    assert message(await it.step(), READY) == (
        f"Key {second.kid} is going to sign; all who verify tokens are given time to load it."
    )  # fmt: skip
    world.passes(LEARN_SECONDS)
    await world.reconcile()
    told = await it.step()
    assert message(told, READY) == f"Key {second.kid} signs: the pods that still sign with the one before are being replaced."
    assert [(each["name"], "finishedAt" in each) for each in it.status["steps"]] == [("Publish", True), ("Switch", False)]

    world.passes(20)
    await world.settle()
    done = await it.step()
    until = to_text(world.now + timedelta(seconds=OVERLAP))
    assert (it.status["phase"], reason(done, READY)) == (OperationPhase.SUCCEEDED, "KeysRotated")
    assert message(done, READY) == f"Key {second.kid} signs, and all know it; tokens of {first} count until {until}."
    assert it.status["result"] == {"key": second.kid, "previousKey": first, "retiresAt": until, "durationSeconds": 200.0}
    assert [(each["name"], "finishedAt" in each) for each in it.status["steps"]] == [
        ("Publish", True), ("Switch", True), ("Retire", False),
    ]  # fmt: skip
    world.passes(2 * OVERLAP)
    await world.settle()
    again = await it.step()
    assert again.effects == ()
    assert it.status["phase"] == OperationPhase.SUCCEEDED


@pytest.mark.parametrize("killed", range(8))
async def test_wherever_the_operator_is_killed_there_is_one_rotation(world: World, killed: int) -> None:
    first, it = world.held.current.kid, Rotation(world)
    for turn in range(40):
        await it.step(killed=turn == killed)
        await world.reconcile(writes=turn % 3 if turn == killed else None)
        world.roll(world.programs[turn % 3])
        world.passes(13)
        if it.status.get("phase") == OperationPhase.SUCCEEDED:
            break
    assert it.status["phase"] == OperationPhase.SUCCEEDED
    await world.settle()
    assert [each.kid for each in world.held.keys] == [it.status["result"]["key"], first]


async def test_a_rotation_that_is_going_on_is_waited_for(world: World) -> None:
    await world.ask()
    await world.settle()
    it = Rotation(world)
    told = await it.step()
    assert (it.status["phase"], reason(told, READY)) == ("Pending", "RotationInProgress")
    await learnt(world)
    await it.step()
    assert it.status["phase"] == "Running"
    assert it.status["result"]["previousKey"] == world.held.current.kid


async def test_it_asks_on_the_version_that_it_looked_at(world: World) -> None:
    it = Rotation(world)
    await it.step()
    plan = plan_operation(it.view)
    await world.annotate(**{EXPIRES_ANNOTATION: to_text(world.now)})
    await world.reconcile()
    (effect,) = plan.effects
    with pytest.raises(ApiError, match="modified"):
        await bring_about(effect, it.view, world.api, world.store)  # type: ignore[arg-type]
    assert (await it.step()).effects == (), "it is the rotation that was asked for"


async def test_a_key_that_is_revoked_meanwhile_is_another_s_end_of_it(world: World) -> None:
    first, it = world.held.current.kid, Rotation(world)
    await it.step()
    world.spec(revoked=[first])
    await world.settle()
    done = await it.step()
    assert it.status["phase"] == OperationPhase.SUCCEEDED
    assert message(done, READY).endswith(f"{first} was revoked meanwhile.")
    assert "retiresAt" not in it.status["result"]


async def test_it_is_not_over_before_clients_find_new_api_keys(world: World) -> None:
    it = Rotation(world)
    await it.step()
    await it.step()
    await learnt(world)
    old = world.live(PUBLIC)["data"]["anon"]
    await world.ask()
    await learnt(world)
    world.store.put(await world.api.merge(SECRET, NAMESPACE, PUBLIC, {"metadata": {}, "data": {"anon": old}}))
    assert (await it.step()).status["phase"] == "Running"


@pytest.mark.parametrize(("spec", "why"), [({"suspend": True}, "TargetSuspended"), ({}, "TooManyKeys"), ({}, "KeySetUnreadable")])
async def test_what_can_not_be_is_refused(world: World, spec: dict[str, Any], why: str) -> None:
    if why == "TooManyKeys":
        for _ in range(MAX_PREVIOUS):
            await world.ask()
            await learnt(world)
    if why == "KeySetUnreadable":
        world.store.put(await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": {"keys.json": "e30="}}))
    it = Rotation(world, **spec)
    told = await it.step()
    assert (it.status["phase"], reason(told, READY)) == ("Refused", why)


@pytest.mark.parametrize("asked", [False, True], ids=["not-yet-asked-for", "asked-for"])
async def test_one_that_has_begun_waits_while_its_backend_is_suspended(world: World, asked: bool) -> None:
    it = Rotation(world)
    for _ in range(1 + asked):
        await it.step()
    it.more["suspend"] = True

    told = await it.step()

    assert (it.status["phase"], told.effects) == ("Running", ()), "nothing of what is suspended is changed"
    assert message(told, READY) == "spec.suspend of shop is true: it goes on once that is false."
    it.more.clear()
    await it.step()
    await learnt(world)
    await it.step()
    assert it.status["phase"] == OperationPhase.SUCCEEDED


async def test_one_that_has_begun_waits_while_the_keys_can_not_be_read(world: World) -> None:
    it = Rotation(world)
    await it.step()
    held = world.live(SIGNING)["data"]["keys.json"]
    world.store.put(await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": {"keys.json": "e30="}}))

    told = await it.step()

    assert (it.status["phase"], told.effects) == ("Running", ())
    assert "keys.json in Secret 'shop-signing-key' is not as it was written" in message(told, READY)
    world.store.put(await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": {"keys.json": held}}))
    await it.step()
    await learnt(world)
    await it.step()
    assert it.status["phase"] == OperationPhase.SUCCEEDED


async def test_after_its_time_it_is_given_up_and_the_rotation_goes_on(world: World) -> None:
    it = Rotation(world)
    await it.step()
    await it.step()
    await world.reconcile()
    world.passes(601)
    told = await it.step()
    assert (it.status["phase"], reason(told, READY)) == ("Failed", "TimedOut")
    assert "goes on by itself if it was begun (status.keys). Key" in message(told, READY)
    await learnt(world)
    assert world.held.previous
