"""Exactly once, whatever is killed: the relay, a server, the primary; whoever is frozen; and answers that get lost.

Each test keeps a ledger of what was committed, and compares it with the stream.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from baas_operator.jetstream.requests import call
from baas_operator.outbox.ledger import Broken
from tests.jetstream.harness.door import Door
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.outbox.conftest import Lab, eventually, insert, once_each


class Writers:
    """Transactions that insert some rows each, one after another on several connections; some are rolled back."""

    def __init__(self, lab: Lab, *, count: int = 3, pause_seconds: float = 0.01) -> None:
        self._lab = lab
        self._count = count
        self._pause = pause_seconds
        self.committed: list[list[str]] = [[] for _ in range(count)]
        """Ids by writer, in its order."""
        self.unknown: set[str] = set()
        """Ids of commits that nobody answered."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Until the block ends, and what is under way is done."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._write(number, stop)) for number in range(self._count)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _write(self, number: int, stop: asyncio.Event) -> None:
        connection: Any = None
        step = 0
        while not stop.is_set():
            ids: list[str] = []
            committing = False
            try:
                if connection is None:
                    connection = await asyncpg.connect(
                        host="127.0.0.1", port=self._lab.door.port, user="postgres", database="postgres", timeout=2, command_timeout=10,
                        target_session_attrs="read-write",
                    )  # fmt: skip
                transaction = connection.transaction()
                await transaction.start()
                for _ in range(random.randint(1, 4)):
                    step += 1
                    ids.append(await insert(connection, f"{number}-{step}", f"orders.{number}"))
                if random.random() < 0.2:
                    await transaction.rollback()
                else:
                    committing = True
                    await transaction.commit()
                    self.committed[number] += ids
                await asyncio.sleep(random.uniform(0, 2 * self._pause))
            except Broken:
                if committing:
                    self.unknown |= set(ids)
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(0.1)
        if connection is not None:
            await connection.close()

    async def check(self) -> None:
        """All that was committed is in the stream, once, in each writer's order; and of what nobody answered for, what was."""
        found = await self._lab.messages()
        there = {each[0] for each in found}
        once_each(found, {each for ids in self.committed for each in ids} | (self.unknown & there))
        for number, ids in enumerate(self.committed):
            known = set(ids)
            assert [each[0] for each in found if each[0] in known] == ids, f"writer {number}'s order"


async def _empty(lab: Lab) -> bool:
    with suppress(*Broken):
        return await lab.rows() == 0
    return False


async def _there(lab: Lab, more_than: int) -> bool:
    return bool((await call(lab.client, "$JS.API.STREAM.INFO.orders"))["state"]["messages"] > more_than)


@pytest.mark.asyncio
@pytest.mark.parametrize("atomic", [True, False])
async def test_the_relay_is_killed_again_and_again(lab: Lab, atomic: bool) -> None:
    """With a duplicate window that is over before the next relay starts."""
    await lab.stream(window_seconds=0.1, atomic=atomic)
    await lab.table()
    writers = Writers(lab)
    async with writers.writing():
        for _ in range(22):
            process = lab.process()
            before = (await call(lab.client, "$JS.API.STREAM.INFO.orders"))["state"]["messages"]
            await eventually(lambda before=before: _there(lab, before), every=0.02)  # type: ignore[misc]
            await asyncio.sleep(random.uniform(0, 0.15))
            process.kill()
            process.wait()
    async with lab.relaying():
        await eventually(lambda: _empty(lab))
    assert sum(map(len, writers.committed)) > 500
    await writers.check()


@pytest.mark.asyncio
async def test_postgresql_is_killed(lab: Lab) -> None:
    await lab.stream(window_seconds=0.1)
    await lab.table()
    writers = Writers(lab)
    async with lab.relaying():
        async with writers.writing():
            for _ in range(5):
                await asyncio.sleep(random.uniform(0.5, 1.5))
                lab.postgres.kill()
                lab.postgres.start()
                await lab.postgres.wait()
            await asyncio.sleep(0.5)
        await eventually(lambda: _empty(lab))
    await writers.check()


@pytest.mark.asyncio
@pytest.mark.parametrize("old_primary", ["killed", "cut off"])
async def test_the_primary_fails_over(lab: Lab, binaries: Path, postgres: Postgres, old_primary: str) -> None:
    """To its synchronous standby. Cut off, the old primary goes on, with a relay that is still connected to it and has the lock there."""
    await lab.stream(window_seconds=0.1)
    await lab.table()
    standby = Postgres(binaries, postgres.folder.with_name("second"))
    standby.copy_of(postgres, "second")
    standby.start()
    await standby.wait()
    writers = Writers(lab)
    left_behind = lab.process(port=postgres.port)
    try:
        await _synchronous(postgres, "second")
        async with writers.writing():
            await eventually(lambda: _there(lab, 100))
            if old_primary == "killed":
                postgres.kill()
            await standby.promote()
            await _synchronous(standby, "")
            lab.postgres = standby
            lab.door.lead(standby.port)
            before = (await call(lab.client, "$JS.API.STREAM.INFO.orders"))["state"]["messages"]
            async with lab.relaying():
                await eventually(lambda: _there(lab, before + 100))
        async with lab.relaying():
            await eventually(lambda: _empty(lab))
        await writers.check()
    finally:
        left_behind.kill()
        left_behind.wait()
        standby.stop()


async def _synchronous(server: Postgres, names: str) -> None:
    connection = await server.connect()
    await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.mark.asyncio
async def test_nothing_is_published_that_a_failover_would_undo(lab: Lab) -> None:
    """A commit whose wait for the standby was cancelled is visible; it is published once a standby has it, and not before."""
    await lab.stream()
    await lab.table()
    connection = await lab.postgres.connect()
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await connection.execute("SELECT pg_reload_conf()")
    other = await lab.postgres.connect()
    waiting = asyncio.create_task(insert(other, "phantom"))
    await asyncio.sleep(0.5)
    await connection.execute("SELECT pg_cancel_backend($1)", other.get_server_pid())
    id_ = await waiting
    assert await lab.rows() == 1, "visible, though no standby has it"
    async with lab.relaying() as status:
        for _ in range(8):
            await asyncio.sleep(0.5)
            # As an impatient administrator would: end the relay's own wait, too.
            await connection.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'baas-outbox' AND wait_event = 'SyncRep'"
            )
        assert await lab.messages() == []
        assert "may not outlive this primary" in status.message
        await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await connection.execute("SELECT pg_reload_conf()")
        await eventually(lambda: _empty(lab))
    assert [each[0] for each in await lab.messages()] == [id_]
    await connection.close()
    await other.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_streams_leader_is_killed_or_frozen(cluster: Lab, how: int) -> None:
    lab = cluster
    await lab.stream(replicas=3, window_seconds=0.1)
    await lab.table()
    writers = Writers(lab, pause_seconds=0.05)
    client = await lab.servers.connect(ping_interval=1, max_outstanding_pings=2)
    async with lab.relaying(client):
        async with writers.writing():
            for _ in range(2):
                await asyncio.sleep(2)
                leader = (await lab.client.jetstream(timeout=20).stream_info("orders")).cluster.leader  # type: ignore[union-attr]
                assert leader is not None
                if how == signal.SIGKILL:
                    lab.servers.kill(leader)
                else:
                    lab.servers.signal(leader, signal.SIGSTOP)
                await asyncio.sleep(8)
                if how == signal.SIGKILL:
                    lab.servers.start(leader)
                else:
                    lab.servers.signal(leader, signal.SIGCONT)
                await lab.servers.wait_whole()
        await eventually(lambda: _empty(lab), seconds=90)
    await client.close()
    await writers.check()


@pytest.mark.asyncio
@pytest.mark.parametrize("atomic", [True, False])
async def test_answers_are_lost_for_longer_than_the_duplicate_window(lab: Lab, atomic: bool) -> None:
    await lab.stream(window_seconds=1, atomic=atomic)
    await lab.table()
    door = Door(next(iter(lab.servers.client_ports.values())))
    await door.start()
    client = await lab.servers.connect(servers=[f"nats://127.0.0.1:{door.port}"], ping_interval=1, max_outstanding_pings=2)
    writers = Writers(lab, count=2)
    async with lab.relaying(client):
        async with writers.writing():
            for _ in range(4):
                await asyncio.sleep(random.uniform(0.5, 1))
                door.deaf = True
                await asyncio.sleep(2.5)
                door.deaf = False
                door.cut()
        await eventually(lambda: _empty(lab))
    await client.close()
    await door.stop()
    await writers.check()


@pytest.mark.asyncio
@pytest.mark.parametrize("atomic", [True, False])
async def test_what_arrives_long_after_another_relay_took_over_is_refused(lab: Lab, atomic: bool) -> None:
    """As out of the buffers of a server that was frozen: after the duplicate window, so that the sequence alone can refuse it."""
    await lab.stream(window_seconds=0.2, atomic=atomic)
    await lab.table()
    door = Door(next(iter(lab.servers.client_ports.values())))
    door.hold = b"Nats-Msg-Id"
    await door.start()
    client = await lab.servers.connect(servers=[f"nats://127.0.0.1:{door.port}"])
    connection = await lab.postgres.connect()
    ids = [await insert(connection, str(number)) for number in range(5)]

    async def holding() -> bool:
        return door.holding

    async with lab.relaying(client):
        await eventually(holding)
    async with lab.relaying():
        await eventually(lambda: _empty(lab))
        await asyncio.sleep(1)
        door.release.set()
        await asyncio.sleep(1)
        ids.append(await insert(connection, "after"))
        await eventually(lambda: _empty(lab))
    assert [each[0] for each in await lab.messages()] == ids
    await client.close()
    await door.stop()
    await connection.close()


@pytest.mark.asyncio
async def test_two_relays_at_once(lab: Lab) -> None:
    """One is frozen in its tracks while it has the outbox, and loses the lock as it does when the primary ends its session; it goes on
    while the other one works. No window of the stream's helps."""
    await lab.stream(window_seconds=0.1)
    await lab.table()
    writers = Writers(lab)
    connection = await lab.postgres.connect()
    async with writers.writing():
        processes = [lab.process(), lab.process()]
        await eventually(lambda: _there(lab, 0))
        for _ in range(12):
            await asyncio.sleep(random.uniform(0.3, 0.8))
            holder = await connection.fetchrow(
                "SELECT client_port, pid FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory' AND granted"
            )
            if holder is None:
                continue
            # Which of the two it is does not matter to the stream: freeze one, end the session, let it go on a moment later.
            frozen = random.choice(processes)
            frozen.send_signal(signal.SIGSTOP)
            await connection.execute("SELECT pg_terminate_backend($1)", holder["pid"])
            await asyncio.sleep(random.uniform(0.5, 1.5))
            frozen.send_signal(signal.SIGCONT)
    await eventually(lambda: _empty(lab))
    for each in processes:
        each.kill()
        each.wait()
    await connection.close()
    await writers.check()


@pytest.mark.asyncio
async def test_a_relay_takes_over_within_seconds(lab: Lab) -> None:
    await lab.stream()
    await lab.table()
    connection = await lab.postgres.connect()
    first = lab.process()
    await insert(connection, "one")
    await eventually(lambda: _empty(lab))
    async with lab.relaying() as second:
        await asyncio.sleep(1.5)
        assert second.state == "waiting"
        first.kill()
        first.wait()
        id_ = await insert(connection, "two")
        await eventually(lambda: _empty(lab), seconds=3)
        assert second.state == "relaying"
    assert [each[0] for each in await lab.messages()][-1] == id_
    await connection.close()
