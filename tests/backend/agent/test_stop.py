"""How the agent stops a primary for a planned move, with a real PostgreSQL: who has done something is told so."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from baas_operator.agent.postgres import BROKEN, UnavailableError
from baas_operator.agent.postgres import Postgres as Asked
from baas_operator.agent.postmaster import Postmaster
from tests.jetstream.harness.postgres import Postgres, programs

_SOON = 2.0
"""Far more than what a stop takes where somebody does not come to an end."""


class Primary:
    """A server, and the agent's eye on it. Its socket's lock file begins as its data's does."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        (server.folder / ".s.PGSQL.5432.lock").symlink_to(server.folder / "data/postmaster.pid")
        self.postmaster = Postmaster(server.folder)
        self.agent = Asked(str(server.folder), self.postmaster)


@pytest.fixture(scope="module")
def postgres_bin() -> Iterator[Path]:
    """PostgreSQL's programs."""
    with programs() as found:
        yield found


@pytest.fixture
async def primary(postgres_bin: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Primary]:
    folder = postgres_bin.parent / "primary"
    server = Postgres(postgres_bin, folder, settings={"unix_socket_directories": str(folder)})
    monkeypatch.setenv("PGPORT", str(server.port))  # the agent comes by the socket
    try:
        server.create()
        server.start()
        await server.wait()
        connection = await server.connect()
        await connection.execute("CREATE TABLE notes (title text)")
        await connection.close()
        yield Primary(server)
    finally:
        server.stop()


async def stopped(primary: Primary) -> float:
    """Stop it; the seconds that it took."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        await primary.agent.stop()
    assert not primary.agent.runs
    return time.monotonic() - started


async def until(check: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10):
        while not await check():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.01)


async def somebody_waits(connection: Any, what: str) -> None:
    await until(lambda: connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = $1", what))


async def nobody_confirms(control: Any, writer: Any) -> None:
    """Have commits wait for a standby that there is not, from now on, as both sessions know."""
    await control.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (nobody)'")
    await control.execute("SELECT pg_reload_conf()")
    for each in control, writer:
        await until(partial(each.fetchval, "SHOW synchronous_standby_names"))


async def broken(what: Awaitable[Any]) -> None:
    with pytest.raises(BROKEN):
        await what


@pytest.mark.parametrize("how", ["INSERT INTO notes VALUES ('kept')", "BEGIN; INSERT INTO notes VALUES ('kept'); COMMIT"])
@pytest.mark.parametrize("seconds", [0.1, 0.8])
async def test_a_commit_that_waits_for_its_standby_is_acknowledged(primary: Primary, how: str, seconds: float) -> None:
    """A fast shutdown ends the wait, and the session without a word: PostgREST and whoever asked it can not know that it was done. Standbys
    may take longer than a transaction that is under way."""
    control, writer, idle = [await primary.server.connect() for _ in range(3)]
    await nobody_confirms(control, writer)
    writing = asyncio.create_task(writer.execute(how))
    await somebody_waits(control, "SyncRep")

    await control.execute("ALTER SYSTEM RESET synchronous_standby_names")
    stopping = asyncio.create_task(stopped(primary))
    await asyncio.sleep(seconds)
    # This is to those who wait what a confirmation is, only that it can be had at a moment of the test's choice.
    primary.postmaster.signal(signal.SIGHUP)
    await stopping

    await writing  # acknowledged
    await broken(idle.fetchval("SELECT 1"))
    primary.server.start()
    await primary.server.wait()
    again = await primary.server.connect()
    assert await again.fetchval("SELECT count(*) FROM notes") == 1


async def test_a_commit_that_nobody_confirms_holds_nothing_up_for_long(primary: Primary) -> None:
    control, writer = await primary.server.connect(), await primary.server.connect()
    await nobody_confirms(control, writer)
    writing = asyncio.create_task(writer.execute("INSERT INTO notes VALUES ('kept')"))
    await somebody_waits(control, "SyncRep")

    assert await stopped(primary) < _SOON + 1
    await broken(writing)


@pytest.mark.parametrize("titles", ["on", "off"])
async def test_a_transaction_may_end_and_nobody_new_comes(primary: Primary, titles: str) -> None:
    async def told() -> bool:
        connection = await primary.server.connect()
        said = await connection.fetchval("SHOW update_process_title")
        await connection.execute(f"ALTER SYSTEM SET update_process_title = {titles}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        return bool(said == titles)

    await until(told)
    writer = await primary.server.connect()
    await writer.execute("BEGIN")
    await writer.execute("INSERT INTO notes VALUES ('kept')")
    stopping = asyncio.create_task(stopped(primary))
    await asyncio.sleep(0.05)

    with pytest.raises(asyncpg.CannotConnectNowError):
        await primary.server.connect()
    await writer.execute("COMMIT")
    assert await stopping < _SOON


@pytest.mark.parametrize("how", ["SELECT pg_sleep(30)", "BEGIN"])
async def test_who_does_not_come_to_an_end_holds_nothing_up(primary: Primary, how: str) -> None:
    control, other = await primary.server.connect(), await primary.server.connect()
    doing = asyncio.create_task(other.execute(how))
    if how == "BEGIN":
        await doing
    else:
        await somebody_waits(control, "PgSleep")

    assert await stopped(primary) < _SOON
    await broken(doing if how != "BEGIN" else other.execute("INSERT INTO notes VALUES ('lost')"))


@pytest.mark.parametrize("noticed", range(3))
async def test_a_connection_that_was_ended_is_no_answer_whatever_is_known_of_it(primary: Primary, noticed: int) -> None:
    """asyncpg has another error for what it is about to notice: it ended the agent, with the watch of the lock, in the middle of a move."""
    assert not (await primary.agent.look()).standby
    other = await primary.server.connect()
    await other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'baas-agent'")
    time.sleep(0.2)  # noqa: ASYNC251 - the loop has to stand still: what the server says stays unread
    for _ in range(noticed):
        await asyncio.sleep(0)

    with suppress(UnavailableError):  # and nothing else; none where all of it was noticed
        await primary.agent.look()
    assert not (await primary.agent.look()).standby, "it is made anew"


async def test_what_a_dead_agent_began_is_brought_to_its_end(primary: Primary) -> None:
    """Otherwise the server would take in nobody new, and stay the primary for as long as a client stays."""
    assert not primary.postmaster.finish_stop(), "it is not being stopped"
    client = await primary.server.connect()
    primary.postmaster.signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert primary.agent.runs
    assert await client.fetchval("SELECT 1") == 1

    assert primary.postmaster.finish_stop()

    async def gone() -> bool:
        return not primary.agent.runs

    await until(gone)
    assert not primary.postmaster.finish_stop(), "it is gone"
