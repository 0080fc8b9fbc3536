"""Servers that the stories of membership begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.jetstream.streams.cluster import Cluster, clustered


@pytest_asyncio.fixture
async def three(tmp_path: Path) -> AsyncIterator[Cluster]:
    async for each in clustered(tmp_path, 3):
        yield each


@pytest_asyncio.fixture
async def five(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Servers 0, 3 and 4 have a tag, by which a test says who keeps a stream."""
    async for each in clustered(tmp_path, 5):
        yield each
