"""Tests of a whole backend, whose parts are processes of their own on loopback."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.backend.harness.backend import Backend
from tests.jetstream.harness.postgres import programs


@pytest.fixture(scope="session")
def postgres_bin() -> Iterator[Path]:
    """PostgreSQL's programs."""
    with programs() as found:
        yield found


@pytest_asyncio.fixture(scope="session")
async def backend(postgres_bin: Path) -> AsyncIterator[Backend]:
    """A backend that is whole again after each test."""
    with tempfile.TemporaryDirectory(prefix="baas-backend-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - PostgreSQL is another user
        running = Backend(Path(folder), postgres_bin)
        try:
            await running.start()
            yield running
        finally:
            await running.stop()


@pytest_asyncio.fixture(autouse=True)
async def _whole(backend: Backend) -> AsyncIterator[None]:
    yield
    await asyncio.gather(*(each.wait() for each in backend.processes.values()))
