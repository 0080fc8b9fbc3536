"""What is declared in a database is made by a real psql in a real PostgreSQL, which asks for passwords."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.desired.database.declared import build_declared
from baas_operator.desired.sql_job import REFUSED, SAID
from tests.backend.passwords.harness import ACCESS
from tests.jetstream.harness.postgres import Postgres
from tests.unit.objects import owner

SPEC = DatabaseReplicaSpec.model_validate({
    "databases": [{"name": "shop"}],
    "roles": [{"name": "reports", "connectionLimit": 1, "databases": ["shop"]}, {"name": "readers", "login": False}],
    "pooler": {"replicas": 0}, "monitoring": {"enabled": False},
})  # fmt: skip
VERIFIERS = "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname IN ('shop', 'reports')"


class Declared:
    """A database, and the Job of what is declared in it."""

    def __init__(self, folder: Path, bin_: Path) -> None:
        self.folder, self._bin = folder, bin_
        self.server = Postgres(bin_, folder / "primary")
        self.passwords = {"superuser": "s", "roles/shop": "of-shop", "roles/reports": "of-reports"}

    async def start(self) -> None:
        await asyncio.to_thread(self.server.create)
        (self.server.folder / "data/pg_hba.conf").write_text(ACCESS)
        self.server.start()
        await self.server.wait()
        postgres = await self.server.connect()
        await postgres.execute("CREATE ROLE rewind LOGIN")
        await postgres.close()

    async def run(self) -> str:
        """As the Job's container does; what PostgreSQL refused. Raises CalledProcessError."""
        config, job = build_declared(SPEC, owner(DATABASE_REPLICA, "db"), "postgres:17", passwords="")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        where, refused = self.folder / "job", self.folder / "refused"
        refused.write_text("")
        files = {f"sql/{name}": text for name, text in config["data"].items()} | {
            f"{name}/password": text for name, text in self.passwords.items()
        }
        for name, text in files.items():
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("/etc/baas", str(where)).replace(REFUSED, str(refused)).replace(SAID, str(self.folder / "said")))
        connection = f"{given['CONNECTION']} host=127.0.0.1 port={self.server.port} sslmode=disable"
        environment = {
            "LD_LIBRARY_PATH": str(self._bin.parent / "lib"), "PATH": f"{self._bin}:{os.environ['PATH']}", "PGOPTIONS": given["PGOPTIONS"],
            "CONNECTION": connection,
        }  # fmt: skip
        command = [self._bin / "psql", "--no-psqlrc", "--quiet", "--variable=VERBOSITY=terse", "--file=sql/run.sql", connection]
        await asyncio.to_thread(subprocess.run, command, cwd=where, env=environment, check=True, capture_output=True, text=True, timeout=60)
        return refused.read_text()

    async def connect(self, role: str) -> Any:
        return await asyncpg.connect(
            host="127.0.0.1", port=self.server.port, user=role, password=self.passwords[f"roles/{role}"], database="shop", timeout=10
        )


@pytest_asyncio.fixture
async def db(postgres_bin: Path) -> AsyncIterator[Declared]:
    """One in which all is made."""
    with tempfile.TemporaryDirectory(prefix="baas-declared-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # noqa: ASYNC240 - PostgreSQL is another user
        found = Declared(folder, postgres_bin)
        try:
            await found.start()
            assert await found.run() == ""
            yield found
        finally:
            found.server.stop()


async def test_a_job_that_runs_again_keeps_the_salts(db: Declared) -> None:
    """A pooler knows its clients by them: each day, and at each change of another role, those connected would have lost their way in."""
    postgres = await db.server.connect()
    before = dict(await postgres.fetch(VERIFIERS))
    assert set(before) == {"shop", "reports"}
    busy = await db.connect("reports")
    assert await db.run() == ""
    assert dict(await postgres.fetch(VERIFIERS)) == before, "one that has all its connections, too"
    await busy.close()
    await postgres.close()


async def test_a_password_that_is_another_is_set(db: Declared) -> None:
    db.passwords["roles/shop"] = "another"
    postgres = await db.server.connect()
    await postgres.execute("ALTER ROLE reports PASSWORD NULL")
    await postgres.close()

    assert await db.run() == ""

    for role in ("shop", "reports"):
        await (await db.connect(role)).close()
