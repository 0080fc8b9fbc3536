"""Commits of a new primary wait for a standby until Patroni has said for which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from baas_operator.agent import synchronous as synchronous_module
from baas_operator.agent.synchronous import Synchronous
from tests.unit.agent.stand_in import stop, until
from tests.unit.agent.world import World

HELD = 'ANY 1 ("db-0","db-2")'


@pytest.fixture
async def held(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Synchronous]:
    """db-1 has the lock of db-0, and is to be promoted."""
    monkeypatch.setattr(synchronous_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(synchronous_module, "_ALONE_SECONDS", 0.3)
    await world.me.start()
    world.api.lead("db-1")
    await until(lambda: world.me.dcs.leads)
    made = Synchronous(world.me.identity, world.me.dcs, world.me.postgres)  # type: ignore[arg-type]
    await made.hold()
    running = asyncio.create_task(made.run())
    await asyncio.sleep(0.05)
    yield made
    await stop(running)


async def test_it_lets_go_when_the_voters_are_its_own_and_the_file_names_standbys(world: World, held: Synchronous) -> None:
    world.me.postgres.standby, world.me.postgres.file = False, 'ANY 1 ("db-2")'
    await asyncio.sleep(0.05)
    assert world.me.postgres.override == HELD, "the voters are those of the one before"

    world.api.synchronous("db-1", "db-0", "db-2")
    await until(lambda: world.me.postgres.override is None)


@pytest.mark.parametrize("file", ["", "ANY 0 (b)", "0 (b)"])
async def test_a_file_that_names_nobody_is_patronis_of_before_the_promotion(world: World, held: Synchronous, file: str) -> None:
    world.me.postgres.standby, world.me.postgres.file = False, file
    world.api.synchronous("db-1", "db-2", quorum=0)

    await asyncio.sleep(0.5)  # nothing to wait for: that nothing happens is the point
    assert world.me.postgres.override == HELD


async def test_where_patroni_says_that_no_standby_counts_it_lets_go_after_a_moment(world: World, held: Synchronous) -> None:
    """Durability quorum, and no standby is there."""
    world.me.postgres.standby = False
    world.api.synchronous("db-1", quorum=0)

    await asyncio.sleep(0.1)
    assert world.me.postgres.override == HELD
    await until(lambda: world.me.postgres.override is None)


async def test_a_standby_that_was_not_promoted_after_all_lets_go(world: World, held: Synchronous) -> None:
    assert world.me.postgres.override == HELD
    world.api.lead("db-2")

    await until(lambda: world.me.postgres.override is None)


async def test_an_agent_that_starts_finds_what_was_held_and_leaves_what_a_person_set(world: World) -> None:
    await world.me.start()
    theirs = "FIRST 2 (x, y)", "ANY 1 (x, y)"
    for override, left in ((HELD, None), ("ANY 1 (*)", None), *zip(theirs, theirs, strict=True)):
        world.me.postgres.override = override
        running = asyncio.create_task(Synchronous(world.me.identity, world.me.dcs, world.me.postgres).run())  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        assert world.me.postgres.override == left
        await stop(running)


async def test_what_a_copy_of_the_primary_brought_along_is_taken_back_when_its_member_leads(world: World) -> None:
    """While the agent runs: pg_rewind copies the primary's ALTER SYSTEM."""
    world.api.synchronous(None, quorum=0)
    await world.me.start()
    running = asyncio.create_task(Synchronous(world.me.identity, world.me.dcs, world.me.postgres).run())  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    world.me.postgres.override, world.me.postgres.file = HELD, 'ANY 1 ("db-2")'
    world.me.postgres.standby = False

    world.api.lead("db-1")
    await until(lambda: world.me.postgres.override is None)
    await stop(running)


async def test_it_names_the_voters_and_who_led_and_not_itself(world: World) -> None:
    world.api.synchronous("db-0", "db-1", "db-2", "db-3", "db-4", quorum=2)
    await world.me.start()
    await Synchronous(world.me.identity, world.me.dcs, world.me.postgres).hold()  # type: ignore[arg-type]
    assert world.me.postgres.override == 'ANY 2 ("db-0","db-2","db-3","db-4")'


async def test_who_waited_for_nobody_holds_nothing(world: World) -> None:
    """Durability async, and a primary that is promoted again in its place."""
    world.api.synchronous(None, quorum=0)
    await world.me.start()
    made = Synchronous(world.me.identity, world.me.dcs, world.me.postgres)  # type: ignore[arg-type]
    await made.hold()
    assert world.me.postgres.override is None

    world.api.synchronous("db-1", "db-0", "db-2")
    await until(lambda: world.me.dcs.state.sync.leader == "db-1")
    await made.hold()
    assert world.me.postgres.override is None
