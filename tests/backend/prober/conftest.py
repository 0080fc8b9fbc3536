"""A data path that all of these stories share, whatever they break of it is made whole again by each."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.backend.prober.harness import DataPath
from tests.jetstream.harness.postgres import programs


@pytest_asyncio.fixture(scope="module")
async def path() -> AsyncIterator[DataPath]:
    """Envoy, PostgREST and PostgreSQL."""
    with programs() as bin_, tempfile.TemporaryDirectory(prefix="baas-probe-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # noqa: ASYNC240 - before anything else runs
        running = DataPath(folder, bin_)
        try:
            await running.start()
            yield running
        finally:
            running.stop()
