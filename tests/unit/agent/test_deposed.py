"""A primary that another has the lock of, and whose Patroni hangs, is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from baas_operator.agent import deposed as deposed_module
from baas_operator.agent.dcs import GIVEN
from baas_operator.agent.deposed import Deposed
from tests.unit.agent.stand_in import CONFIG_MAPS, LOCK, stop, until
from tests.unit.agent.world import World

PATIENCE_SECONDS = 0.2


class Stoppable:
    """The member's PostgreSQL: a primary until it is stopped, or Patroni makes it a standby."""

    def __init__(self, world: World) -> None:
        self._inner = world.me.postgres
        self.stops = 0

    @property
    def runs(self) -> bool:
        return not self.stops

    async def look(self) -> object:
        return await self._inner.look()

    async def stop(self, *, committed_seconds: float) -> None:
        assert committed_seconds == 0, "nobody confirms its commits"
        self.stops += 1
        self._inner.away = True


@pytest.fixture
async def postgres(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stoppable]:
    """db-1 leads."""
    monkeypatch.setattr(deposed_module, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(deposed_module, "_LOOK_SECONDS", 0.02)
    world.api.synchronous("db-1", "db-0", "db-2")
    world.api.lead("db-1")
    world.me.postgres.standby = False
    await world.me.start()
    made = Stoppable(world)
    running = asyncio.create_task(Deposed(world.me.identity, world.me.dcs, made).run())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    yield made
    await stop(running)


def give_to(world: World, member: str) -> None:
    world.api.lead(member)
    world.api.put(LOCK, annotations={GIVEN: world.api.annotations(LOCK)["acquireTime"]})


async def test_a_primary_that_goes_on_after_another_has_the_lock_is_stopped_once(world: World, postgres: Stoppable) -> None:
    give_to(world, "db-2")

    await until(lambda: postgres.stops == 1)
    await asyncio.sleep(3 * PATIENCE_SECONDS)  # nothing to wait for: that it is not stopped again is the point
    assert postgres.stops == 1


async def test_who_won_a_race_may_yet_be_refused_so_nobody_is_stopped_before(world: World, postgres: Stoppable) -> None:
    world.api.lead("db-2")
    await asyncio.sleep(3 * PATIENCE_SECONDS)
    assert postgres.stops == 0

    world.api.synchronous("db-2", "db-0", "db-1")
    await until(lambda: postgres.stops == 1)


async def test_one_that_patroni_demotes_in_time_is_left_alone(world: World, postgres: Stoppable) -> None:
    give_to(world, "db-2")
    world.me.postgres.standby = True

    await asyncio.sleep(3 * PATIENCE_SECONDS)
    assert postgres.stops == 0


async def test_while_nobody_has_the_lock_nobody_is_deposed(world: World, postgres: Stoppable) -> None:
    world.api.lead(None)

    await asyncio.sleep(3 * PATIENCE_SECONDS)
    assert postgres.stops == 0


async def test_what_the_watch_has_not_brought_yet_is_asked_for_first(world: World, postgres: Stoppable) -> None:
    """It got the lock back a moment ago."""
    give_to(world, "db-2")
    await until(lambda: world.me.dcs.state.lock.given)
    world.api.hold(CONFIG_MAPS)
    world.api.lead("db-1")

    await asyncio.sleep(3 * PATIENCE_SECONDS)
    assert postgres.stops == 0
