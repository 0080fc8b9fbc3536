"""The lock ran out by itself and another has it: voters turn away, and the new leader is promoted once enough have."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from baas_operator.agent import promotion as promotion_module
from baas_operator.agent.dcs import GIVEN, STOPPED
from baas_operator.agent.promotion import Promotion
from baas_operator.agent.synchronous import Synchronous
from baas_operator.desired.database import names
from baas_operator.desired.text import render
from tests.unit.agent.stand_in import LOCK, SYNC, serve, until
from tests.unit.agent.world import PRIMARY_IP, World


async def asked(world: World, member: str) -> int:
    """What the script in the member's pod ends with, as Patroni runs it."""
    each = world.me if member == "db-1" else world.other
    synchronous = Synchronous(each.identity, each.dcs, each.postgres)  # type: ignore[arg-type]
    promotion = Promotion(each.identity, each.dcs, each.postgres, synchronous)  # type: ignore[arg-type]
    app = web.Application()
    app.add_routes([web.get(names.PROMOTION_PATH, promotion.ask)])
    runner, port = await serve(app, "127.0.0.1")
    script = render("may-promote.sh.j2", port=port, path=names.PROMOTION_PATH)
    try:
        process = await asyncio.create_subprocess_exec("bash", "-c", script, stderr=asyncio.subprocess.DEVNULL)
        return await process.wait()
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_module, "_GIVEN_UP_SECONDS", 1.0)


async def test_who_won_the_race_is_promoted_when_the_other_has_turned_away(world: World) -> None:
    await world.me.start()
    await world.other.start()
    world.other.postgres.upstream = lambda: PRIMARY_IP  # Patroni has not turned it yet

    world.api.lead("db-1")

    assert await asked(world, "db-1") == 0
    assert not world.other.connected
    assert not world.other.postgres.receiving
    fence = world.api.fence_of("db-2")
    assert fence is not None
    assert (fence["term"], fence["against"]) == (world.api.term(), "db-0")
    assert world.me.connected, "the new leader itself stays as it is until its promotion"
    assert world.me.postgres.override == 'ANY 1 ("db-0","db-2")', "and acknowledges nothing alone"


async def test_one_that_turned_away_receives_from_the_new_leader_as_soon_as_patroni_has_turned_it(world: World) -> None:
    await world.me.start()
    await world.other.start()

    world.api.lead("db-1")
    await until(lambda: world.api.fence_of("db-2") is not None)

    await until(lambda: world.other.connected)


async def test_who_turned_away_for_a_leader_fences_against_it_when_its_turn_comes(world: World) -> None:
    """In the same term: what it published for the new leader is no fence against it."""
    await world.me.start()
    await world.other.start()
    world.api.lead("db-2")
    await until(lambda: world.api.fence_of("db-1") is not None)
    world.api.history(2, "db-2")
    world.me.postgres.timeline = 2
    world.api.synchronous("db-2", "db-1", quorum=0)
    world.api.renew()

    world.api.put(SYNC, annotations={STOPPED: json.dumps({"term": world.api.term(), "to": "db-1"})})

    await until(lambda: world.api.leader() == "db-1")


async def test_a_voter_that_does_not_turn_away_keeps_the_winner_from_promotion(world: World) -> None:
    await world.me.start()

    world.api.lead("db-1")

    assert await asked(world, "db-1") == 1


async def test_a_voter_that_confirmed_more_after_its_vote_keeps_the_winner_from_promotion(world: World) -> None:
    await world.me.start()
    await world.other.start()
    world.other.postgres.position = 1001

    world.api.lead("db-1")

    assert await asked(world, "db-1") == 1
    assert world.api.fence_of("db-2") is not None


async def test_who_still_reads_its_own_log_is_not_promoted_and_turns_from_nobody(world: World) -> None:
    await world.me.start()
    await world.other.start()
    world.other.postgres.has_read = False
    world.api.lead("db-1")
    await until(lambda: not world.other.connected)

    assert await asked(world, "db-1") == 1
    assert world.api.fence_of("db-2") is None

    world.other.postgres.has_read, world.me.postgres.has_read = True, False
    await until(lambda: world.api.fence_of("db-2") is not None)
    assert await asked(world, "db-1") == 1

    world.me.postgres.has_read = True
    assert await asked(world, "db-1") == 0


async def test_who_has_to_be_promoted_whatever_is_lost_is(world: World) -> None:
    """On a person's word."""
    await world.me.start()
    world.api.lead("db-1")
    world.api.put(SYNC, annotations={"baas-operator.io/promote-anyway": "db-1"})

    assert await asked(world, "db-1") == 0


async def test_without_a_synchronous_state_there_is_nobody_to_wait_for(world: World) -> None:
    await world.me.start()
    world.api.lead("db-1")
    await until(lambda: world.api.fence_of("db-1") is not None)

    world.api.delete(SYNC)

    assert await asked(world, "db-1") == 0
    assert world.me.postgres.override is None


async def test_whom_agents_gave_the_lock_nobody_has_to_turn_away_for(world: World) -> None:
    await world.me.start()
    world.api.lead("db-1")
    world.api.put(LOCK, annotations={GIVEN: world.api.objects[LOCK]["metadata"]["annotations"]["acquireTime"]})
    await until(lambda: world.me.dcs.state.lock.given)
    writes = len(world.api.writes)

    assert await asked(world, "db-1") == 0
    await world.me.looks()
    assert not [path for _, path, _ in world.api.writes[writes:] if path == SYNC]


async def test_who_led_before_is_promoted_and_who_has_no_lock_is_not(world: World) -> None:
    await world.me.start()
    assert await asked(world, "db-1") == 1

    world.api.synchronous("db-1", "db-0", "db-2")
    world.api.lead("db-1")
    assert await asked(world, "db-1") == 0


async def test_an_agent_that_does_not_know_the_question_is_in_nobodys_way() -> None:
    """One of before, in a pod that is not rolled while there is no primary."""
    runner, port = await serve(web.Application(), "127.0.0.1")
    script = render("may-promote.sh.j2", port=port, path=names.PROMOTION_PATH)
    process = await asyncio.create_subprocess_exec("bash", "-c", script, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    await runner.cleanup()


async def test_without_an_agent_nobody_is_promoted() -> None:
    script = render("may-promote.sh.j2", port=1, path=names.PROMOTION_PATH)
    process = await asyncio.create_subprocess_exec("bash", "-c", script, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 1


async def test_of_two_that_have_the_same_one_without_patroni_is_no_heir(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2")
    await world.own_patroni.stop()

    world.power_cut()
    await world.released()

    assert world.api.leader() == "db-2"
