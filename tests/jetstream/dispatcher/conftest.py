"""One NATS server where one will do, and an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.rig import Rig, streams
from tests.jetstream.harness.servers import Servers, running
from tests.jetstream.outbox.conftest import binaries, postgres

__all__ = ["binaries", "postgres"]


@pytest.fixture
def one_server(tmp_path: Path) -> Iterator[Servers]:
    """A server of the test's own."""
    with running(tmp_path, count=1) as made:
        asyncio.run(made.wait_whole())
        yield made


@pytest_asyncio.fixture
async def nats_client(one_server: Servers) -> AsyncIterator[Nats]:
    """A client of it, with the streams in place."""
    connection = await one_server.connect()
    await streams(connection, 1)
    try:
        yield connection
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[HttpEndpoint]:
    """An endpoint that takes everything."""
    made = HttpEndpoint()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def rig(tmp_path: Path, one_server: Servers) -> Rig:
    """What dispatchers of the one server are told."""
    return Rig(tmp_path / "rig", one_server)
