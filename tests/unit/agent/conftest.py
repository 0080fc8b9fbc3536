"""What the stories of the watcher have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from baas_operator.agent import dcs as dcs_module
from baas_operator.agent import failover as failover_module
from baas_operator.desired.database import names
from baas_operator.policy import failover as policy_module
from tests.unit.agent.stand_in import StandIn
from tests.unit.agent.world import ASK_AHEAD_SECONDS, World


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Nobody's agent runs yet."""
    for module in (failover_module, policy_module):
        monkeypatch.setattr(module, "ASK_AHEAD_SECONDS", ASK_AHEAD_SECONDS)
    monkeypatch.setattr(failover_module, "_CALM_SECONDS", 0.05)
    monkeypatch.setattr(failover_module, "_ALARMED_SECONDS", 0.01)
    monkeypatch.setattr(dcs_module, "_AFTER_ERROR_SECONDS", 0.01)
    api = await StandIn(tmp_path).start()
    async with aiohttp.ClientSession() as session:
        made = World(api, session, tmp_path)
        await made.patroni.start()
        await made.own_patroni.start(made.patroni.port)
        monkeypatch.setattr(names, "PATRONI_PORT", made.patroni.port)
        yield made
        await made.me.stop()
        await made.other.stop()
    await made.patroni.stop()
    await made.own_patroni.stop()
    await api.stop()
