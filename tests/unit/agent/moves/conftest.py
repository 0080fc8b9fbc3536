"""What the stories of planned moves have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from baas_operator.agent import move as move_module
from baas_operator.agent import retire as retire_module
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.kube import Kube
from baas_operator.agent.move import Mover
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.retire import Requests
from baas_operator.desired.database import names
from tests.unit.agent.moves.world import ME, USER, World
from tests.unit.agent.stand_in import StandIn, serve, stop, until


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = await StandIn(tmp_path).start()
    made = World(api)
    app = web.Application()
    app.add_routes([
        web.get("/cluster", made.cluster), web.post("/switchover", made.switchover), web.get(names.WATCHES_PATH, made.watches),
        web.post("/{what}", made.pooler),
    ])  # fmt: skip
    runner, port = await serve(app)
    monkeypatch.setattr(names, "PATRONI_PORT", port)
    monkeypatch.setattr(names, "POOLER_AGENT_PORT", port)
    monkeypatch.setattr(names, "AGENT_PORT", port)
    monkeypatch.setattr(retire_module, "_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(retire_module, "_GIVEN_UP_SECONDS", 2.0)
    monkeypatch.setattr(retire_module, "_AWAY_SECONDS", 0.3)
    monkeypatch.setattr(retire_module, "_LINGER_SECONDS", 0.0)
    monkeypatch.setattr(move_module, "_HANDED_OVER_SECONDS", 0.3)
    monkeypatch.setattr(move_module, "_SETTLED_SECONDS", 1.0)
    (tmp_path / "pooler-token").write_text("token\n")
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        dcs = Dcs(kube, ME)
        made.mover = Mover(kube, session, ME, dcs, made, Patroni(session, USER), token=tmp_path / "pooler-token")  # type: ignore[arg-type]
        made.requests = Requests(made.mover, ME, dcs, USER, made.end_patroni)
        running = asyncio.create_task(dcs.run())
        await until(lambda: dcs.state.lock.leader == "db-0" and dcs.state.sync.leader == "db-0")
        yield made
        await stop(running)
    await runner.cleanup()
    await api.stop()
