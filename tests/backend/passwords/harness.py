"""A backend whose passwords are rotated for real: PostgreSQL with a standby, both of which ask everybody for a password, and PostgRESTs.

What is decided is the operator's; its Secrets are in a stand-in of the API server, and Deployments, Jobs and time are as in
tests/unit/policy/passwords. Beside that all is real: the bootstrap's SQL is run by psql with the files that its Job would have, and a pod
of `rest` or `reads` is a PostgREST with the operator's variables. Pods of other components log in once, as they would.

Clients are led to pods that are ready and not going, without a second try: what stands in for the gateway hides nothing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from tests.backend.harness.keys import KeySet
from tests.backend.harness.process import Process
from tests.backend.harness.programs import program
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.harness.servers import free_ports
from tests.unit.policy.passwords.world import Login, Pod, World

SPEC = {
    "components": {
        "rest": {"replicas": 2}, "reads": {"replicas": 1}, "auth": {"replicas": 1}, "meta": {"enabled": True, "replicas": 1},
    },
    "prober": {"enabled": False},
}  # fmt: skip
ACCESS = """host all postgres 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
_LET_GO_SECONDS = 0.5
"""How long one that is told to go still answers: here, whoever leads clients knows it at once."""
_DATA_API = ("rest", "reads")


@dataclass
class Load:
    """What came of requests."""

    done: int = 0
    failed: list[str] = field(default_factory=list)


class Real(World):
    """The world, with real programs."""

    def __init__(self, folder: Path, bin_: Path) -> None:
        super().__init__(SPEC)
        self.folder, self._bin = folder, bin_
        self.primary, self.standby = [Postgres(bin_, folder / each, settings={"wal_level": "logical"}) for each in ("primary", "standby")]
        self.keys = KeySet()
        self.running: dict[str, tuple[Process, str]] = {}
        """Pod -> its PostgREST, and where that answers; of those that clients are led to."""
        self._every: list[Process] = []
        self.said = ""
        """What psql said last."""
        self.patience = "60 seconds"
        self._jwks = folder / "jwks.json"

    async def start(self) -> None:
        """The databases, and then all that the operator makes of them."""
        self._jwks.write_text(self.keys.public)
        await asyncio.to_thread(self.primary.create)
        (self.primary.folder / "data/pg_hba.conf").write_text(ACCESS)
        self.primary.start()
        await self.primary.wait()
        await asyncio.to_thread(self.standby.copy_of, self.primary, "standby")
        self.standby.start()
        await self.standby.wait()
        await self.settle()
        owner = await self.connect(self.says("owner"))
        await owner.execute("CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, text text)")
        await owner.close()
        await asyncio.sleep(0.5)  # PostgREST hears of it
        await asyncio.gather(*(process.wait() for process, _ in self.running.values()))

    def stop(self) -> None:
        """End it all."""
        for each in self._every:
            each.end(9)
        self.standby.stop()
        self.primary.stop()

    async def connect(self, login: Login, *, server: Postgres | None = None) -> Any:
        """Log in to the backend's database."""
        return await asyncpg.connect(
            host="127.0.0.1",
            port=(server or self.primary).port,
            user=login.username,
            password=login.password,
            database="shop",
            timeout=10,
            statement_cache_size=0,  # one that was discarded is asked for no more
        )

    async def refused(self, login: Login, *, server: Postgres | None = None) -> bool:
        """Whether that is refused for its password."""
        try:
            await (await self.connect(login, server=server)).close()
        except asyncpg.InvalidPasswordError:
            return True
        return False

    async def execute(self, sql: str, files: dict[str, str], statements: int | None) -> bool:
        """As the Job's container does."""
        where = self.folder / "job"
        for name, text in files.items():
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        script = where / "run.sql"
        script.write_text(sql.replace("/etc/baas", str(where)).replace("interval '60 seconds'", f"interval '{self.patience}'"))
        command = [
            self._bin / "psql", "--no-psqlrc", "--quiet", "--variable=VERBOSITY=terse", "-h", "127.0.0.1", "-p", str(self.primary.port),
            "-U", "postgres", "-d", "postgres", "-f", script,
        ]  # fmt: skip
        environment = {
            "LD_LIBRARY_PATH": str(self._bin.parent / "lib"), "PATH": f"{self._bin}:{os.environ['PATH']}",
            "PGOPTIONS": self._variable("PGOPTIONS"),
            # Of what is said twice, the last counts.
            "CONNECTION": f"{self._variable('CONNECTION')} host=127.0.0.1 port={self.primary.port} sslmode=disable",
        }  # fmt: skip
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, env=environment, check=False)
        self.said = done.stderr
        return done.returncode == 0

    def _variable(self, name: str) -> str:
        """One of the Job's container."""
        (job,) = [each for (kind, _), each in self.applied.items() if kind == "Job"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        return next(str(each["value"]) for each in container["env"] if each["name"] == name)

    async def starts(self, coming: Pod, logins: tuple[Login, ...]) -> bool:
        """A pod of the data API is ready when it says so; others when they are let in."""
        if coming.component not in _DATA_API:
            return not any([await self.refused(each) for each in logins])
        (login,) = logins
        server = self.standby if coming.component == "reads" else self.primary
        port, probes = free_ports(2)
        plain = {each["name"]: each["value"] for each in coming.template["spec"]["containers"][0]["env"] if "value" in each}
        uri = f"postgresql://{login.username}:{login.password}@127.0.0.1:{server.port}/shop?sslmode=disable&application_name={coming.name}"
        environment = plain | {
            "PGRST_DB_URI": uri, "PGRST_JWT_SECRET": f"@{self._jwks}", "PGRST_SERVER_PORT": str(port), "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_ADMIN_SERVER_PORT": str(probes),
        }  # fmt: skip
        ready = f"http://127.0.0.1:{probes}/ready"
        process = Process(coming.name, [program("postgrest", "postgrest")], self.folder, environment=environment, ready=ready)
        self._every.append(process)
        process.start()
        await process.wait()
        self.running[coming.name] = process, f"http://127.0.0.1:{port}"
        return True

    async def goes(self, leaving: Pod) -> None:
        """Nobody is led to it any more; then it is told to end, and ends."""
        if found := self.running.pop(leaving.name, None):
            await asyncio.sleep(_LET_GO_SECONDS)
            await asyncio.to_thread(found[0].end)

    def urls(self, component: str) -> list[str]:
        """Where the pods of a component answer that clients are led to."""
        return [url for name, (_, url) in self.running.items() if name.startswith(f"shop-{component}-")]

    @asynccontextmanager
    async def load(self, clients: int = 6) -> AsyncIterator[Load]:
        """Clients that read and write, one request after another each, until the block ends."""
        said, ends = Load(), asyncio.Event()
        headers = {"Authorization": f"Bearer {self.keys.token('service_role')}"}

        async def client(number: int, session: aiohttp.ClientSession) -> None:
            turn = number
            while not ends.is_set():
                turn += 1
                component = "reads" if turn % 4 == 0 else "rest"
                urls = self.urls(component)
                method, path, body = ("POST", "notes", {"text": str(turn)}) if turn % 4 == 1 else ("GET", "notes?limit=1", None)
                try:
                    async with session.request(method, f"{urls[turn % len(urls)]}/{path}", json=body, headers=headers) as answer:
                        text = await answer.text()
                    if answer.status >= 300:
                        said.failed.append(f"{component}: {answer.status} {text}")
                except (aiohttp.ClientError, TimeoutError, ZeroDivisionError) as error:
                    said.failed.append(f"{component}: {error!r}")
                said.done += 1
                await asyncio.sleep(0.01)

        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=20)
        ) as session:  # fmt: skip
            clients_ = [asyncio.create_task(client(number, session)) for number in range(clients)]
            try:
                yield said
            finally:
                ends.set()
                await asyncio.gather(*clients_)
