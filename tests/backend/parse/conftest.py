"""Tests of the parse engine with real parts on loopback: PostgreSQL, Valkey, SeaweedFS and two Parse Servers as the image has them."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.instance.logins import RoleLogin
from baas_operator.desired.instance.parse import PARSE
from baas_operator.desired.meta import Owner
from tests.backend.parse.harness import CLIENTS, Files, Process, Server, Settings, Valkey
from tests.jetstream.harness.postgres import Postgres, programs

CLOUD = (
    (CLIENTS / "cloud.js").read_text()
    + """
Parse.Cloud.define("slow", async ({ params }) => {
  await new Promise((resolve) => setTimeout(resolve, params.milliseconds));
  await new Parse.Object("Done").save({ by: "slow" }, { useMasterKey: true });
  return "finished";
});
Parse.Cloud.define("undone", async ({ params }, response) => {
  await new Parse.Object("Done").save({ by: params.by }, { useMasterKey: true });
  response.status(params.status).header("Baas-Undone", "1").header("x-mine", "1").success("done");
});
"""
)
ACCESS = """host all,replication postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="session")
def postgres_programs() -> Iterator[Path]:
    with programs() as made:
        yield made


def bootstrap(bin_: Path, folder: Path, postgres: Postgres, **logins: RoleLogin) -> None:
    """The operator's own SQL, with passwords that are found below the folder."""
    wanted = PARSE.bootstrap(BaasInstanceSpec.model_validate({"engine": "parse"}), Owner("BaasInstance", "prod", "shop"), logins)
    connection = f"host=127.0.0.1 port={postgres.port}"
    subprocess.run(
        [bin_ / "psql", "--no-psqlrc", "--quiet", f"{connection} user=postgres dbname=postgres"],
        input=wanted.sql.replace("/etc/baas/roles", str(folder)), text=True, check=True, capture_output=True,
        env={"CONNECTION": connection, "LD_LIBRARY_PATH": str(bin_.parent / "lib"), "PATH": f"{bin_}:/usr/bin:/bin"},
    )  # fmt: skip


@contextmanager
def database(bin_: Path, folder: Path) -> Iterator[Postgres]:
    """A server whose database and owner are made by the operator's own SQL, twice."""
    made = Postgres(bin_, folder / "primary", settings={"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"})
    made.create()
    (made.folder / "data/pg_hba.conf").write_text(ACCESS)
    made.start()
    try:
        asyncio.run(made.wait())
        (folder / "owner").mkdir()
        (folder / "owner/password").write_text("owner-0123456789")
        for _ in range(2):
            bootstrap(bin_, folder, made)
        yield made
    finally:
        made.stop()


class Rig:
    """The parts that a test has. All that it starts ends with it."""

    def __init__(self, folder: Path, postgres: Postgres, bin_: Path, files: Files | None = None) -> None:
        self.folder = folder
        self.postgres = postgres
        self.bin = bin_
        self.files = files
        self.caches: list[Valkey] = []
        self.servers: list[Server] = []
        self.others: list[Process] = []
        self.cloud = folder / "cloud" / "main.js"
        self.cloud.parent.mkdir()
        self.cloud.write_text(CLOUD)

    def cache(self) -> Valkey:
        made = Valkey(self.folder, f"cache{len(self.caches)}")
        self.caches.append(made)
        made.start()
        return made

    def server(self, *, database_port: int | None = None, start: bool = True, **more: Any) -> Server:
        settings = Settings(
            database_port or self.postgres.port, [each.port for each in self.caches],
            self.files.port if self.files else None, self.cloud, **more,
        )  # fmt: skip
        made = Server(self.folder, f"server{len(self.servers)}", settings)
        self.servers.append(made)
        if start:
            made.start()
        return made

    def stop(self) -> None:
        for each in [*self.servers, *self.caches, *self.others]:
            each.kill()


@contextmanager
def rig_in(bin_: Path, *, files: bool = False) -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="baas-parse-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with database(bin_, folder) as postgres:
            store = Files(folder) if files else None
            rig = Rig(folder, postgres, bin_, store)
            if store:
                store.start()
                rig.others.append(store)
                store.wait()
            try:
                yield rig
            finally:
                rig.stop()


@pytest.fixture
def rig(postgres_programs: Path) -> Iterator[Rig]:
    """Parts of a test's own, which it may break."""
    with rig_in(postgres_programs) as made:
        yield made


@pytest.fixture(scope="module")
def backend(postgres_programs: Path) -> Iterator[Rig]:
    """Two servers, two caches and an object store, for the tests of one module, which break nothing."""
    with rig_in(postgres_programs, files=True) as made:
        made.cache()
        made.cache()
        servers = [made.server() for _ in range(2)]  # at once, on an empty database
        for each in servers:
            each.wait()
        yield made
