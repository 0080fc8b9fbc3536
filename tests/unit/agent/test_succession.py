"""What a change of the primary took: from the last word of the old one to the moment in which the new one takes writes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from baas_operator.agent import dcs as dcs_module
from baas_operator.agent import succession as succession_module
from baas_operator.agent.dcs import STOPPED, Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.postgres import UnavailableError
from baas_operator.agent.succession import Succession
from baas_operator.api.database import LastFailover
from baas_operator.desired.database import names
from tests.unit.agent.stand_in import CONFIG_MAPS, SLICE, SYNC, StandIn, stop, until

ME = Identity(database="db", namespace="prod", pod="db-1", ip="10.0.0.1", node="node-b")


@dataclass
class Postgres:
    """A standby's that streams. `writes`: whether a commit would be acknowledged."""

    heard: float | None
    writes: bool = False
    away: bool = False
    asked: int = 0

    async def takes_writes(self) -> bool:
        self.asked += 1
        if self.away:
            raise UnavailableError("being promoted")
        return self.writes


@dataclass
class World:
    """The API server and this member's own PostgreSQL."""

    api: StandIn
    postgres: Postgres
    dcs: Dcs
    routed: bool = True

    def note(self) -> LastFailover | None:
        """What is noted."""
        text = self.api.annotations(SLICE).get(names.FAILOVER_ANNOTATION)
        return LastFailover.model_validate(json.loads(text)) if text else None

    async def noted(self) -> LastFailover:
        """As soon as it is."""
        await until(lambda: self.note() is not None)
        found = self.note()
        assert found
        return found


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A database that another member leads, this one's agent beside a standby."""
    api = await StandIn(tmp_path).start()
    api.lead("db-0")
    api.synchronous("db-0", "db-1", "db-2")
    monkeypatch.setattr(succession_module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(succession_module, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(dcs_module, "_AFTER_ERROR_SECONDS", 0.01)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        made = World(api, Postgres(time.monotonic()), Dcs(kube, ME))
        succession = Succession(kube, ME, made.dcs, made.postgres, lambda: made.routed)  # type: ignore[arg-type]
        running = [asyncio.create_task(each) for each in (made.dcs.run(), succession.run())]
        await until(lambda: made.dcs.state.lock.leader == "db-0")
        yield made
        await stop(*running)
    await api.stop()


async def test_a_failover_is_noted_once_it_is_over(world: World) -> None:
    world.postgres.heard = time.monotonic() - 4.0
    world.postgres.away = True
    world.api.lead(None)
    world.api.lead("db-1")
    await until(lambda: world.postgres.asked > 2)
    world.postgres.away = False
    await asyncio.sleep(0.1)
    assert world.note() is None, "nobody can write yet"

    world.postgres.writes = True
    found = await world.noted()

    assert (found.from_member, found.to_member, found.planned) == ("db-0", "db-1", False)
    assert 4.1 <= found.seconds < 6.0
    assert world.api.asked("PATCH", SLICE) == 1


async def test_it_is_not_over_before_clients_are_led_here(world: World) -> None:
    world.routed, world.postgres.writes = False, True
    world.api.lead("db-1")
    await until(lambda: world.dcs.leads)
    await asyncio.sleep(0.1)
    assert world.note() is None

    world.routed = True
    await world.noted()


async def test_a_primary_that_was_shut_down_for_it_was_moved_on_purpose(world: World) -> None:
    told = {"term": world.api.term(), "to": "db-1"}
    world.api.put(SYNC, annotations={STOPPED: json.dumps(told)})
    await until(lambda: world.dcs.state.sync.stopped is not None)
    world.postgres.writes = True
    world.api.lead("db-1")

    assert (await world.noted()).planned is True


async def test_what_was_told_of_an_earlier_term_makes_no_failover_a_planned_one(world: World) -> None:
    world.api.put(SYNC, annotations={STOPPED: json.dumps({"term": "db-2/7/long-ago", "to": "db-0"})})
    await until(lambda: world.dcs.state.sync.stopped is not None)
    world.postgres.writes = True
    world.api.lead("db-1")

    assert (await world.noted()).planned is False


async def test_who_loses_the_lock_before_it_takes_writes_has_nothing_to_note(world: World) -> None:
    world.api.lead("db-1")
    await until(lambda: world.postgres.asked > 1)
    world.api.lead("db-2")
    await until(lambda: not world.dcs.leads)
    world.postgres.writes = True
    await asyncio.sleep(0.1)

    assert world.note() is None


async def test_a_first_primary_and_one_that_never_streamed_have_seen_no_beginning(world: World) -> None:
    world.postgres.heard, world.postgres.writes = None, True
    world.api.lead("db-1")
    await until(lambda: world.dcs.leads)
    await asyncio.sleep(0.1)

    assert world.note() is None


async def test_the_word_of_an_old_primary_is_not_taken_for_a_later_ones(world: World) -> None:
    world.postgres.writes = True
    world.api.lead("db-1")
    await world.noted()
    world.api.put(SLICE, annotations={names.FAILOVER_ANNOTATION: None})

    world.api.lead("db-0")
    await until(lambda: not world.dcs.leads)
    world.api.lead("db-1")  # and it never streamed from db-0
    await until(lambda: world.dcs.leads)
    await asyncio.sleep(0.1)

    assert world.note() is None


async def test_the_lock_that_comes_back_to_its_holder_is_no_change(world: World) -> None:
    world.postgres.writes = True
    world.api.lead("db-1")
    await world.noted()
    before = world.api.version(SLICE)

    world.api.lead("db-1")
    await asyncio.sleep(0.1)

    assert world.api.version(SLICE) == before


async def test_an_api_server_that_is_away_is_waited_for(world: World) -> None:
    world.api.lead("db-1")
    await until(lambda: world.postgres.asked > 1)
    world.api.fail("refuse")
    world.postgres.writes = True
    await asyncio.sleep(0.1)
    world.api.fail(None)

    await world.noted()
    assert world.api.objects[f"{CONFIG_MAPS}/db-leader"]["metadata"]["annotations"]["leader"] == "db-1"
