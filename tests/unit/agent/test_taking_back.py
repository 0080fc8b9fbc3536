"""The watcher takes a fence back, starts in the middle of something, and does without what it needs, one story each."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from baas_operator.agent.dcs import STOPPED
from tests.unit.agent.stand_in import CONFIG_MAPS, LOCK, PODS, SYNC, Patroni, until
from tests.unit.agent.world import ASK_AHEAD_SECONDS, DETECTION_SECONDS, World

# --- taking it back ---------------------------------------------------------------------------------------------------


async def test_when_the_primary_answers_again_the_fence_goes_first_and_the_key_comes_after_the_lock_was_written(world: World) -> None:
    await world.me.start()
    world.power_cut()
    await world.fenced()
    assert not world.me.connected

    world.comes_back()
    await until(lambda: world.api.fence_of("db-1") is None)
    await world.me.looks(20)
    assert not world.me.connected, "whoever counted on the fence has read this version of the lock"

    world.api.renew()
    await until(lambda: world.me.connected)
    await until(lambda: world.me.postgres.receiving)
    assert world.api.leader() == "db-0"
    assert world.api.answers(LOCK) == []


async def test_one_that_was_struck_off_meanwhile_comes_back_and_becomes_a_voter_again(world: World) -> None:
    """The primary lives on, with the other standby alone."""
    await world.me.start()
    world.power_cut()
    await world.fenced()

    world.api.renew()
    world.api.synchronous("db-0", "db-2", quorum=0)
    await until(lambda: world.api.fence_of("db-1") is None)
    world.comes_back()
    await world.me.looks(3)  # it has read the lock after that
    world.api.renew()

    await until(lambda: world.me.connected and world.me.postgres.receiving)
    assert world.api.leader() == "db-0"


async def test_a_lock_that_is_written_just_before_the_fence_goes_is_not_written_once_more(world: World) -> None:
    await world.me.start()
    world.power_cut()
    await world.fenced()

    world.api.before("PATCH", SYNC, world.api.renew)
    world.comes_back()
    await until(lambda: world.api.fence_of("db-1") is None)
    await world.me.looks(20)

    assert not world.me.connected


async def test_after_a_mistaken_suspicion_the_next_one_is_as_good(world: World) -> None:
    await world.me.start()
    world.power_cut()
    await world.fenced()
    world.comes_back()
    await until(lambda: world.api.fence_of("db-1") is None)
    await world.me.looks(3)  # it has read the lock after that
    world.api.renew()
    await until(lambda: world.me.connected and world.me.postgres.receiving)

    world.api.fence("db-2")
    world.power_cut()

    await world.released()


async def test_to_a_new_leader_the_key_is_back_at_once(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2", position=1001)
    world.power_cut()
    await world.released()

    await until(lambda: world.me.connected)
    assert world.api.fence_of("db-1") is not None, "of an earlier term: it counts for nobody"


async def test_a_member_that_leads_now_has_its_key_back(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2")
    world.power_cut()
    await world.released()

    world.me.postgres.standby = False

    await until(lambda: world.me.connected)


async def test_one_that_runs_and_does_not_answer_may_still_name_the_old_primary(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2", position=1001)
    world.power_cut()
    await world.fenced()
    world.me.postgres.away = True
    await world.released()
    await world.me.looks(10)
    assert not world.me.connected

    world.me.postgres.runs = False
    await until(lambda: world.me.connected)


async def test_a_primary_that_runs_again_after_it_was_stopped_begins_a_new_term(world: World) -> None:
    """The move did not come about. Fences that were made for it count no more."""
    await world.me.start()
    world.api.lead("db-1")
    world.api.synchronous("db-1", "db-0", "db-2")
    term = world.api.term()
    world.me.postgres.standby = False
    world.api.put(SYNC, annotations={STOPPED: json.dumps({"term": term, "to": "db-2"})})

    await until(lambda: world.api.term() != term)
    assert world.api.leader() == "db-1"
    writes = len(world.api.writes)
    await world.me.looks(5)
    assert len(world.api.writes) == writes, "once"


async def test_one_that_was_promoted_a_moment_ago_publishes_nothing(world: World) -> None:
    await world.me.start()
    world.power_cut()
    world.me.postgres.while_looking = lambda: setattr(world.me.postgres, "standby", False)
    await world.me.looks(20)

    assert world.api.fence_of("db-1") is None


async def test_a_new_leader_does_not_inherit_the_silence_of_the_old(world: World) -> None:
    """The lock changes hands while PostgreSQL takes its time to answer."""

    def changes_hands() -> None:
        world.api.lead("db-2")
        world.api.synchronous("db-2", "db-0", "db-1")

    successor = Patroni("127.0.0.3")
    await successor.start(world.patroni.port)
    world.api.put(f"{PODS}/db-2", status={"podIP": successor.host})
    await world.me.start()
    world.power_cut()
    await world.fenced()

    world.me.postgres.while_looking = changes_hands
    await until(lambda: world.me.postgres.while_looking is None)
    await world.me.looks()
    await successor.stop()

    assert world.me.connected
    assert world.api.answers(SYNC) == [200], "its fence against the old one"


# --- agents that restart ----------------------------------------------------------------------------------------------


async def test_an_agent_that_starts_without_key_and_with_a_fence_takes_it_back_in_order(world: World) -> None:
    world.me.credentials.disconnect()
    world.me.postgres.receiving = False
    world.api.fence("db-1")
    await world.me.start()

    await until(lambda: world.api.fence_of("db-1") is None)
    await world.me.looks(20)
    assert not world.me.connected

    world.api.renew()
    await until(lambda: world.me.connected)


async def test_an_agent_that_starts_with_key_and_fence_takes_the_fence_back(world: World) -> None:
    world.api.fence("db-1")
    await world.me.start()

    await until(lambda: world.api.fence_of("db-1") is None)

    await world.me.looks(3)
    assert world.me.connected


async def test_an_agent_that_starts_without_key_waits_for_the_lock_to_be_written(world: World) -> None:
    """A member's first start is that: the key's volume is empty."""
    world.me.credentials.disconnect()
    await world.me.start()
    await world.me.looks(20)
    assert not world.me.connected

    world.api.renew()

    await until(lambda: world.me.connected)


async def test_an_agent_that_restarts_over_a_dead_primary_keeps_its_fence_and_leaves_the_rest_to_others(world: World) -> None:
    """It can not know since when the voters are what they are. Another releases, or the lock runs out; the next leader is followed."""
    await world.me.start()
    world.power_cut()
    await world.fenced()
    await world.me.stop()

    await world.me.start()
    await world.me.looks(20)
    assert world.api.fence_of("db-1") is not None
    assert not world.me.connected
    assert world.api.leader() == "db-0"

    world.api.lead(None)
    world.api.lead("db-2")
    await until(lambda: world.me.connected)


# --- what agents need is away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "refuse"])
async def test_without_the_api_server_a_primary_that_is_well_is_left_alone(world: World, how: str) -> None:
    await world.me.start()

    world.api.fail(how)
    await world.me.looks(20)

    assert world.me.connected
    assert world.untouched


@pytest.mark.parametrize("how", ["cut", "refuse"])
async def test_without_the_api_server_nobody_is_released_and_with_it_again_all_goes_on(world: World, how: str) -> None:
    await world.me.start()
    world.api.fence("db-2")
    await until(lambda: world.me.dcs.state.version == world.api.version(SYNC))
    world.api.fail(how)

    world.power_cut()
    await asyncio.sleep(DETECTION_SECONDS + ASK_AHEAD_SECONDS)  # nothing to wait for, as above
    await world.me.looks()
    assert world.me.connected, "nobody knows where to ask the primary"
    assert world.untouched

    world.api.fail(None)
    await world.released()


async def test_an_api_server_that_goes_after_the_primary_was_asked_releases_nothing(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2")

    world.power_cut()
    await until(lambda: world.patroni.asked >= 1)
    world.api.fail("refuse")
    await until(lambda: not world.me.connected)
    await world.me.looks()
    assert world.untouched

    world.api.fail(None)
    await world.released()


async def test_a_fence_that_no_watch_brings_back_releases_nothing(world: World) -> None:
    """Reading and writing go, but what others wrote meanwhile is not known, also after the watch was dialled anew."""
    await world.me.start()
    world.api.fence("db-2")
    await until(lambda: world.me.dcs.state.version == world.api.version(SYNC))
    world.api.hold(CONFIG_MAPS, new=True)

    world.power_cut()
    await until(lambda: world.api.answers(SYNC).count(200) >= 2)
    assert world.api.answers(LOCK) == []

    world.api.let_go(CONFIG_MAPS)
    await world.released()


async def test_a_watch_that_died_with_the_primarys_node_is_dialled_anew_rather_than_waited_for(world: World) -> None:
    """It was through an API server in the same zone."""
    await world.me.start()
    world.api.fence("db-2")
    await until(lambda: world.me.dcs.state.version == world.api.version(SYNC))
    world.api.hold(CONFIG_MAPS)

    world.power_cut()

    await world.released(seconds=5.0)


async def test_the_other_fence_that_arrives_in_the_same_moment_counts(world: World) -> None:
    """Both standbys notice at once: the watch brings the other's fence only after this one was cut off."""
    await world.me.start()

    world.power_cut()
    await until(lambda: world.patroni.asked >= 1)
    world.api.hold(CONFIG_MAPS)
    world.api.fence("db-2")
    await until(lambda: not world.me.connected)
    await world.fenced()
    world.api.let_go(CONFIG_MAPS)

    await world.released(seconds=2)


async def test_without_postgresql_nobody_is_released(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2")

    world.power_cut()
    world.me.postgres.away = True
    await until(lambda: not world.me.connected)
    await world.me.looks()
    assert world.untouched

    world.me.postgres.away = False
    await world.released()
    fence = world.api.fence_of("db-1")
    assert fence is not None
    assert fence["position"] == 1000


async def test_a_postgresql_that_starts_beside_a_primary_that_answers_is_left_alone(world: World) -> None:
    await world.me.start()

    world.me.postgres.away = True
    await until(lambda: world.patroni.asked >= 3)

    assert world.untouched
    assert world.me.connected


async def test_a_suspicion_that_has_grown_old_is_asked_about_before_the_fence(world: World) -> None:
    """PostgreSQL was away since the cut, and the primary has been back for long when it returns."""
    await world.me.start()
    world.power_cut()
    world.me.postgres.away = True
    await until(lambda: not world.me.connected)
    world.me.postgres.receiving = False
    await world.me.looks()

    world.comes_back()
    asked = world.patroni.asked
    with contextlib.suppress(AssertionError):
        await until(lambda: world.patroni.asked > asked, seconds=1)
    world.me.postgres.away = False
    await world.me.looks()

    assert world.api.answers(SYNC) == []
