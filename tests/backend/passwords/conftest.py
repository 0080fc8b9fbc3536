"""A backend whose passwords are rotated, of each test's own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.backend.passwords.harness import Real
from tests.jetstream.harness.postgres import programs


@pytest.fixture(scope="session")
def postgres_bin() -> Iterator[Path]:
    """PostgreSQL's programs."""
    with programs() as found:
        yield found


@pytest_asyncio.fixture
async def shop(postgres_bin: Path) -> AsyncIterator[Real]:
    """One that serves."""
    with tempfile.TemporaryDirectory(prefix="baas-passwords-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # noqa: ASYNC240 - PostgreSQL is another user
        running = Real(folder, postgres_bin)
        try:
            await running.start()
            yield running
        finally:
            running.stop()
