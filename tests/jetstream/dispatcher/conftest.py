"""One NATS server where one will do, and an endpoint; or a queue with its dispatchers as the operator makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from nats.aio.client import Client as Nats

from bench.webhooks.processes import own_address
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.rig import Rig, streams
from tests.jetstream.dispatcher.whole import NEVER, Whole, spec_of, whole
from tests.jetstream.harness.servers import Servers, running
from tests.jetstream.outbox.conftest import binaries, postgres
from tests.jetstream.users.secured import secured

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


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[HttpEndpoint]:
    """One where webhooks may lead to, that takes everything but NEVER."""
    made = HttpEndpoint(own_address())
    made.answer = lambda each: web.Response(status=500 if each.payload == NEVER else 204)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def dispatchers(tmp_path: Path, endpoint: HttpEndpoint) -> Iterator[Whole]:
    """Those of a queue as the operator makes it, whose webhooks lead to the endpoint; none runs yet."""
    with secured(tmp_path, spec_of(endpoint.url)) as servers, whole(servers, tmp_path / "dispatchers") as made:
        yield made


@pytest_asyncio.fixture
async def admin(dispatchers: Whole) -> AsyncIterator[Nats]:
    """A client of that queue that may do everything, with its streams in place."""
    await dispatchers.servers.wait_whole()
    made = await dispatchers.servers.connect()
    await dispatchers.streams(made)
    yield made
    await made.close()
