"""A former primary that streams is not taken for demoted for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from baas_operator.agent import demotion as demotion_module
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.demotion import Demotion
from baas_operator.agent.kube import Kube
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import Look
from baas_operator.desired.database import names
from baas_operator.desired.meta import ROLE_LABEL
from tests.unit.agent.moves.world import ME, USER
from tests.unit.agent.stand_in import PODS, StandIn, serve, stop, until

POD = f"{PODS}/{ME.pod}"


class World:
    """db-0, whose agent this is, leads."""

    def __init__(self, api: StandIn) -> None:
        self.api = api
        self.silence: float | None = 0.1
        self.restarts = 0
        self.looks = 0
        self.label("primary")
        api.lead("db-0")

    def label(self, role: str) -> None:
        self.api.put(POD, metadata={"labels": {ROLE_LABEL: role}})

    async def restart(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == aiohttp.encode_basic_auth(*USER)
        assert await request.json() == {}, "Patroni compares a role with the one that is wrong"
        self.restarts += 1
        self.label("standby")
        return web.Response(text="restarted successfully")

    async def look(self) -> Look:
        self.looks += 1
        return Look(True, self.silence, (), None)

    async def more_looks(self) -> None:
        goal = self.looks + 5
        await until(lambda: self.looks >= goal)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = await StandIn(tmp_path).start()
    made = World(api)
    app = web.Application()
    app.add_routes([web.post("/restart", made.restart)])
    runner, port = await serve(app)
    monkeypatch.setattr(names, "PATRONI_PORT", port)
    monkeypatch.setattr(demotion_module, "_LOOK_SECONDS", 0.02)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        dcs = Dcs(kube, ME)
        demotion = Demotion(kube, ME, dcs, made, Patroni(session, USER))  # type: ignore[arg-type]
        running = [asyncio.create_task(each) for each in (dcs.run(), demotion.run())]
        await until(lambda: dcs.state.lock.leader == "db-0")
        yield made
        await stop(*running)
    await runner.cleanup()
    await api.stop()


async def test_one_that_streams_and_is_taken_for_demoted_is_restarted_once(world: World) -> None:
    world.label("demoted")
    world.api.lead("db-1")

    await until(lambda: world.restarts == 1)
    await asyncio.sleep(0.2)
    assert world.restarts == 1


async def test_one_that_became_a_standby_is_left_alone(world: World) -> None:
    world.label("standby")
    world.api.lead("db-1")
    await until(lambda: world.looks > 0)
    await asyncio.sleep(0.1)

    assert world.restarts == 0
    assert world.looks == 1


async def test_one_that_does_not_stream_yet_is_left_alone_until_it_does(world: World) -> None:
    world.silence = None
    world.label("demoted")
    world.api.lead(None)
    world.api.lead("db-1")
    await world.more_looks()
    assert world.restarts == 0

    world.silence = 0.1
    await until(lambda: world.restarts == 1)


async def test_a_primary_is_never_restarted(world: World) -> None:
    world.label("demoted")
    world.api.renew()
    await asyncio.sleep(0.2)

    assert world.looks == 0
