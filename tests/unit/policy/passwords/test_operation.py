"""Operations that rotate passwords, on a backend whose passwords are drawn and written for real; and an operator that can be killed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from baas_operator.api.kinds import SECRET
from baas_operator.api.operation import OperationPhase
from baas_operator.desired.instance.logins import OVERLAP_SECONDS
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, NEXT, OVERLAP_ANNOTATION
from baas_operator.engine.errors import ApiError
from baas_operator.observe.conditions import READY
from baas_operator.observe.view import secret_text
from tests.unit.objects import NAMESPACE, message, reason
from tests.unit.policy.rotating import Asked

from .world import DRAIN_SECONDS, ROLES, World, ready

NAMES = ["shop_auth_admin_alt", "shop_authenticator_alt", "shop_owner_alt"]


@pytest.fixture
async def world() -> World:
    return await ready()


class Rotation(Asked):
    """The Operation on that backend."""

    def __init__(self, world: World, **spec: Any) -> None:
        super().__init__(world, "rotate-passwords", **spec)


async def test_from_the_wish_to_the_end(world: World) -> None:
    it = Rotation(world)
    told = await it.step()
    assert (it.status["phase"], told.effects) == ("Running", ()), "the intent is written down before anything is asked for"
    await it.step()
    assert all(world.annotation(each, EXPIRES_ANNOTATION) for each in ROLES)
    await world.reconcile()
    assert "are made known to the database" in message(await it.step(), READY)
    await world.run_jobs()
    await world.reconcile()
    assert "are being replaced: " in message(await it.step(), READY)
    await world.settle()
    assert "shop-rest-" in message(await it.step(), READY), "pods that are going still answer"
    world.passes(DRAIN_SECONDS)
    over = await it.step()
    assert (it.status["phase"], reason(over, READY)) == ("Succeeded", "PasswordsRotated")
    assert it.status["result"]["logins"] == NAMES
    assert it.status["result"]["retiresAt"] == world.annotation("auth", OVERLAP_ANNOTATION)
    assert [each["name"] for each in it.status["steps"]] == ["Publish", "Switch", "Retire"]
    assert [each.username for each in map(world.says, ("auth", "authenticator", "owner"))] == NAMES


@pytest.mark.parametrize("written", range(8))
async def test_it_is_done_once_whenever_the_operator_is_killed(world: World, written: int) -> None:
    it = Rotation(world)
    for turn in range(30):
        with suppress(ApiError):  # somebody else wrote to a Secret meanwhile
            await it.step(killed=turn % 2 == 0 and turn < 12)
        if not await world.reconcile(writes=written if turn % 3 == 0 and turn < 12 else None):
            continue
        await world.run_jobs()
        for component in ("rest", "auth", "meta"):
            await world.roll(component)
        world.passes(5)
        if (phase := it.status.get("phase")) and OperationPhase(phase).over:
            break
    assert it.status["phase"] == "Succeeded", it.status
    assert [each.username for each in map(world.says, ("auth", "authenticator", "owner"))] == NAMES
    world.passes(2 * OVERLAP_SECONDS)
    await world.settle()
    world.passes(2 * OVERLAP_SECONDS)
    await world.settle()
    assert [each.username for each in map(world.says, ("auth", "authenticator", "owner"))] == NAMES, "once"


async def test_another_one_is_refused_while_passwords_of_before_count(world: World) -> None:
    await world.ask("owner")
    await world.settle()
    it = Rotation(world)
    told = await it.step()
    assert (it.status["phase"], reason(told, READY)) == ("Refused", "PasswordsOverlap")
    assert "of shop-role-owner to a past date" in message(told, READY)

    await world.end_overlap("owner")
    world.passes(DRAIN_SECONDS)
    await world.settle()
    again = Rotation(world)
    await again.step()
    assert again.status["phase"] == "Running"


async def test_one_that_is_going_on_is_waited_for(world: World) -> None:
    await world.ask("owner")
    await world.reconcile()
    assert secret_text(world.live("owner"), NEXT)
    it = Rotation(world)
    assert reason(await it.step(), READY) == "RotationInProgress"
    assert it.status["phase"] == "Pending"


async def test_one_on_what_can_not_be_changed_is_refused(world: World) -> None:
    it = Rotation(world, suspend=True)
    assert reason(await it.step(), READY) == "TargetSuspended"

    world.store.put(await world.api.merge(SECRET, NAMESPACE, "shop-role-auth", {"metadata": {}, "immutable": True}))
    told = await Rotation(world).step()
    assert reason(told, READY) == "PasswordNotRotated"
    assert "Secret 'shop-role-auth' can not be rotated: it is immutable: delete it" in message(told, READY)


async def test_one_that_has_begun_waits_while_its_backend_is_suspended(world: World) -> None:
    it = Rotation(world)
    await it.step()
    it.more["suspend"] = True
    told = await it.step()
    assert (it.status["phase"], told.effects) == ("Running", ()), "nothing of what is suspended is changed"
    assert message(told, READY) == "spec.suspend of shop is true: it goes on once that is false."

    it.more.clear()
    await it.step()
    assert all(world.annotation(each, EXPIRES_ANNOTATION) for each in ROLES)
    world.passes(601)
    it.more["suspend"] = True
    assert reason(await it.step(), READY) == "TimedOut"


async def test_one_that_takes_too_long_fails_and_the_rotation_goes_on(world: World) -> None:
    it = Rotation(world)
    await it.step()
    await it.step()
    await world.reconcile()
    world.passes(601)
    assert reason(await it.step(), READY) == "TimedOut"
    await world.settle()
    assert world.says("auth").username == "shop_auth_admin_alt"
