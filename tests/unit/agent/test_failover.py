"""The watcher beside a standby: suspects, fences, releases, and takes it back, one story each.

The API server and the primary's Patroni are stand-ins that speak HTTP. The member's own PostgreSQL is a class that is as an agent finds
one: unit tests have no PostgreSQL, so that what its views and signals really do is for the tests with a cluster to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from baas_operator.agent import dcs as dcs_module
from baas_operator.agent import failover as failover_module
from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import STOPPED, Dcs
from baas_operator.agent.failover import Watcher
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.postgres import Look, UnavailableError
from baas_operator.desired.database import names
from baas_operator.policy import failover as policy_module
from tests.unit.agent.stand_in import CONFIG_MAPS, LOCK, PODS, SYNC, Patroni, StandIn, stop, until
from tests.unit.agent.test_credentials import Volume

PRIMARY_IP = "127.0.0.2"
PRIMARY_POD = f"{PODS}/db-0"
DETECTION_SECONDS, ASK_AHEAD_SECONDS = 0.35, 0.3


class Postgres:
    """A standby's. It streams while the primary speaks; a receiver that is ended comes back only with a key."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._last = time.monotonic()
        self.standby = True
        self.primary_speaks = True
        self.receiving = True
        self.away = False
        self.runs = True
        self.position = 1000
        self.looks = 0
        self.while_looking: Callable[[], None] | None = None
        self.upstream: Callable[[], str | None] = lambda: None
        """Patroni's word to PostgreSQL: the address of the member that the lock names, unless a story says otherwise."""

    async def look(self) -> Look:
        self.looks += 1
        if self.away:
            raise UnavailableError("starting up")
        if self.while_looking:
            happens, self.while_looking = self.while_looking, None
            happens()
            await asyncio.sleep(0.1)  # as long as a PostgreSQL under load takes: longer than the watch
        if self.primary_speaks:
            self.receiving |= self._credentials.connected
            self._last = time.monotonic()
        silence = time.monotonic() - self._last if self.standby and self.receiving else None
        return Look(self.standby, silence, (7,) if self.receiving else (), self.position, self.upstream())

    async def end_receivers(self) -> Look:
        await self.look()
        self.receiving = False
        return await self.look()


class Member:
    """A standby with its agent."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        folder.mkdir()
        (folder / "lent").mkdir()
        self.credentials = Credentials(Volume(folder / "secret").folder, folder / "lent")
        self.credentials.connect()
        self.postgres = Postgres(self.credentials)
        self.identity = Identity(database="db", namespace="prod", pod=name, ip="10.0.0.9", node="node")
        self._world = world
        self._running: list[asyncio.Task[None]] = []

    async def start(self, *, detection_seconds: float = DETECTION_SECONDS) -> None:
        """Start the agent; returns when it knows what is."""
        world = self._world
        self.dcs = Dcs(world.kube, self.identity)
        watcher = Watcher(
            world.kube, world.session, self.identity, self.dcs, self.credentials, self.postgres,  # type: ignore[arg-type]
            detection_seconds=detection_seconds,
        )  # fmt: skip
        self._running = [asyncio.create_task(each) for each in (self.dcs.run(), watcher.run())]
        await until(lambda: self.dcs.state.version == world.api.version(SYNC))
        await self.looks(2)

    async def stop(self) -> None:
        """Kill the agent."""
        running, self._running = self._running, []
        await stop(*running)

    async def looks(self, times: int = 10) -> None:
        """Until it has looked so many times more."""
        goal = self.postgres.looks + times
        await until(lambda: self.postgres.looks >= goal)

    @property
    def connected(self) -> bool:
        return self.credentials.connected


class World:
    """db-0 leads; db-1 and db-2 are its voters, and one of them has to confirm each commit."""

    def __init__(self, api: StandIn, session: aiohttp.ClientSession, folder: Path) -> None:
        self.api = api
        self.session = session
        self.kube = Kube(session, "127.0.0.1", str(api.port), account=api.folder)
        self.patroni = Patroni(PRIMARY_IP)
        self.me = Member(self, "db-1", folder / "db-1")
        self.other = Member(self, "db-2", folder / "db-2")
        api.lead("db-0")
        api.synchronous("db-0", "db-1", "db-2")
        api.renew()
        api.put(PRIMARY_POD, status={"podIP": PRIMARY_IP})
        api.put(f"{PODS}/db-1", status={"podIP": "127.0.0.8"})
        api.put(f"{PODS}/db-2", status={"podIP": "127.0.0.9"})
        for each in (self.me, self.other):
            each.postgres.upstream = self.leaders_address

    def leaders_address(self) -> str | None:
        """Where Patroni has PostgreSQL receive from, as soon as the lock names somebody."""
        found = self.api.objects.get(f"{PODS}/{self.api.leader()}") or {}
        address: str | None = found.get("status", {}).get("podIP")
        return address

    def power_cut(self, *, hangs: bool = False) -> None:
        """The primary falls silent, and answers nobody: connections hang, or (quicker to tell) break without a word."""
        self.patroni.hangs, self.patroni.breaks = hangs, not hangs
        for each in (self.me, self.other):
            each.postgres.primary_speaks = False

    async def process_dies(self) -> None:
        """The primary's connections break, and its host refuses new ones."""
        await self.patroni.stop()
        for each in (self.me, self.other):
            each.postgres.primary_speaks = each.postgres.receiving = False

    def comes_back(self) -> None:
        """The primary speaks and answers again."""
        self.patroni.hangs = self.patroni.breaks = False
        for each in (self.me, self.other):
            each.postgres.primary_speaks = True

    async def fenced(self) -> None:
        """Until this member's fence is published."""
        await until(lambda: self.api.fence_of("db-1") is not None)

    async def released(self, *, seconds: float = 10.0) -> None:
        """Until the old primary has the lock no more."""
        await until(lambda: self.api.leader() != "db-0", seconds=seconds)

    @property
    def untouched(self) -> bool:
        """Whether nobody wrote anything."""
        return self.api.writes == []


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
        monkeypatch.setattr(names, "PATRONI_PORT", made.patroni.port)
        yield made
        await made.me.stop()
        await made.other.stop()
    await made.patroni.stop()
    await api.stop()


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


async def test_a_standby_that_lags_releases_nothing(world: World) -> None:
    world.me.postgres.position = 999
    await world.me.start()
    world.api.fence("db-2")

    world.power_cut()
    await world.fenced()
    await world.me.looks(3)

    assert world.api.answers(LOCK) == []


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
    """Reading and writing go, but what others wrote meanwhile is not known."""
    await world.me.start()
    world.api.fence("db-2")
    await until(lambda: world.me.dcs.state.version == world.api.version(SYNC))
    world.api.hold(CONFIG_MAPS)

    world.power_cut()
    await until(lambda: world.api.answers(SYNC).count(200) >= 2)
    assert world.api.answers(LOCK) == []

    world.api.let_go(CONFIG_MAPS)
    await world.released()


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
