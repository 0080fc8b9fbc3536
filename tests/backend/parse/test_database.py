"""What the server does, and says, while its database is away, frozen, read-only, a standby, or another one than before."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio

from baas_operator.agent.postgres import Postgres as Agent
from baas_operator.agent.postmaster import Postmaster
from baas_operator.desired.instance.logins import RoleLogin
from tests.backend.parse.conftest import Rig, bootstrap
from tests.backend.parse.harness import Server, until
from tests.jetstream.harness.door import Door
from tests.jetstream.harness.postgres import Postgres

FROZEN_SECONDS = 3.0
"""Within so long readiness has to tell of a database that does not answer."""
IN_DOUBT = 2
"""Writes, of six clients while the primary moves; where all sessions were ended at once, as by a fast shutdown, 13 requests broke off."""


def freeze(postgres: Postgres, number: int = signal.SIGSTOP) -> None:
    """Stop all its processes where they are: TCP is still acknowledged."""
    assert postgres._process
    family = [postgres._process.pid]
    for pid in family:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        family += [int(each) for each in children]
    for pid in family:
        os.kill(pid, number)


class DoorThread:
    """A door to a database, open in a thread of its own."""

    def __init__(self, to: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._door = Door(to)
        self._do(self._door.start())
        self.port = self._door.port

    def _do(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def let_new_ones_to(self, port: int) -> None:
        """As a Service does: connections that are open stay where they are."""
        self._door.to = port

    def stop(self) -> None:
        self._do(self._door.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


async def sql(postgres: Postgres, *statements: str) -> None:
    connection = await postgres.connect()
    try:
        for each in statements:
            await connection.execute(each)
    finally:
        await connection.close()


def sign_up(server: Server, name: str, *, timeout: float = 10.0) -> int:
    return server.call("users", {"username": name, "password": "correct horse"}, timeout=timeout)[0]


async def test_it_waits_for_a_database_that_is_not_there_yet(rig: Rig) -> None:
    rig.postgres.kill()
    server = rig.server()
    until("it lives", lambda: server.alive)

    await asyncio.sleep(3)
    assert server.running is not None
    assert server.running.poll() is None, server.said
    status, why = server.ready
    assert status == 503
    assert "does not answer" in why
    rig.postgres.start()
    await rig.postgres.wait()

    server.wait()
    assert sign_up(server, "late") == 201


async def test_it_waits_for_a_database_that_takes_writes(rig: Rig) -> None:
    await sql(rig.postgres, "ALTER DATABASE shop SET default_transaction_read_only = on")
    server = rig.server()

    until("it says so", lambda: server.ready == (503, "the database takes no writes\n"))
    await asyncio.sleep(1)
    assert server.running is not None
    assert server.running.poll() is None, server.said
    await sql(rig.postgres, "ALTER DATABASE shop RESET default_transaction_read_only")  # sessions that are open keep what they had

    server.wait()
    assert sign_up(server, "late") == 201


async def test_a_database_that_becomes_read_only_is_told(rig: Rig) -> None:
    server = rig.server()
    server.wait()

    await sql(rig.postgres, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    took = until("readiness tells", lambda: server.ready[0] == 503, 10)

    assert took < FROZEN_SECONDS
    assert server.ready[1] == "the database takes no writes\n"
    assert server.alive
    await sql(
        rig.postgres, "SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    )  # fmt: skip
    until("readiness tells", lambda: server.ready[0] == 200, 10)
    assert sign_up(server, "after") == 201


@pytest_asyncio.fixture
async def standby(rig: Rig) -> AsyncIterator[Postgres]:
    made = Postgres(rig.bin, rig.folder / "standby", settings={"hot_standby": "on"})
    made.copy_of(rig.postgres, "standby")
    made.start()
    try:
        await made.wait()
        yield made
    finally:
        made.stop()


async def test_a_standby_is_not_good_enough(rig: Rig, standby: Postgres) -> None:
    server = rig.server(database_port=standby.port)

    until("it says so", lambda: server.ready == (503, "the database is a standby\n"))
    assert server.alive
    await standby.promote()

    server.wait()
    assert sign_up(server, "late") == 201


async def test_a_frozen_database_is_known_soon_and_hangs_nobody(rig: Rig, figure: Any) -> None:
    server = rig.server()
    server.wait()
    assert sign_up(server, "before") == 201

    freeze(rig.postgres)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(8) as many:
            hanging = [many.submit(sign_up, server, f"during{number}", timeout=20) for number in range(8)]
            told = until("readiness tells", lambda: server.ready[0] == 503, 10)
            answers = [each.result() for each in hanging]
            hung = time.monotonic() - began
        assert told < FROZEN_SECONDS
        assert set(answers) <= {500, 503}
        assert hung < 6
        began = time.monotonic()
        status, answer = server.call("users", {"username": "later", "password": "p"})
        assert (status, answer["code"]) == (503, 1)
        assert time.monotonic() - began < 0.5
        assert server.alive
    finally:
        freeze(rig.postgres, signal.SIGCONT)
    back = until("it serves", lambda: server.ready[0] == 200 and sign_up(server, f"after{time.monotonic_ns()}") == 201, 10)
    figure(
        f"a frozen database was told after {told:.1f} s; requests hung for {hung:.1f} s at the most; served {back:.1f} s after it thawed"
    )


async def test_it_follows_the_primary_though_the_old_one_stays_frozen(rig: Rig, standby: Postgres, figure: Any) -> None:
    door = DoorThread(rig.postgres.port)
    try:
        server = rig.server(database_port=door.port)
        server.wait()
        with ThreadPoolExecutor(5) as many:  # every connection of the pool is in use
            assert {*many.map(lambda number: sign_up(server, f"before{number}"), range(20))} == {201}
        freeze(rig.postgres)
        began = time.monotonic()
        until("readiness tells", lambda: server.ready[0] == 503, 10)
        await standby.promote()
        door.let_new_ones_to(standby.port)
        moved = time.monotonic()

        until("it is ready", lambda: server.ready[0] == 200, 10)
        ready = time.monotonic() - moved
        with ThreadPoolExecutor(5) as many:
            answers = [*many.map(lambda number: sign_up(server, f"after{number}"), range(20))]
        served = time.monotonic() - moved
        assert set(answers) == {201}, answers
        assert served < 15  # without a word from anybody: connections to the old one would hang for as long as it is frozen
        figure(
            f"another took over {moved - began:.1f} s after the freeze: ready {ready:.1f} s later, 20 of 20 served within {served:.1f} s"
        )
    finally:
        door.stop()
        freeze(rig.postgres, signal.SIGCONT)


async def test_requests_wait_while_the_primary_moves(rig: Rig, standby: Postgres, figure: Any) -> None:
    """They wait, or are told that nothing was done, which the gateway waits for (docs/gateway.md). A write that is sent in the very moment
    in which its session, which did nothing, is ended is in doubt: nobody may say that nothing was done."""
    door = DoorThread(rig.postgres.port)
    (rig.postgres.folder / ".s.PGSQL.5432.lock").symlink_to(rig.postgres.folder / "data/postmaster.pid")
    agent = Agent(str(rig.postgres.folder), Postmaster(rig.postgres.folder))
    over = threading.Event()
    try:
        server = rig.server(database_port=door.port)
        server.wait()

        def signs_up(person: int) -> list[int]:
            statuses = []
            while not over.is_set():
                statuses.append(sign_up(server, f"person-{person}-{len(statuses)}"))
                time.sleep(0.02)
            return statuses

        with ThreadPoolExecutor(6) as many:
            people = [many.submit(signs_up, person) for person in range(6)]
            await asyncio.sleep(2)
            await agent.stop()
            await asyncio.sleep(0.3)
            door.let_new_ones_to(standby.port)  # the heir is routed to before it is promoted
            await asyncio.sleep(0.3)
            await standby.promote()
            await asyncio.sleep(3)
            over.set()
            statuses = [status for each in people for status in each.result()]
        counted = {status: statuses.count(status) for status in set(statuses)}
        figure(f"a primary moved: answers {counted}")
        assert set(counted) <= {201, 500, 503}
        assert counted.get(500, 0) <= IN_DOUBT
        assert statuses[-1] == 201
    finally:
        over.set()
        door.stop()


async def test_what_was_not_sent_is_asked_again(rig: Rig) -> None:
    """A primary that moves refuses connections some milliseconds before its servers know. A sign-up's second half would fail then, after an
    account that is there."""
    server = rig.server()
    server.wait()
    assert sign_up(server, "first") == 201
    # The server's own connection, by which it knows of its database, goes on.
    await sql(
        rig.postgres, "ALTER ROLE shop_owner NOLOGIN",
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE usename = 'shop_owner' AND application_name = 'parse-server' AND query NOT LIKE '%pg_is_in_recovery%'""",
    )  # fmt: skip
    asked = asyncio.create_task(asyncio.to_thread(sign_up, server, "second"))
    await asyncio.sleep(0.7)
    assert not asked.done(), "it waits"
    await sql(rig.postgres, "ALTER ROLE shop_owner LOGIN")
    assert await asked == 201


def uri(postgres: Postgres, user: str, password: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{postgres.port}/shop?sslmode=require"


async def end_sessions(postgres: Postgres) -> None:
    """All of the servers', so that each request needs a new one."""
    await sql(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'parse-server'")


async def test_a_rotation_is_followed_by_servers_that_run(rig: Rig) -> None:
    """They are replaced one after another, long after a rotation's files have come to those of before."""
    server = rig.server()
    server.wait()
    (rig.folder / "owner-alt").mkdir()
    (rig.folder / "owner-alt/password").write_text("next-0123456789")
    both = RoleLogin("shop_owner", "shop_owner_alt", {"shop_owner_alt": "password", "shop_owner": "previous"})
    bootstrap(rig.bin, rig.folder, rig.postgres, owner=both)

    async def goes_on(what: str) -> None:
        await end_sessions(rig.postgres)
        until("it serves on", lambda: server.ready[0] == 200, 10)
        with ThreadPoolExecutor(5) as many:
            answers = [*many.map(lambda number: sign_up(server, f"{what}{number}"), range(10))]
        assert set(answers) == {201}, f"{what}: {answers}"

    await goes_on("before")
    for password in ("next-0123456789", "by%2Fhand"):
        if password == "by%2Fhand":
            await sql(rig.postgres, "ALTER ROLE shop_owner_alt PASSWORD 'by/hand'")
        server.write("uri", uri(rig.postgres, "shop_owner_alt", password))
        await goes_on(password[:2])
    server.write("uri", "")
    await goes_on("blank")
    connection = await rig.postgres.connect()
    try:
        found = await connection.fetch("SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name = 'parse-server'")
        assert [each["usename"] for each in found] == ["shop_owner_alt"]
    finally:
        await connection.close()


async def test_requests_that_idempotency_remembers_are_forgotten(rig: Rig) -> None:
    server = rig.server()
    server.wait()
    # What the server calls every minute is there, and may be called by its role.
    shop = await asyncpg.connect(host="127.0.0.1", port=rig.postgres.port, user="shop_owner", password="owner-0123456789", database="shop")
    try:
        await shop.execute(
            """INSERT INTO "_Idempotency" ("objectId", "reqId", expire)
               VALUES ('a', 'a', now() - interval '1 hour'), ('b', 'b', now() + interval '1 hour')"""
        )
        await shop.execute("SELECT idempotency_delete_expired_records()")
        assert [row["reqId"] for row in await shop.fetch('SELECT "reqId" FROM "_Idempotency"')] == ["b"]
    finally:
        await shop.close()
