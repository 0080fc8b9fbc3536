"""Parameters that PostgreSQL does not take: noted once they are seen twice, by the primary's agent alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from baas_operator.agent import settings as settings_module
from baas_operator.agent.dcs import Dcs, State, read_lock
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.settings import Settings, sentence
from baas_operator.desired.database import names
from tests.unit.agent.stand_in import LOCK, PODS, StandIn, serve, stop, until

ME = Identity(database="db", namespace="prod", pod="db-1", ip="127.0.0.1", node="node-b")
POD = f"{PODS}/db-1"


class Asked(Settings):
    """Without a PostgreSQL: it takes every parameter but those in `refuses`."""

    refuses: Mapping[str, str] = {}
    asked: Mapping[str, str] = {}

    async def _refused(self, asked: Mapping[str, str]) -> dict[str, str]:
        self.asked = asked
        return {name: why for name, why in self.refuses.items() if name in asked}


class World:
    def __init__(self, api: StandIn, dcs: Dcs, settings: Asked) -> None:
        self.api, self.dcs, self.settings = api, dcs, settings
        self.looks = 0
        self.config: Any = {"ttl": 20, "postgresql": {"parameters": {"work_mem": "lots", "jit": "off", "number": 1}}}

    def lead(self, leader: str) -> None:
        self.api.lead(leader)
        self.dcs.state = State(read_lock(self.api.objects[LOCK]))

    def noted(self) -> dict[str, str] | None:
        text = self.api.annotations(POD).get(names.PARAMETERS_ANNOTATION)
        return json.loads(text) if text else None

    def writes(self) -> int:
        return len(self.api.answers(POD))


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = await StandIn(tmp_path).start()
    api.put(POD)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        dcs = Dcs(kube, ME)
        made = World(api, dcs, Asked(kube, ME, dcs, Patroni(session, ("patroni", "secret")), "/nowhere"))
        patroni = web.Application()

        async def config(_: web.Request) -> web.Response:
            made.looks += 1
            return web.json_response(made.config)

        patroni.add_routes([web.get("/config", config)])
        runner, port = await serve(patroni)
        monkeypatch.setattr(names, "PATRONI_PORT", port)
        made.lead("db-1")
        yield made
        await runner.cleanup()
    await api.stop()


async def test_it_asks_for_what_patroni_was_asked_for(world: World) -> None:
    await world.settings.look()

    assert world.settings.asked == {"work_mem": "lots", "jit": "off"}
    assert world.noted() is None


async def test_what_is_seen_twice_is_noted_once(world: World) -> None:
    """Patroni and PostgreSQL take a moment to load what was changed."""
    world.settings.refuses = {"work_mem": "it is a number"}

    await world.settings.look()
    assert world.noted() is None

    await world.settings.look()
    assert world.noted() == {"work_mem": "it is a number"}

    writes = world.writes()
    await world.settings.look()
    assert world.writes() == writes


async def test_it_is_taken_back_as_soon_as_it_is_right(world: World) -> None:
    world.settings.refuses = {"work_mem": "it is a number"}
    for _ in range(2):
        await world.settings.look()

    world.settings.refuses = {}
    await world.settings.look()

    assert world.noted() is None


async def test_who_does_not_lead_says_nothing_and_takes_back_what_it_said(world: World) -> None:
    world.settings.refuses = {"work_mem": "it is a number"}
    for _ in range(2):
        await world.settings.look()
    world.lead("db-0")

    await world.settings.look()

    assert world.noted() is None


async def test_an_agent_that_is_started_anew_takes_back_what_it_does_not_know_of(world: World) -> None:
    world.api.put(POD, annotations={names.PARAMETERS_ANNOTATION: '{"jit": "of an earlier life"}'})

    await world.settings.look()

    assert world.noted() is None


@pytest.mark.parametrize("config", [None, [], {"postgresql": None}, {"postgresql": {"parameters": []}}])
async def test_an_answer_of_no_use_ends_nothing(world: World, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs beside what fails over."""
    monkeypatch.setattr(settings_module, "_EVERY_SECONDS", 0.01)
    world.config = config
    running = asyncio.create_task(world.settings.run())
    await until(lambda: world.looks > 2)
    world.settings.refuses, world.config = {"jit": "no"}, {"postgresql": {"parameters": {"jit": "x"}}}

    await until(lambda: world.noted() == {"jit": "no"})
    await stop(running)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"known": False}, "PostgreSQL does not know it"),
        ({"vartype": "bool"}, "it is on or off; it is left out"),
        ({"vartype": "enum", "enumvals": ["a", "b"], "setting": "a"}, "it is one of a, b; 'a' is used instead"),
        (
            {"vartype": "integer", "min_val": "16", "max_val": "99", "unit": "8kB", "setting": "128MB"},
            "it is a number from 16 to 99, without a unit in 8kB (Patroni may take fewer); '128MB' is used instead",
        ),
        ({"vartype": "real", "min_val": "0", "max_val": "1"}, "it is a number from 0 to 1 (Patroni may take fewer); it is left out"),
        ({"vartype": "string", "setting": "a password"}, "the value is not one that it takes"),
        ({"vartype": "string", "setting": "Mars", "taken": True}, "the value is not one that it takes; it would not start with it"),
    ],
)
def test_why(found: dict[str, Any], said: str) -> None:
    row = dict.fromkeys(("vartype", "unit", "min_val", "max_val", "enumvals", "setting", "taken")) | {"known": True} | found

    assert sentence(row) == said
