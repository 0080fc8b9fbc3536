"""A planned move: what is looked at before PostgreSQL is stopped, and what becomes of clients."""

from __future__ import annotations

import asyncio

import pytest

from baas_operator.agent import dcs as dcs_module
from tests.unit.agent.moves.world import MOVED, World
from tests.unit.agent.stand_in import LOCK, PODS, until


async def test_a_primary_is_not_stopped_while_the_agents_that_hand_the_lock_over_are_away(world: World) -> None:
    """Nobody would take it, and Patroni's own race asks the same agents: a planned move is not worth an outage."""
    world.start_pooler()
    world.agents_say = 503

    status, said = await world.asked_by_the_operator("db-2")

    assert (status, world.api.leader()) == (503, "db-0")
    assert said.startswith("The agent beside db-1, db-2 does not answer, goes, or hears nothing of Patroni's lock")
    assert world.done == ["checkpoint"], "no client waited for it, either"


async def test_one_agent_too_few_is_too_few_and_one_without_a_pod_is_away(world: World) -> None:
    del world.api.objects[f"{PODS}/db-1"]["status"]["podIP"]

    status, said = await world.asked_by_the_operator("db-2")

    assert (status, world.done) == (503, ["checkpoint"])
    assert said.startswith("The agent beside db-1 does not answer")


async def test_an_agent_whose_pod_goes_is_away_as_its_postgresql_goes_before_it(world: World) -> None:
    world.delete("db-1")

    status, said = await world.asked_by_the_operator("db-2")

    assert (status, world.done) == (503, ["checkpoint"])
    assert said.startswith("The agent beside db-1 does not answer, goes")


@pytest.mark.parametrize("gone", [False, True])
async def test_nothing_is_moved_to_a_pod_that_goes(world: World, gone: bool) -> None:
    """It may have been chosen some seconds ago."""
    world.delete("db-2")
    if gone:
        del world.api.objects[f"{PODS}/db-2"]

    assert await world.asked_by_the_operator("db-2") == (503, "db-2 is about to go itself.")
    assert world.done == []


async def test_an_agent_tells_whether_it_hears_of_the_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.renew()
    await until(lambda: world.mover._dcs.up_to_date)
    assert (await world.requests.watches(None)).status == 200  # type: ignore[arg-type]

    monkeypatch.setattr(dcs_module, "_FRESH_SECONDS", 0.0)
    assert (await world.requests.watches(None)).status == 503  # type: ignore[arg-type]


async def test_an_agent_of_an_older_image_is_no_obstacle_to_a_move(world: World) -> None:
    world.agents_say = 404

    assert (await world.asked_by_the_operator("db-2"))[0] == 200


@pytest.mark.parametrize("says", [200, 409, 500])
async def test_clients_of_the_pooler_wait_meanwhile_and_what_a_pooler_says_holds_nobody_up(world: World, says: int) -> None:
    world.start_pooler()
    world.pooler_says = says
    world.delete("db-0")

    await world.retire()

    assert world.done == ["checkpoint", "pause", "stop", "told"], "nobody has to come back: poolers go on by themselves"
    assert world.api.leader() == "db-2"


async def test_clients_go_on_when_the_move_did_not_come_about_and_do_not_wait_for_the_next_try(world: World) -> None:
    world.start_pooler()
    world.delete("db-0")
    world.obeys = False

    await world.retire()

    assert world.done[:5] == ["checkpoint", "pause", "stop", "told", "resume"]
    assert world.done.count("pause") == 1
    assert world.done.count("stop") > 1
    assert world.api.leader() == "db-0"


async def test_voters_that_changed_just_now_are_waited_for_before_postgresql_is_stopped(world: World) -> None:
    """Their fences count once the lock was renewed, which a primary that was stopped does not do."""
    world.api.synchronous("db-0", "db-2", quorum=0)
    await until(lambda: world.mover._dcs.state.sync.voters == {"db-2"} and not world.mover._dcs.state.sync.settled)
    world.delete("db-0")
    asking = asyncio.create_task(world.retire())
    await asyncio.sleep(0.1)
    assert world.done == []

    world.api.renew()
    await asking
    assert world.done == MOVED


async def test_a_voter_that_does_not_confirm_is_not_waited_for_with_postgresql_stopped(world: World) -> None:
    world.unconfirmed = {"db-1"}
    assert await world.asked_by_the_operator("db-2") == (
        503, "db-1 does not confirm or replay what was written: a new primary would be waited for.",
    )  # fmt: skip

    assert world.done == ["checkpoint"]


async def test_a_shutdown_that_somebody_holds_up_is_told_all_the_same(world: World) -> None:
    world.stops = True

    assert await world.asked_by_the_operator("db-2") == (200, "db-2 leads.")
    assert world.done == MOVED


async def test_while_patroni_is_paused_it_is_asked_itself(world: World) -> None:
    world.paused = True

    assert await world.asked_by_the_operator("db-2") == (200, "db-2 leads.")
    assert world.done == ["checkpoint", "Patroni: db-0 to db-2"]


async def test_another_term_that_began_meanwhile_is_left_alone(world: World) -> None:
    world.api.before("GET", LOCK, lambda: world.api.lead("db-1"))

    assert await world.asked_by_the_operator("db-2") == (503, "db-1 leads by now.")
    assert world.done == ["checkpoint"]


async def test_where_nobody_confirms_commits_patroni_is_asked(world: World) -> None:
    world.api.synchronous(None, quorum=0)
    await until(lambda: world.mover._dcs.state.sync.leader is None)

    assert await world.asked_by_the_operator("db-1") == (200, "db-1 leads.")

    assert world.done == ["checkpoint", "Patroni: db-0 to db-1"]


async def test_the_operator_shows_a_password_and_asks_the_leader(world: World) -> None:
    assert (await world.asked_by_the_operator("db-2", user=("patroni", "wrong")))[0] == 401
    assert await world.asked_by_the_operator("db-2", leader="db-1") == (412, "db-0 does not lead.")
    assert world.done == []

    assert await world.asked_by_the_operator("db-2") == (200, "db-2 leads.")
    assert world.done == MOVED


async def test_another_than_the_candidate_is_told(world: World) -> None:
    assert await world.asked_by_the_operator("db-1") == (503, "db-2 leads.")
