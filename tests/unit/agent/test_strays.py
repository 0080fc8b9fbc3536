"""Who came by `-rw` to a member that leads no more is sent away, once nodes know better."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from baas_operator.agent import strays as strays_module
from baas_operator.agent.postgres import UnavailableError
from baas_operator.agent.strays import Strays
from tests.unit.agent.stand_in import stop, until
from tests.unit.agent.world import World


class Sessions:
    """The member's PostgreSQL, as far as sessions at it are concerned, and whether `-rw` leads to it."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.away = False
        self.routed = True

    async def end_sessions(self, *, older_than_seconds: float) -> int:
        if self.away:
            raise UnavailableError("it starts")
        self.asked.append(older_than_seconds)
        return 1


@pytest.fixture
async def sessions(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    """db-1 leads, and `-rw` leads to it."""
    monkeypatch.setattr(strays_module, "_LEARNT_SECONDS", 0.1)
    monkeypatch.setattr(strays_module, "_LOOK_SECONDS", 0.02)
    made = Sessions()
    world.api.lead("db-1")
    await world.me.start()
    await until(lambda: world.me.dcs.leads)
    running = asyncio.create_task(Strays(world.me.dcs, made, lambda: made.routed).run())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    yield made
    await stop(running)


async def test_they_go_once_when_the_service_leads_elsewhere(world: World, sessions: Sessions) -> None:
    world.api.lead("db-2")
    await asyncio.sleep(0.3)
    assert sessions.asked == [], "until then they would come back"

    sessions.routed = False
    await until(lambda: sessions.asked != [])
    world.api.renew()
    await asyncio.sleep(0.3)

    assert len(sessions.asked) == 1
    assert 0 <= sessions.asked[0] < 0.1, "who came after that, came by another service"


async def test_a_postgresql_that_starts_is_waited_for_and_who_comes_later_stays(world: World, sessions: Sessions) -> None:
    sessions.away, sessions.routed = True, False
    world.api.lead("db-2")
    await asyncio.sleep(0.4)

    sessions.away = False
    await until(lambda: sessions.asked != [])

    assert sessions.asked[0] >= 0.2


async def test_whoever_leads_again_keeps_its_clients(world: World, sessions: Sessions) -> None:
    sessions.away, sessions.routed = True, False
    world.api.lead("db-2")
    await asyncio.sleep(0.2)
    world.api.lead("db-1")
    await until(lambda: world.me.dcs.leads)
    sessions.away = False
    await asyncio.sleep(0.3)

    assert sessions.asked == []


async def test_a_standby_that_never_led_sends_nobody_away(world: World, sessions: Sessions) -> None:
    sessions.routed = False
    world.api.lead("db-2")
    await until(lambda: len(sessions.asked) == 1)
    for leader in ("db-0", "db-2"):
        world.api.lead(leader)
        await asyncio.sleep(0.2)

    assert len(sessions.asked) == 1
