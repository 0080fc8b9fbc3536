"""An agent tells how full its volume is, and whether the primary lets the member in; by steps, and only what it tried."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import asyncpg
import pytest

from baas_operator.agent import report as report_module
from baas_operator.agent.dcs import Dcs, State
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube
from baas_operator.agent.postgres import Look, UnavailableError
from baas_operator.agent.report import Reporter, volume_of
from baas_operator.observe.report import REPORT, Report, Volume, read_report
from baas_operator.policy.failover import Lock
from tests.unit.agent.stand_in import PODS, StandIn

ME = Identity(database="db", namespace="prod", pod="db-1", ip="10.0.0.1", node="node-b")
GIB = 2**30
_SSL_REQUEST = 80877103


class Primary:
    """The primary's PostgreSQL as far as a login goes (its manual, "Message Flow", "Start-up"), over TLS with a client certificate."""

    def __init__(self, folder: Path) -> None:
        self.admits = True
        self.logins: list[dict[str, str]] = []
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_cert_chain(folder / "ca.crt", folder / "key.pem")

    async def start(self) -> asyncio.Server:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self.server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert struct.unpack("!II", await reader.readexactly(8)) == (8, _SSL_REQUEST)
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(self._tls)
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            words = (await reader.readexactly(length - 4))[4:].decode().split("\0")
            self.logins.append(dict(zip(words[::2], words[1::2], strict=False)))
            if self.admits:
                ready = b"R" + struct.pack("!II", 8, 0) + b"S" + struct.pack("!I", 24) + b"server_version\x0017.0\0"
                ready += b"K" + struct.pack("!III", 12, 1, 2) + b"Z" + struct.pack("!I", 5) + b"I"
            else:
                fields = b"SFATAL\0C28000\0Mno pg_hba.conf entry\0\0"
                ready = b"E" + struct.pack("!I", len(fields) + 4) + fields
            writer.write(ready)
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


class World:
    """db-1, whose agent this is, beside a PostgreSQL of which is told how it follows db-0."""

    def __init__(self, api: StandIn, primary: Primary, folder: Path) -> None:
        self.api, self.primary, self.folder = api, primary, folder
        self.follows: bool | None = True
        """None: its PostgreSQL does not answer."""
        self.connected = True
        self.volume = Volume(100 * GIB, 50 * GIB)
        api.put(f"{PODS}/db-1")
        api.put(f"{PODS}/db-0", status={"podIP": "127.0.0.1"})

    async def look(self) -> Look:
        if self.follows is None:
            raise UnavailableError("it is down")
        return Look(True, 0.1 if self.follows else None, (), None)

    def reporter(self, session: aiohttp.ClientSession, leader: str | None = "db-0") -> Reporter:
        kube = Kube(session, "127.0.0.1", str(self.api.port), account=self.folder)
        dcs = Dcs(kube, ME)
        dcs.state = State(lock=Lock(leader, "t", 1, 0))
        return Reporter(
            kube, ME, dcs, self, self, volume=self.folder, certificate=self.folder, port=self.primary.port,  # type: ignore[arg-type]
        )  # fmt: skip

    def told(self) -> Report:
        return read_report(self.api.objects[f"{PODS}/db-1"])

    @property
    def writes(self) -> int:
        return len(self.api.answers(f"{PODS}/db-1"))


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    api = await StandIn(tmp_path).start()
    shutil.copy(tmp_path / "ca.crt", tmp_path / "tls.crt")
    shutil.copy(tmp_path / "key.pem", tmp_path / "tls.key")
    primary = Primary(tmp_path)
    server = await primary.start()
    made = World(api, primary, tmp_path)
    monkeypatch.setattr(report_module, "volume_of", lambda _: made.volume)
    yield made
    server.close()
    await api.stop()


async def looks(world: World, count: int, leader: str | None = "db-0") -> Reporter:
    async with aiohttp.ClientSession() as session:
        made = world.reporter(session, leader)
        for _ in range(count):
            await made.look()
        return made


# --- how full it is ----------------------------------------------------------------------------------------------------


async def test_a_volume_is_told_once_and_again_when_it_is_another_by_a_step(world: World) -> None:
    async with aiohttp.ClientSession() as session:
        reporter = world.reporter(session)
        told = []
        for free in (50, 49, 48, 44, 43, 19, 14):
            world.volume = Volume(100 * GIB, free * GIB)
            await reporter.look()
            found = world.told().volume
            assert found
            told.append(found.free // GIB)

    assert told == [50, 50, 50, 44, 44, 19, 14]
    assert world.writes == 4


async def test_what_could_not_be_told_stays_to_be_told(world: World) -> None:
    async with aiohttp.ClientSession() as session:
        reporter = world.reporter(session)
        world.api.fail("cut")
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            await reporter.look()
        world.api.fail(None)
        await reporter.look()

    assert world.told().volume == world.volume


async def test_a_disk_that_does_not_answer_holds_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    begun = []

    def hangs(_: Path) -> Volume:
        begun.append(1)
        over.wait(20)
        return world.volume

    monkeypatch.setattr(report_module, "volume_of", hangs)
    monkeypatch.setattr(report_module, "_MEASURE_SECONDS", 0.05)
    async with aiohttp.ClientSession() as session:
        reporter = world.reporter(session)
        await reporter.look()
        await reporter.look()
        assert (world.told(), begun) == (Report(), [1]), "one thread hangs, and no other is put beside it"
        over.set()
        while world.told().volume is None:
            await reporter.look()


def test_a_volume_is_what_the_file_system_says(tmp_path: Path) -> None:
    found, free = volume_of(tmp_path), shutil.disk_usage(tmp_path)

    assert found.size == free.total
    assert abs(found.free - free.free) < GIB


# --- whether it is let in ------------------------------------------------------------------------------------------------


def _down(world: World) -> None:
    world.follows = None


def _alone(world: World) -> None:
    world.follows = False


@pytest.mark.parametrize("breaks", [_down, _alone])
async def test_one_that_does_not_follow_tries_as_it_would_to_stream(world: World, breaks: Callable[[World], None]) -> None:
    breaks(world)

    await looks(world, 3)

    assert world.told().admitted is True
    (login,) = world.primary.logins
    assert (login["user"], login["replication"]) == ("replicator", "true")


async def test_who_is_refused_or_reaches_nobody_says_so(world: World) -> None:
    world.follows = False
    world.primary.admits = False
    await looks(world, 3)
    assert world.told().admitted is False

    world.primary.admits = True
    world.primary.server.close()
    await looks(world, 3)
    assert world.told().admitted is False


async def test_a_primary_without_an_address_lets_nobody_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one asyncpg logs in by the socket to this member's own PostgreSQL, which lets it in."""
    logins = []

    async def connect(**how: object) -> object:
        logins.append(how)
        return SimpleNamespace(terminate=lambda: None)

    monkeypatch.setattr(asyncpg, "connect", connect)
    world.follows = False
    world.api.put(f"{PODS}/db-0", status={"podIP": ""})

    await looks(world, 3)

    assert world.told().admitted is False
    assert logins == []


async def test_one_that_follows_or_only_starts_tries_nothing(world: World) -> None:
    await looks(world, 9)
    world.follows = None
    await looks(world, 2)

    assert world.primary.logins == []
    assert world.told().admitted is None


async def test_who_was_turned_away_from_the_primary_on_purpose_tries_nothing(world: World) -> None:
    world.follows, world.connected = False, False

    await looks(world, 9)

    assert world.primary.logins == []


@pytest.mark.parametrize("leader", [None, "db-1"])
async def test_nor_does_the_leader_or_anybody_while_there_is_none(world: World, leader: str | None) -> None:
    world.follows = False

    await looks(world, 9, leader)

    assert world.primary.logins == []


async def test_what_seems_to_follow_for_a_moment_does_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The primary accepts the connection, and then says that it no longer has what is asked for."""
    monkeypatch.setattr(report_module, "_AGAIN_SECONDS", 0.0)
    said = iter([None, None, None, 0.01, None, None])

    async def look() -> Look:
        return Look(True, next(said), (), None)

    monkeypatch.setattr(world, "look", look)
    await looks(world, 4)

    assert world.told().admitted is True


async def test_it_is_tried_again_now_and_then_and_taken_back_once_it_follows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.follows = False
    monkeypatch.setattr(report_module, "_AGAIN_SECONDS", 0.0)
    async with aiohttp.ClientSession() as session:
        reporter = world.reporter(session)
        for _ in range(9):
            await reporter.look()
        assert len(world.primary.logins) == 3

        world.follows = True
        await reporter.look()

    assert REPORT in world.api.annotations(f"{PODS}/db-1")
    assert world.told().admitted is None
