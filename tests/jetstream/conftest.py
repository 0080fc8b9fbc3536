"""Tests against real NATS servers, which are processes of their own on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

from tests.jetstream.harness.servers import Servers, running


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Three servers of the test's own, which it may kill."""
    with running(tmp_path) as made:
        asyncio.run(made.wait_whole())
        yield made


@pytest_asyncio.fixture
async def client(servers: Servers) -> AsyncIterator[Nats]:
    """A client of them."""
    connection = await servers.connect()
    try:
        yield connection
    finally:
        await connection.close()
