"""A PostgreSQL, NATS servers, and what a test of the relay does with them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.js.api import StreamConfig
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from baas_operator.jetstream.requests import call
from baas_operator.jetstream.tasks import end
from baas_operator.outbox.config import OutboxConfig
from baas_operator.outbox.relay import relay
from baas_operator.outbox.status import OutboxStatus
from tests.jetstream.harness.door import Door
from tests.jetstream.harness.postgres import Postgres, programs
from tests.jetstream.harness.servers import Servers, running

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def binaries() -> Iterator[Path]:
    """PostgreSQL's programs."""
    with programs() as found:
        yield found


@pytest_asyncio.fixture
async def postgres(binaries: Path) -> AsyncIterator[Postgres]:
    """A server that the test may kill. Standbys may be copied from it."""
    with tempfile.TemporaryDirectory(prefix="baas-outbox-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - PostgreSQL has another user, and data that nobody else may read
        made = Postgres(binaries, Path(folder) / "first")
        made.create()
        made.start()
        try:
            await made.wait()
            yield made
        finally:
            made.stop()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Servers]:
    """One NATS server, for what needs no cluster."""
    with running(tmp_path, count=1) as made:
        asyncio.run(made.wait_whole())
        yield made


@dataclass
class Lab:
    """What a test has: a way to the database that can be led elsewhere, servers, and a client of them."""

    postgres: Postgres
    servers: Servers
    client: Nats
    door: Door
    secrets: Path

    def given(self, **more: Any) -> dict[str, Any]:
        """A configuration as JSON has it."""
        return {
            "name": "orders", "host": "127.0.0.1", "port": self.door.port, "database": "postgres", "user": "postgres", "stream": "orders",
            "tls": False,
        } | more  # fmt: skip

    @asynccontextmanager
    async def relaying(
        self, client: Nats | None = None, *, readable: Collection[str] | None = None, **more: Any
    ) -> AsyncIterator[OutboxStatus]:
        """A relay in this process, until the block ends."""
        config = OutboxConfig.of(self.given(**more), self.secrets)
        status = OutboxStatus(config.name)
        task = asyncio.create_task(relay(config, client or self.client, status, readable))
        try:
            yield status
            if task.done():
                task.result()
        finally:
            await end([task])

    def process(self, urls: list[str] | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """A relay in a process of its own."""
        command = [sys.executable, "-m", "tests.jetstream.outbox.process", json.dumps(self.given(**more)), str(self.secrets)]
        environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY / 'lab'}:{REPOSITORY}"}
        with (self.secrets / "relay.log").open("ab") as log:
            return subprocess.Popen([*command, *(urls or self.servers.urls)], cwd=REPOSITORY, env=environment, stderr=log)

    async def stream(self, *, replicas: int = 1, window_seconds: float = 120, atomic: bool = True, **more: Any) -> None:
        """Make the stream `orders`."""
        config = StreamConfig(
            name="orders", subjects=["orders.>"], num_replicas=replicas, duplicate_window=window_seconds, allow_atomic=atomic, **more
        )
        # A cluster that has just begun may lose a request with a leader that it replaces; to ask again for the same stream is no error.
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(nats.errors.Error), stop=stop_after_delay(60), wait=wait_fixed(0.2)
        ):
            with attempt:
                await self.client.jetstream(timeout=5).add_stream(config)

    async def messages(self) -> list[tuple[str, str, str]]:
        """Message id, subject and payload of all that is in the stream, in its order."""
        state = (await call(self.client, "$JS.API.STREAM.INFO.orders"))["state"]
        if not state["messages"]:
            return []
        stream = self.client.jetstream()
        subscription = await stream.subscribe("orders.>", ordered_consumer=True)
        found = []
        for _ in range(state["messages"]):
            message = await subscription.next_msg(timeout=20)
            found.append(((message.headers or {}).get("Nats-Msg-Id", ""), message.subject, message.data.decode()))
        await subscription.unsubscribe()
        return found

    async def table(self) -> None:
        """Have a relay make the tables."""
        async with self.relaying():
            await eventually(self.table_made)

    async def table_made(self) -> bool:
        """Whether the relay has read its own row, so that all tables are there."""
        connection = await self.postgres.connect()
        try:
            return bool(await connection.fetchval(
                "SELECT to_regclass('outbox_relay') IS NOT NULL AND EXISTS (SELECT FROM pg_trigger WHERE tgname = 'outbox_wake')"
            ))  # fmt: skip
        finally:
            await connection.close()

    async def rows(self, table: str = "outbox") -> int:
        """Rows of a table."""
        connection = await self.postgres.connect()
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608
        finally:
            await connection.close()


@pytest_asyncio.fixture
async def lab(postgres: Postgres, single: Servers, tmp_path: Path) -> AsyncIterator[Lab]:
    """With one NATS server."""
    async with _made(postgres, single, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def cluster(postgres: Postgres, servers: Servers, tmp_path: Path) -> AsyncIterator[Lab]:
    """With three NATS servers."""
    async with _made(postgres, servers, tmp_path) as made:
        yield made


@asynccontextmanager
async def _made(postgres: Postgres, servers: Servers, folder: Path) -> AsyncIterator[Lab]:
    (folder / "password").write_text("unused\n")
    client = await servers.connect()
    door = Door(postgres.port)
    await door.start()
    try:
        yield Lab(postgres, servers, client, door, folder)
    finally:
        await door.stop()
        await client.close()


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 60, every: float = 0.1) -> None:
    """Wait until it holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline, f"did not come to be within {seconds:.0f} s"
        await asyncio.sleep(every)


async def insert(connection: Any, payload: str, subject: str = "orders.new") -> str:
    """Insert a row; its id."""
    return str(await connection.fetchval(
        "INSERT INTO outbox (subject, payload) VALUES ($1, $2) RETURNING id", subject, payload.encode()
    ))  # fmt: skip


def once_each(found: list[tuple[str, str, str]], wanted: set[str]) -> None:
    """Each id that was committed is there, once, and nothing else is."""
    counted = Counter(each[0] for each in found)
    assert {each for each in wanted if each not in counted} == set(), "missing"
    assert {each: times for each, times in counted.items() if times > 1} == {}, "more than once"
    assert set(counted) - wanted == set(), "never committed"
