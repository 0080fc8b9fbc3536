"""Keys that leaked: their tokens are refused as soon as anybody can be told, and no others."""

from __future__ import annotations

import json

import pytest

from baas_operator.api.kinds import SECRET
from tests.unit.objects import NAMESPACE

from .test_rotation import learnt
from .world import PUBLIC, SIGNING, SYNC_SECONDS, World, world

assert world, "a backend that serves, a fixture"


async def told(world: World) -> None:
    """Everybody has what is published."""
    await world.settle()
    world.passes(SYNC_SECONDS)


async def test_the_key_that_signs_is_followed_by_another_in_one_write(world: World) -> None:
    first, anon = world.held.current.kid, world.text(PUBLIC, "anon")
    world.spec(revoked=[first])
    world.api.writes.clear()
    await world.draw()
    assert world.api.writes == [("merge", f"Secret/{SIGNING}"), ("merge", f"Secret/{PUBLIC}")]
    (second,) = world.held.kids
    assert second != first
    assert [each["kid"] for each in json.loads(world.text(PUBLIC, "jwks.json"))["keys"]] == [second]
    assert first not in world.text(SIGNING, "gotrue-keys.json") + world.text(SIGNING, "keys.json").partition('"keys"')[2]

    await told(world)
    assert world.taken(anon) == {False}
    assert world.taken(world.text(PUBLIC, "anon")) == {True}
    assert {each.signer["kid"] for each in world.signers() if each.signer} == {second}
    plan = world.plan()
    assert plan.status
    assert (plan.status.phase, plan.status.revoked) == ("Stable", [first])
    assert plan.stalled is None, "it was a key of this backend"
    world.api.writes.clear()
    await world.reconcile()
    assert world.api.writes == [], "once"


async def test_if_another_was_going_to_sign_that_one_does(world: World) -> None:
    first = world.held.current.kid
    await world.ask()
    await world.settle()
    second = world.held.next
    assert second
    world.spec(revoked=[first])
    await world.reconcile()
    assert world.held.kids == (second.kid,)
    await told(world)
    assert world.taken(world.text(PUBLIC, "anon")) == {True}


async def test_the_key_that_was_going_to_sign_is_followed_by_another(world: World) -> None:
    first = world.held.current.kid
    await world.ask()
    await world.settle()
    second = world.held.next
    assert second
    world.spec(revoked=[second.kid])
    await learnt(world)
    assert world.held.previous[0].kid == first
    assert world.held.current.kid not in (first, second.kid)
    assert second.kid not in world.text(PUBLIC, "jwks.json")


async def test_a_key_before_leaves_without_overlap_and_nothing_else_changes(world: World) -> None:
    anon = world.text(PUBLIC, "anon")
    await world.ask()
    await learnt(world)
    second, user = world.held.current, world.sign_in(world.signers()[-1])
    world.spec(revoked=[world.held.previous[0].kid])
    await told(world)
    assert world.held.keys == (second,)
    assert (world.taken(anon), world.taken(user.text)) == ({False}, {True})


async def test_all_at_once_as_when_the_secret_itself_leaked(world: World) -> None:
    await world.ask()
    await learnt(world)
    await world.ask()
    await world.settle()
    leaked = set(world.held.kids)
    assert len(leaked) == 3
    world.spec(revoked=sorted(leaked))
    await told(world)
    (left,) = world.held.kids
    assert left not in leaked
    plan = world.plan()
    assert plan.status
    assert plan.status.revoked == sorted(leaked)
    assert world.taken(world.text(PUBLIC, "anon")) == {True}


async def test_an_id_that_is_none_is_told_and_the_others_go(world: World) -> None:
    first, other = world.held.current.kid, "A" * 43
    world.spec(revoked=[other, first])
    await world.settle()
    plan = world.plan()
    assert plan.stalled
    assert plan.stalled.reason == "RevokedKeyUnknown"
    assert f"names {other}, which is no key of this backend: the keys that count are {world.held.current.kid} (current)" in (
        plan.stalled.message
    )
    assert first not in world.held.kids


async def test_one_that_was_retired_long_ago_is_no_mistake(world: World) -> None:
    first = world.held.current.kid
    await world.ask()
    await learnt(world)
    world.passes(world.plan().wake_seconds or 0)
    await world.settle()
    world.spec(revoked=[first])
    await world.settle()
    plan = world.plan()
    assert plan.stalled is None
    assert len(world.held.keys) == 1


async def test_a_set_that_is_brought_back_from_a_backup_is_without_it(world: World) -> None:
    backup = dict(world.live(SIGNING)["data"])
    first = world.held.current.kid
    world.spec(revoked=[first])
    await world.settle()
    await world.api.merge(SECRET, NAMESPACE, SIGNING, {"metadata": {}, "data": backup})
    world.restart()
    await world.settle()
    assert first not in world.held.kids
    assert first not in world.text(PUBLIC, "jwks.json")


@pytest.mark.parametrize("nonsense", ["", "short", "ä" * 43, "A" * 44, "../" + "A" * 40])
def test_what_can_be_no_id_is_refused(nonsense: str) -> None:
    with pytest.raises(ValueError, match="revoked"):
        World(revoked=[nonsense])
