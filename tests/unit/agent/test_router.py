"""The router: `-rw` leads to this member exactly while it leads, whoever else writes and whatever it believes of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from baas_operator.agent import dcs as dcs_module
from baas_operator.agent import router as router_module
from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.postgres import Look, UnavailableError
from baas_operator.agent.router import Router, leads_here
from baas_operator.policy.failover import Reach
from tests.unit.agent.stand_in import CONFIG_MAPS, LOCK, SLICE, SLICES, StandIn, stop, until
from tests.unit.agent.test_credentials import Volume

HERE, THERE = "10.0.0.1", "10.0.0.2"
ME = Identity(database="db", namespace="prod", pod="db-1", ip=HERE, node="node-b")


@dataclass
class Postgres:
    """A standby's that streams, until a story says otherwise."""

    standby: bool = True
    silence: float | None = 0.1
    replayed: bool = True
    away: bool = False
    looks: int = 0

    def close(self) -> None:
        """Nobody asks it for hours."""

    async def look(self) -> Look:
        self.looks += 1
        if self.away:
            raise UnavailableError("starting up")
        return Look(self.standby, self.silence, (), None, self.replayed)

    async def reach(self) -> Reach:
        return Reach(1, 1000)


@dataclass
class World:
    """The API server, and this member's own PostgreSQL and credentials."""

    api: StandIn
    postgres: Postgres
    credentials: Credentials
    dcs: Dcs

    async def promote(self) -> None:
        """This member takes the lock, and PostgreSQL is promoted."""
        self.postgres.standby = False
        self.api.lead("db-1")
        await until(lambda: self.api.leads_to() == [HERE])

    def written(self) -> list[list[str]]:
        """Where each write that counted led to."""
        return [[each["addresses"][0] for each in body["endpoints"]] for status, _, body in self.api.writes if status == 200]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A database that another member leads, with this member's agent running."""
    api, postgres = await StandIn(tmp_path).start(), Postgres()
    api.lead("db-0")
    api.route(THERE)
    (tmp_path / "lent").mkdir()
    credentials = Credentials(Volume(tmp_path / "secret").folder, tmp_path / "lent")
    credentials.connect()
    monkeypatch.setattr(router_module, "_LOOK_SECONDS", 0.01)
    for module in (router_module, dcs_module):
        monkeypatch.setattr(module, "_AFTER_ERROR_SECONDS", 0.01)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, "127.0.0.1", str(api.port), account=tmp_path)
        dcs = Dcs(kube, ME)
        router = Router(kube, ME, dcs, credentials, postgres)  # type: ignore[arg-type]
        running = [asyncio.create_task(dcs.run()), asyncio.create_task(router.run())]
        await until(lambda: api.watches == 2 and dcs.state.lock.leader == "db-0")
        yield World(api, postgres, credentials, dcs)
        await stop(*running)
    await api.stop()


async def nothing_more_happens() -> None:
    """Long enough for many looks. There is nothing to wait for: that nothing happens is the point."""
    await asyncio.sleep(0.1)


async def test_a_member_that_was_promoted_is_routed_to(world: World) -> None:
    await world.promote()

    (endpoint,) = world.api.objects[SLICE]["endpoints"]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert endpoint["targetRef"] == {"kind": "Pod", "name": "db-1", "namespace": "prod"}
    assert endpoint["nodeName"] == "node-b"


async def test_what_is_right_is_not_written_again_and_a_database_at_rest_asks_nobody(world: World) -> None:
    await world.promote()
    requests, looks = len(world.api.requests), world.postgres.looks

    world.api.renew()
    await until(lambda: world.dcs.state.lock.version == world.api.version(LOCK))
    await nothing_more_happens()

    assert world.written() == [[HERE]]
    assert len(world.api.requests) == requests, "a database at rest costs the API server nothing"
    assert world.postgres.looks <= looks + 1


async def test_a_member_that_does_not_lead_asks_nobody(world: World) -> None:
    world.api.renew()
    await until(lambda: world.dcs.state.lock.version == world.api.version(LOCK))
    await nothing_more_happens()

    assert world.api.requests == []
    assert world.postgres.looks == 0


async def test_a_frozen_primary_that_wakes_up_does_not_steal(world: World) -> None:
    """It hears of the slice before it hears of the lock, and its own Patroni still says that it is the primary."""
    await world.promote()
    world.api.hold(CONFIG_MAPS)
    reads = world.api.asked("GET", LOCK)

    world.api.lead("db-0")
    world.api.route(THERE)
    await until(lambda: world.api.asked("GET", LOCK) >= reads + 5)

    assert world.written() == [[HERE]]
    assert world.api.leads_to() == [THERE]
    world.api.let_go(CONFIG_MAPS)
    await until(lambda: world.dcs.state.lock.leader == "db-0")
    await nothing_more_happens()
    assert world.api.leads_to() == [THERE]


async def test_a_primary_that_freezes_after_its_look_at_the_lock_does_not_steal(world: World) -> None:
    def another_is_promoted() -> None:
        world.api.lead("db-2")
        world.api.route("10.0.0.3")
        world.postgres.standby = True

    world.postgres.standby = False
    world.api.before("GET", LOCK, another_is_promoted)
    world.api.lead("db-1")
    await until(lambda: world.api.leader() == "db-2")
    await nothing_more_happens()

    assert world.written() == []


async def test_what_postgresql_says_of_itself_is_not_enough(world: World) -> None:
    """Neither while another holds the lock nor while nobody does."""
    world.postgres.standby = False
    world.api.route("10.9.9.9")
    await nothing_more_happens()
    world.api.lead(None)
    await until(lambda: world.dcs.state.lock.leader is None)
    await nothing_more_happens()

    assert world.api.writes == []


async def test_a_lock_that_was_let_go_of_a_moment_ago_is_not_ours(world: World) -> None:
    await world.promote()
    world.api.hold(CONFIG_MAPS)
    reads = world.api.asked("GET", LOCK)

    world.api.lead(None)
    world.api.route()
    await until(lambda: world.api.asked("GET", LOCK) >= reads + 3)

    assert world.api.leads_to() == []


@pytest.mark.parametrize(
    ("silence", "replayed", "connected"),
    [(None, True, True), (0.1, True, False), (None, False, False)],
    ids=["it may connect again", "it still receives", "it has not replayed all"],
)
async def test_the_lock_alone_is_not_enough(world: World, silence: float | None, replayed: bool, connected: bool) -> None:
    """The lock is taken before PostgreSQL has been promoted: until then reads could miss what was acknowledged."""
    world.postgres.silence, world.postgres.replayed = silence, replayed
    if not connected:
        world.credentials.disconnect()
    world.api.lead("db-1")
    world.api.route("10.9.9.9")
    await until(lambda: world.postgres.looks >= 5)
    assert world.api.writes == []

    world.postgres.standby = False
    await until(lambda: world.api.leads_to() == [HERE])


async def test_the_heir_that_is_cut_off_and_has_replayed_all_is_routed_to_before_it_is_promoted(world: World) -> None:
    world.credentials.disconnect()
    world.postgres.silence = None
    world.postgres.away = True
    world.api.lead("db-1")
    await until(lambda: world.postgres.looks >= 3)
    assert world.api.writes == []

    world.postgres.away = False
    await until(lambda: world.api.leads_to() == [HERE])


async def test_a_write_that_comes_late_overwrites_nothing(world: World) -> None:
    """Between our look at the slice and our write another member was promoted, and has written."""

    def another_is_promoted() -> None:
        world.api.lead("db-2")
        world.api.route("10.0.0.3")
        world.postgres.standby = True

    world.api.before("PATCH", SLICE, another_is_promoted)
    world.postgres.standby = False
    world.api.lead("db-1")

    await until(lambda: bool(world.api.writes))
    await nothing_more_happens()

    assert world.api.answers(SLICE) == [409]
    assert world.api.leads_to() == ["10.0.0.3"]


async def test_a_conflict_while_we_still_lead_is_tried_again(world: World) -> None:
    world.api.before("PATCH", SLICE, lambda: world.api.route(THERE))

    await world.promote()

    assert world.api.answers(SLICE) == [409, 200]


@pytest.mark.parametrize("by_hand", [("10.9.9.9",), (), (HERE, "10.9.9.9")], ids=["another", "emptied", "one more"])
async def test_a_slice_that_was_edited_by_hand_is_put_back_as_the_watch_tells(world: World, by_hand: tuple[str, ...]) -> None:
    await world.promote()

    world.api.route(*by_hand)

    await until(lambda: world.api.leads_to() == [HERE])
    assert world.written() == [[HERE], [HERE]]


async def test_a_slice_that_was_edited_while_the_answer_to_a_write_was_on_its_way_is_put_back(world: World) -> None:
    """The watch tells of it once, before the answer, which tells of what was before."""
    world.api.after(SLICE, lambda: world.api.route("10.9.9.9"))
    world.postgres.standby = False
    world.api.lead("db-1")

    await until(lambda: world.written() == [[HERE], [HERE]])

    assert world.api.leads_to() == [HERE]


async def test_an_answer_that_makes_no_sense_is_asked_for_again(world: World) -> None:
    """What stands before an API server may answer in its place."""
    world.api.before("GET", LOCK, lambda: world.api.objects[LOCK].pop("metadata"))
    world.postgres.standby = False
    world.api.lead("db-1")
    reads = world.api.asked("GET", LOCK)
    lock = dict(world.api.objects[LOCK])
    await until(lambda: world.api.asked("GET", LOCK) > reads + 1)

    world.api.objects[LOCK] = lock

    await until(lambda: world.api.leads_to() == [HERE])


async def test_a_slice_that_was_edited_while_the_watches_were_broken_is_put_back(world: World) -> None:
    await world.promote()
    world.api.hold(SLICES)
    world.api.route("10.9.9.9")

    world.api.end_watches()

    await until(lambda: world.api.leads_to() == [HERE])


@pytest.mark.parametrize("how", ["cut", "refuse"])
async def test_a_promotion_while_the_api_server_was_away_is_routed_to_when_it_is_back(world: World, how: str) -> None:
    world.api.fail(how)
    world.postgres.standby = False
    world.api.lead("db-1")
    await nothing_more_happens()
    assert world.api.writes == []

    world.api.fail(None)

    await until(lambda: world.api.leads_to() == [HERE])


async def test_a_member_that_was_demoted_leaves_the_slice_to_its_successor(world: World) -> None:
    await world.promote()

    world.postgres.standby = True
    world.api.lead("db-0")
    world.api.route(THERE)
    await until(lambda: world.dcs.state.lock.leader == "db-0")
    await nothing_more_happens()

    assert world.api.leads_to() == [THERE]


@pytest.mark.parametrize(
    ("found", "here"),
    [
        ([{"addresses": [HERE]}], True),
        ([{"addresses": [THERE]}], False),
        ([{"addresses": [HERE]}, {"addresses": [THERE]}], False),
        ([{"addresses": [HERE, THERE]}], False),
        ([], False),
        (None, False),
    ],
)
def test_leading_here_means_here_and_nowhere_else(found: list[dict[str, list[str]]] | None, here: bool) -> None:
    assert leads_here({"endpoints": found}, ME) is here
