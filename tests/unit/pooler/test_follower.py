"""PgBouncer follows the primary, whatever goes first, and nobody who dies leaves its clients waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from baas_operator.agent.kube import Kube
from baas_operator.desired.database import names
from baas_operator.pooler import follower as follower_module
from baas_operator.pooler import primary as primary_module
from baas_operator.pooler.console import Console, ConsoleError
from baas_operator.pooler.files import Files
from baas_operator.pooler.follower import Follower, address_of
from baas_operator.pooler.main import Http
from tests.unit.agent.stand_in import SLICES, StandIn
from tests.unit.pooler.bouncer import Bouncer, Primary, free_port

OLD, NEW = "127.0.0.2", "127.0.0.3"


class World:
    """Two members, an API server whose slice leads to one of them, a PgBouncer, and its agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = Files(folder / "run", folder / "certificate")
        self.primary = OLD
        """Whose Patroni says that it is."""
        self.patroni = True

    async def start(self, monkeypatch: pytest.MonkeyPatch) -> World:
        for name in ("run", "certificate", "api"):
            (self.folder / name).mkdir()
        monkeypatch.setattr(names, "POSTGRES_PORT", free_port())
        for name, value in (("_LOOK_SECONDS", 0.05), ("_DOUBT_SECONDS", 0.05), ("_AGAIN_SECONDS", 0.02), ("_PAUSE_SECONDS", 0.05)):
            monkeypatch.setattr(follower_module, name, value)

        async def says(_: object, host: str) -> bool | None:
            return host == self.primary if self.patroni else None

        monkeypatch.setattr(primary_module, "says_primary", says)
        self.api = await StandIn(self.folder / "api").start()
        self.members = {host: await Primary(host, names.POSTGRES_PORT).start() for host in (OLD, NEW)}
        self.session = aiohttp.ClientSession()
        self.bouncer = Bouncer(self.files.folder)
        self.start_agent()
        await self.until((self.files.folder / "databases.ini").exists, "PgBouncer can start")
        await self.bouncer.start()
        return self

    def start_agent(self) -> None:
        kube = Kube(self.session, "127.0.0.1", str(self.api.port), account=self.folder / "api")
        self.follower = Follower(
            kube, self.session, Console(self.files.socket), self.files, database="db",
            slices="/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices",
        )  # fmt: skip
        self.running = asyncio.create_task(self.follower.run())

    async def kill_agent(self) -> None:
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running

    async def stop(self) -> None:
        await self.kill_agent()
        await self.bouncer.stop()
        await self.session.close()
        await self.api.stop()
        for each in self.members.values():
            await each.stop()

    async def lead(self, *hosts: str) -> None:
        self.api.route(*hosts)

    async def fail_over(self) -> None:
        self.primary = NEW
        await self.lead(NEW)

    def put_certificate(self, content: str) -> None:
        """As the kubelet does: a folder of its own for each version, and a link that turns to it."""
        volume = self.files.certificate
        (volume / content).mkdir()
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (volume / content / name).write_text(content)
        (volume / "new").symlink_to(content)
        (volume / "new").rename(volume / "..data")

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(5):
                while not reached():  # noqa: ASYNC110 - what is looked at tells nobody
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not so after 5 s: {what}")

    async def until_serving(self, host: str) -> None:
        await self.until(lambda: self.bouncer.loaded == host and not self.bouncer.paused, f"queries go to {host}")

    async def stays(self, so: Callable[[], bool]) -> None:
        for _ in range(20):
            await asyncio.sleep(0.01)  # nothing to wait for: that nothing happens is the point
            assert so()


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = await World(tmp_path).start(monkeypatch)
    yield made
    await made.stop()


@pytest.fixture
async def serving(world: World) -> World:
    await world.lead(OLD)
    await world.until_serving(OLD)
    world.bouncer.said.clear()
    return world


async def test_before_there_is_a_primary_queries_wait(world: World) -> None:
    await world.until(lambda: world.bouncer.paused, "paused")

    await world.lead(OLD)

    await world.until_serving(OLD)


async def test_what_is_right_is_left_alone(serving: World) -> None:
    await serving.stays(lambda: serving.bouncer.said == [])


async def test_a_new_primary_is_followed_and_who_waits_for_the_old_one_is_turned_away(serving: World) -> None:
    """The old one is frozen: its port still takes connections."""
    serving.bouncer.clients = {"0xa": "7", "0xb": "8"}
    serving.bouncer.servers = [(OLD, "0xa", "shop"), (OLD, "", "shop")]

    await serving.fail_over()

    await serving.until_serving(NEW)
    await serving.until(lambda: serving.bouncer.killed == ["7"], "turned away")
    assert "KILL" not in " ".join(each for each in serving.bouncer.said if not each.startswith("KILL_CLIENT")), "others stay"


async def test_who_logs_in_while_the_old_one_is_frozen_begins_again(serving: World) -> None:
    serving.bouncer.servers = [(OLD, "0xc", names.AUTH_DATABASE)]

    await serving.fail_over()

    await serving.until(lambda: f'RESUME "{names.AUTH_DATABASE}"' in serving.bouncer.said, "logins go on")
    assert f'KILL "{names.AUTH_DATABASE}"' in serving.bouncer.said


async def test_an_heir_that_takes_no_writes_yet_gets_no_query(serving: World) -> None:
    """`-rw` leads to it a moment before it is promoted."""
    await serving.lead(NEW)
    await serving.until(lambda: serving.bouncer.loaded == NEW, "PgBouncer knows where to go")
    await serving.stays(lambda: serving.bouncer.paused)

    serving.primary = NEW
    await serving.until_serving(NEW)


async def test_queries_wait_as_soon_as_the_primary_ends_its_connections(serving: World) -> None:
    await serving.members[OLD].stop()

    await serving.until(lambda: serving.bouncer.paused, "paused")
    await serving.fail_over()

    await serving.until_serving(NEW)
    assert serving.bouncer.said == ["PAUSE", "RELOAD", "RESUME"]


async def test_a_primary_that_comes_back_in_its_place_goes_on(serving: World) -> None:
    await serving.members[OLD].stop()
    await serving.until(lambda: serving.bouncer.paused, "paused")

    serving.members[OLD].answer = b"E"
    await serving.members[OLD].start()
    await serving.stays(lambda: serving.bouncer.paused)
    serving.members[OLD].answer = b"R"

    await serving.until_serving(OLD)


async def test_a_primary_that_comes_back_as_a_standby_gets_no_query(serving: World) -> None:
    serving.primary = NEW
    await serving.members[OLD].stop()
    await serving.until(lambda: serving.bouncer.paused, "paused")

    await serving.members[OLD].start()

    await serving.stays(lambda: serving.bouncer.paused)


async def test_without_a_patroni_that_answers_connections_must_do(serving: World) -> None:
    serving.patroni = False
    await serving.members[OLD].stop()
    await serving.until(lambda: serving.bouncer.paused, "paused")

    await serving.members[OLD].start()

    await serving.until_serving(OLD)


async def test_a_watch_that_says_nothing_is_not_relied_on(serving: World) -> None:
    serving.primary = NEW
    serving.api.hold(SLICES)
    serving.api.route(NEW)

    await serving.until_serving(NEW)


# --- planned moves ----------------------------------------------------------------------------------------------------


async def test_a_planned_pause_ends_when_the_primary_has_moved(serving: World) -> None:
    assert await serving.follower.pause(wait_seconds=2, hold_seconds=60)
    assert serving.bouncer.paused

    await serving.fail_over()

    await serving.until_serving(NEW)


async def test_a_planned_pause_ends_by_itself(serving: World) -> None:
    assert await serving.follower.pause(wait_seconds=2, hold_seconds=0.2)

    await serving.until_serving(OLD)


async def test_a_transaction_that_does_not_end_is_not_waited_for(serving: World) -> None:
    serving.bouncer.busy = True
    serving.bouncer.servers = [(OLD, "0xa", "shop")]

    assert not await serving.follower.pause(wait_seconds=0.2, hold_seconds=60)

    await serving.until_serving(OLD)


async def test_an_agent_that_dies_while_clients_wait_lets_them_go_on_when_it_is_back(serving: World) -> None:
    assert await serving.follower.pause(wait_seconds=2, hold_seconds=60)
    await serving.kill_agent()
    assert serving.bouncer.paused

    serving.start_agent()

    await serving.until_serving(OLD)


async def test_an_agent_that_starts_while_the_api_server_is_away_stops_nobody(serving: World) -> None:
    await serving.kill_agent()
    await serving.api.stop()

    serving.start_agent()

    await serving.until(lambda: serving.follower.target == OLD, "it knows from PgBouncer")
    await serving.stays(lambda: not serving.bouncer.paused and serving.bouncer.loaded == OLD)


async def test_a_pgbouncer_that_was_started_anew_is_paused_again(serving: World) -> None:
    await serving.members[OLD].stop()
    await serving.until(lambda: serving.bouncer.paused, "paused")

    serving.bouncer.paused = False

    await serving.until(lambda: serving.bouncer.paused, "paused again")


# --- HTTP ---------------------------------------------------------------------------------------------------------------


async def test_only_who_has_the_token_may_pause(serving: World) -> None:
    token = serving.folder / "token"
    token.write_text("secret\n")
    async with TestClient(TestServer(Http(serving.follower, token, mode="transaction").app())) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer \u00e4"}):
            assert (await client.post("/pause", headers=headers)).status == 401
        assert not serving.bouncer.paused

        good = {"Authorization": "Bearer secret"}
        assert (await client.post("/pause?wait=x", headers=good)).status == 400
        answer = await client.post("/pause?hold=5", headers=good)
        assert (answer.status, (await answer.json())["paused"]) == (200, True)
        assert (await (await client.post("/resume", headers=good)).json()) == {"wasPaused": True}
        await serving.until_serving(OLD)

        serving.bouncer.busy, serving.bouncer.servers = True, [(OLD, "0xa", "shop")]
        answer = await client.post("/pause?wait=0.1", headers=good)
        assert (answer.status, (await answer.json())["paused"]) == (409, False)


async def test_a_session_pool_is_not_paused_for_its_clients_never_let_go(serving: World) -> None:
    token = serving.folder / "token"
    token.write_text("secret\n")
    async with TestClient(TestServer(Http(serving.follower, token, mode="session").app())) as client:
        assert (await client.post("/pause", headers={"Authorization": "Bearer secret"})).status == 409
    assert not serving.bouncer.paused


async def test_readiness_needs_a_primary_and_a_console_that_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TestClient(TestServer(Http(world.follower, world.folder / "token", mode="transaction").app())) as client:
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/livez")).status == (await client.get("/pgbouncer/livez")).status == 200

        await world.lead(OLD)
        await world.until_serving(OLD)
        await world.until(lambda: world.follower.answered > 0, "it answered")
        assert (await client.get("/readyz")).status == 200

        await world.members[OLD].stop()
        await world.until(lambda: world.bouncer.paused, "paused")
        assert (await client.get("/readyz")).status == 200, "clients are to wait here, not to be sent away"

        monkeypatch.setattr("baas_operator.pooler.main._FRESH_SECONDS", 0.1)
        monkeypatch.setattr("baas_operator.pooler.main._STUCK_SECONDS", 0.1)
        await world.bouncer.stop()
        await asyncio.sleep(0.15)
        assert (await client.get("/readyz")).status == (await client.get("/pgbouncer/livez")).status == 503


# --- the small parts ------------------------------------------------------------------------------------------------------


async def test_what_the_console_refuses_is_an_error_with_its_words(serving: World) -> None:
    console = Console(serving.files.socket)
    with pytest.raises(ConsoleError, match="invalid command 'FOO'"):
        await console.run("FOO")
    assert (await console.run("SHOW DATABASES"))[0] == {"name": "pgbouncer", "host": "", "paused": "0"}


async def test_a_console_that_hangs_or_is_not_there_is_an_error(serving: World, tmp_path: Path) -> None:
    with pytest.raises(ConsoleError):
        await Console(tmp_path / "none").run("SHOW STATE")
    serving.bouncer.busy = True
    with pytest.raises(ConsoleError, match="no answer"):
        await Console(serving.files.socket).run("PAUSE", seconds=0.05)
    serving.bouncer.busy = False


async def test_a_renewed_certificate_is_loaded_once(serving: World) -> None:
    serving.put_certificate("first")
    await serving.until(lambda: serving.bouncer.said == ["RELOAD"], "loaded")

    serving.put_certificate("second")

    await serving.until(lambda: serving.bouncer.said == ["RELOAD", "RELOAD"], "loaded")
    await serving.stays(lambda: serving.bouncer.said == ["RELOAD", "RELOAD"])


async def test_a_certificate_that_pgbouncer_could_not_be_told_of_is_not_forgotten(serving: World) -> None:
    serving.bouncer.refuses = "not now"
    serving.put_certificate("first")
    await serving.stays(lambda: True)

    serving.bouncer.refuses = None

    await serving.until(lambda: serving.bouncer.said == ["RELOAD"], "loaded")


@pytest.mark.parametrize(
    ("found", "address"),
    [
        ([{"addresses": [OLD]}], OLD),
        ([{"addresses": [OLD, NEW]}], None),
        ([{"addresses": [OLD]}, {"addresses": [NEW]}], None),
        ([], None),
        (None, None),
    ],
)
def test_a_slice_leads_to_one_place_or_to_none(found: object, address: str | None) -> None:
    assert address_of({"endpoints": found}) == address
