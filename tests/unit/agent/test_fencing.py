"""The watcher beside a standby suspects, fences and releases, one story each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from baas_operator.agent.dcs import STOPPED
from tests.unit.agent.stand_in import LOCK, SYNC, StandIn, until
from tests.unit.agent.world import ASK_AHEAD_SECONDS, DETECTION_SECONDS, PRIMARY_IP, PRIMARY_POD, World

# --- a primary that is well, or may be --------------------------------------------------------------------------------


async def test_a_primary_that_is_well_is_left_alone_and_costs_no_request(world: World) -> None:
    await world.me.start()
    requests = len(world.api.requests)

    await world.me.looks(20)

    assert world.untouched
    assert world.me.connected
    assert len(world.api.requests) == requests
    assert world.patroni.asked == 0


@pytest.mark.parametrize("status", [200, 503])
async def test_one_that_is_silent_and_answers_is_left_alone_whatever_it_says(world: World, status: int) -> None:
    world.patroni.status = status
    await world.me.start()

    world.me.postgres.primary_speaks = False
    await until(lambda: world.patroni.asked >= 10)

    assert world.untouched
    assert world.me.connected


async def test_one_that_answers_no_more_while_it_still_streams_is_left_alone(world: World) -> None:
    await world.me.start()

    await world.patroni.stop()
    await world.me.looks(20)

    assert world.untouched
    assert world.me.connected


async def test_a_silence_that_passes_is_forgotten(world: World) -> None:
    """What the primary did not answer in an earlier silence does not count in the next."""
    await world.me.start()
    world.me.postgres.primary_speaks, world.patroni.hangs = False, True
    await until(lambda: world.patroni.asked >= 1)
    world.comes_back()
    await world.me.looks(10)
    asked = world.patroni.asked

    world.me.postgres.primary_speaks = False
    await until(lambda: world.patroni.asked >= asked + 3)

    assert world.untouched
    assert world.me.connected


@pytest.mark.parametrize(
    "synchronous",
    [lambda api: api.synchronous(None, quorum=0), lambda api: api.synchronous("db-2", "db-1"), lambda api: api.synchronous("db-0", "db-2")],
    ids=["durability async", "the state is of another leader", "no voter"],
)
async def test_where_a_fence_would_not_count_none_is_made(world: World, synchronous: Callable[[StandIn], None]) -> None:
    synchronous(world.api)
    await world.me.start()

    world.power_cut()
    await asyncio.sleep(DETECTION_SECONDS + ASK_AHEAD_SECONDS)  # nothing to wait for: that nothing happens is the point
    await world.me.looks()

    assert world.untouched
    assert world.me.connected


async def test_beside_the_primary_itself_nothing_is_suspected(world: World) -> None:
    world.api.lead("db-1")
    world.api.synchronous("db-1", "db-0", "db-2")
    world.me.postgres.standby = False
    await world.me.start()

    await asyncio.sleep(DETECTION_SECONDS)  # as above
    await world.me.looks()

    assert world.untouched
    assert world.me.connected
    assert world.patroni.asked == 0


# --- fencing and releasing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "breaks"])
async def test_a_primary_without_power_is_released_by_the_second_fence(world: World, hangs: bool) -> None:
    """The other standby's fence is there already."""
    await world.me.start()
    world.api.fence("db-2")
    term, lock_version = world.api.term(), world.api.version(LOCK)
    at_publishing: list[bool] = []
    world.api.before("PATCH", SYNC, lambda: at_publishing.extend([world.me.connected, world.me.postgres.receiving]))

    world.power_cut(hangs=hangs)
    await world.released()

    assert at_publishing == [False, False], "the key and the receiver are gone before anybody is told"
    fence = world.api.fence_of("db-1")
    assert fence is not None
    assert (fence["term"], fence["position"]) == (term, 1000)
    assert [path for _, path, _ in world.api.writes] == [SYNC, LOCK]
    assert world.api.writes[1][2]["metadata"]["resourceVersion"] == str(lock_version)
    assert world.api.leader() == "db-1"


async def test_the_lock_goes_to_who_has_most_of_the_log(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2", position=1001)

    world.power_cut()
    await world.released()

    assert world.api.leader() == "db-2"


async def test_until_it_is_promoted_the_heirs_key_stays_away_and_nothing_more_is_written(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2")
    world.power_cut()
    await world.released()
    writes = len(world.api.writes)

    await world.me.looks(20)

    assert not world.me.connected
    assert len(world.api.writes) == writes


async def test_two_agents_release_once(world: World) -> None:
    await world.me.start()
    await world.other.start()

    world.power_cut()
    await world.released()
    await world.me.looks()
    await world.other.looks()

    assert world.api.answers(LOCK).count(200) == 1
    assert world.api.leader() in ("db-1", "db-2")
    assert [world.me.connected, world.other.connected] == [world.api.leader() == "db-2", world.api.leader() == "db-1"], (
        "who follows the heir needs its key"
    )


async def test_one_fence_alone_releases_nothing(world: World) -> None:
    await world.me.start()

    world.power_cut()
    await world.fenced()
    asked = world.patroni.asked
    await until(lambda: world.patroni.asked >= asked + 2)

    assert world.api.leader() == "db-0"
    assert world.api.answers(SYNC) == [200], "it is published once"
    assert world.api.answers(LOCK) == []


async def test_whoever_waits_releases_when_the_second_fence_comes_from_one_that_dies_over_it(world: World) -> None:
    await world.me.start()
    world.power_cut()
    await world.fenced()
    published = world.api.version(SYNC)
    world.api.renew()

    world.api.fence("db-2")

    await world.released()
    assert world.api.answers(SYNC) == [200, 200], "its own is said again first: what it read of the lock has to be older"
    assert world.api.version(SYNC) > published


@pytest.mark.parametrize("term", ["an earlier one", "db-2/1/t1"])
async def test_a_fence_of_another_term_does_not_count(world: World, term: str) -> None:
    await world.me.start()
    world.api.fence("db-2", term=term)

    world.power_cut()
    await world.fenced()
    await world.me.looks(3)

    assert world.api.answers(LOCK) == []


async def test_voters_that_changed_since_the_lock_was_renewed_release_nothing(world: World) -> None:
    world.api.synchronous("db-0", "db-1", quorum=0)
    await world.me.start()

    world.power_cut()
    await world.fenced()
    await world.me.looks(3)

    assert world.api.answers(LOCK) == []


async def test_standbys_that_lag_release_nothing(world: World) -> None:
    world.me.postgres.position = 999
    await world.me.start()
    world.api.fence("db-2", position=999)

    world.power_cut()
    await world.fenced()
    await world.me.looks(3)

    assert world.api.answers(LOCK) == []


async def test_a_standby_that_still_reads_its_own_log_fences_once_it_has(world: World) -> None:
    world.me.postgres.has_read = False
    await world.me.start()
    world.api.fence("db-2")

    world.power_cut()
    await until(lambda: not world.me.connected)
    await world.me.looks(10)
    assert world.untouched

    world.me.postgres.position, world.me.postgres.has_read = 1001, True
    await world.released()
    assert world.api.leader() == "db-1"


async def test_one_that_led_before_hands_the_lock_to_who_has_followed_since_and_not_to_itself(world: World) -> None:
    """It has a tail of its own, at a higher position than the primary has come to by now."""
    world.me.postgres.position = 9000
    world.api.history(2, "db-0")
    await world.me.start()
    world.api.fence("db-2", timeline=2)

    world.power_cut()
    await world.released()

    assert world.api.leader() == "db-2"


async def test_before_the_history_tells_of_the_leaders_timeline_nothing_is_released(world: World) -> None:
    world.api.history(2, "db-2")
    world.me.postgres.timeline = 2
    await world.me.start()
    world.api.fence("db-2", timeline=2)

    world.power_cut()
    await world.fenced()
    await world.me.looks(3)
    assert world.api.answers(LOCK) == []

    world.api.history(2, "db-0")
    await world.released()


async def test_a_lock_that_was_renewed_in_between_stays_and_is_tried_again(world: World) -> None:
    await world.me.start()
    world.api.fence("db-2")
    world.api.before("PATCH", LOCK, world.api.renew)

    world.power_cut()
    await world.released()

    assert world.api.answers(LOCK) == [409, 200]


async def test_voters_that_change_while_the_fence_is_on_its_way_keep_the_lock(world: World) -> None:
    """The primary lives, and strikes the other standby off between our look and our fence."""
    await world.me.start()
    world.api.fence("db-2")
    world.api.before("PATCH", SYNC, lambda: world.api.synchronous("db-0", "db-1", quorum=0))

    world.power_cut()
    await world.fenced()
    await world.me.looks(3)

    assert world.api.answers(LOCK) == []


async def test_a_refused_connection_is_news_for_which_nobody_waits(world: World) -> None:
    await world.me.start(detection_seconds=60)
    world.api.fence("db-2")

    await world.process_dies()
    await world.released()

    assert world.api.leader() == "db-1"
    assert not world.me.connected


async def test_a_primary_whose_pod_is_gone_is_dead(world: World) -> None:
    await world.me.start(detection_seconds=60)
    world.api.fence("db-2")

    world.me.postgres.primary_speaks = world.me.postgres.receiving = False
    world.patroni.hangs = True
    world.api.delete(PRIMARY_POD)

    await world.released()
    assert world.patroni.asked == 0


async def test_a_primary_that_was_stopped_for_a_planned_move_is_replaced_though_its_patroni_answers(world: World) -> None:
    await world.me.start(detection_seconds=60)
    world.api.fence("db-2")
    told = json.dumps({"term": world.api.term(), "to": "db-2"})

    world.me.postgres.primary_speaks = world.me.postgres.receiving = False
    world.api.put(SYNC, annotations={STOPPED: told})

    await world.released(seconds=2)
    assert world.api.leader() == "db-2"


async def test_a_broken_connection_alone_is_waited_out(world: World) -> None:
    await world.me.start(detection_seconds=60)

    world.me.postgres.primary_speaks = world.me.postgres.receiving = False
    await until(lambda: world.patroni.asked >= 3)

    assert world.untouched
    assert world.me.connected


async def test_a_pod_made_anew_is_asked_at_its_new_address(world: World) -> None:
    await world.me.start(detection_seconds=60)
    world.api.synchronous(None, quorum=0)  # so that the news of the death is not acted upon
    await until(lambda: world.me.dcs.state.sync.leader is None)
    world.api.put(PRIMARY_POD, status={"podIP": "127.0.0.3"})
    world.api.synchronous("db-0", "db-1", "db-2")
    world.api.before("GET", PRIMARY_POD, lambda: world.api.put(PRIMARY_POD, status={"podIP": PRIMARY_IP}))

    world.me.postgres.primary_speaks = world.me.postgres.receiving = False
    await until(lambda: world.patroni.asked >= 2)

    assert world.untouched
