"""A backend's data path on loopback, all of it real: PostgreSQL, PostgREST and Envoy, as the operator would configure them, and a prober
as the process that its pods run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from baas_lab.cache import Cache
from baas_lab.operands import IMAGES
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance import names
from baas_operator.desired.instance.build import instance_secrets
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.engines import ENGINES, blueprint
from baas_operator.desired.instance.gateway import GatewayInput
from baas_operator.desired.instance.gateway_pod import ISSUER
from baas_operator.desired.instance.probes import probe_sql
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.engine.generate import build_secret
from baas_operator.observe.probes import ProberReport, TransactionReport
from baas_operator.observe.view import secret_text
from tests.backend.gateway.harness.envoy import Gateway
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.harness.servers import free_ports

REPOSITORY = Path(__file__).resolve().parents[3]
NAME = "shop"
_WAIT_SECONDS = 40.0


class Process:
    """A program whose output goes to a file."""

    def __init__(self, name: str, folder: Path) -> None:
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Where it writes, it writes beside its output."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._log.parent, env=os.environ | dict(environment or {})
            )

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(20)
        self._process = None
        return code

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


class DataPath:
    """Envoy before PostgREST before PostgreSQL."""

    def __init__(self, folder: Path, bin_: Path) -> None:
        self._folder, self._bin = folder, bin_
        self.spec = BaasInstanceSpec.model_validate({"components": {"reads": {"enabled": False}, "auth": {"enabled": False}}})
        self.owner = Owner("BaasInstance", "test", NAME, "0" * 8)
        self.database = Postgres(bin_, folder / "postgres")
        self._secrets: dict[str, Manifest] = {}
        self._rest = Process("postgrest", folder)
        self._gateway: Gateway | None = None
        self._rest_port, self._rest_admin = free_ports(2)
        (self.reads_port,) = free_ports(1)
        """Of PostgREST on a standby, where there is one (test_standby_schema.py)."""

    @property
    def gateway(self) -> Gateway:
        """Envoy."""
        assert self._gateway
        return self._gateway

    @property
    def port(self) -> int:
        """Where it takes clients."""
        return self.gateway.given.ports.http

    def key(self, secret: str, key: str) -> str:
        """What a Secret has."""
        return secret_text(self._secrets[secret], key) or ""

    async def start_database(self) -> None:
        """The database, bootstrapped with Secrets that are drawn."""
        for request in instance_secrets(self.spec, self.owner):
            source = self._secrets.get(request.source or "")
            self._secrets[request.name] = build_secret(request, source=source, now=1_790_000_000)
        self.database.create()
        self.database.start()
        await self.database.wait()
        self.bootstrap()

    async def start(self) -> None:
        """All of it, until the gateway leads somewhere."""
        await self.start_database()
        components = {each.name: each for each in blueprint(self._given())}
        self._start_rest(components["rest"])
        self._gateway = Gateway(self._folder / "gateway", self._given_gateway())
        self._gateway.start()
        await until(self.answers, "the gateway leads to PostgREST", told=lambda: self.gateway.log() + self._rest.said)

    def stop(self) -> None:
        """End all of it."""
        if self._gateway:
            self._gateway.stop()
        self._rest.end(signal.SIGKILL)
        self.database.stop()

    def freeze_gateway(self) -> None:
        """It takes connections, as its kernel does, and answers none."""
        os.kill(self.gateway.pid, signal.SIGSTOP)

    def thaw_gateway(self) -> None:
        """It goes on."""
        os.kill(self.gateway.pid, signal.SIGCONT)

    def bootstrap(self) -> None:
        """What the operator's Job runs, with the passwords where that has them."""
        wanted = ENGINES[self.spec.engine].bootstrap(self.spec, self.owner)
        for role in wanted.roles:
            folder = self._folder / "roles" / role
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "password").write_text(self.key(names.role_secret(NAME, role), "password"))
        sql = self._folder / "bootstrap.sql"
        sql.write_text((wanted.sql + probe_sql(self.spec, self.owner)).replace("/etc/baas/roles", str(self._folder / "roles")))
        subprocess.run(
            [
                self._bin / "psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.database.port),
                "-U", "postgres", "-d", "postgres", "-f", sql,
            ],
            check=True, timeout=60, env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(self._bin.parent / "lib")},
        )  # fmt: skip

    async def answers(self) -> bool:
        """Whether a request gets to PostgREST, and that to the database."""
        return (await self.get("/rest/v1/", key="service_role"))[0] == 200

    async def get(self, path: str, *, key: str, **headers: str) -> tuple[int, str]:
        """What the gateway says to a client with one of the API keys."""
        value = self.key(names.api_keys_secret(NAME), key)
        made = {"apikey": value, "Authorization": f"Bearer {value}"} | {name.replace("_", "-"): each for name, each in headers.items()}
        try:
            async with aiohttp.ClientSession(headers=made) as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            return 0, repr(error)

    async def rows(self) -> list[Any]:
        """What probers have written."""
        return list(await self.sql("SELECT slot, value FROM baas_probe.beats ORDER BY slot"))

    async def sql(self, text: str) -> Any:
        """Rows of a query as the superuser."""
        connection = await asyncpg.connect(host="127.0.0.1", port=self.database.port, user="postgres", database=names.sql_name(NAME))
        try:
            return await connection.fetch(text)
        finally:
            await connection.close()

    def _given(self) -> Given:
        return Given(self.owner, self.spec, Images(), self.key(names.api_keys_secret(NAME), "jwks.json"))

    def _start_rest(self, component: Component) -> None:
        uri = re.sub(r"@[^/]+/", f"@127.0.0.1:{self.database.port}/", self.key(names.role_secret(NAME, "authenticator"), "uri"))
        jwks = self._folder / "jwks.json"
        jwks.write_text(self._given().jwks)
        self._rest.start([IMAGES["postgrest"].programs["postgrest"].get(Cache())], dict(component.env) | {
            "PGRST_DB_URI": uri.replace("sslmode=require", "sslmode=disable"), "PGRST_JWT_SECRET": f"@{jwks}",
            "PGRST_SERVER_HOST": "127.0.0.1", "PGRST_SERVER_PORT": str(self._rest_port), "PGRST_ADMIN_SERVER_PORT": str(self._rest_admin),
        })  # fmt: skip

    def _given_gateway(self) -> GatewayInput:
        """The engine's own routes to the data API; only where PostgREST is, is other than in a pod."""
        given, engine = self._given(), ENGINES[self.spec.engine]
        upstreams = tuple(
            replace(each, host="127.0.0.1", port=self._rest_port, health_port=self._rest_admin)
            for each in engine.upstreams(given)
            if each.name == "rest"
        )
        routes = tuple(each for each in engine.routes(given) if each.upstream == "rest")
        return GatewayInput(upstreams, routes, given.jwks, ISSUER)

    @contextmanager
    def prober(self, *, interval: float = 1.0, deadline: float = 2.0) -> Iterator[ProberProcess]:
        """One that runs until the block ends."""
        (component,) = [each for each in blueprint(self._given()) if each.name == "prober"]
        folder = self._folder / f"prober-{secrets.token_hex(4)}"
        told = json.loads(component.config["probe.json"])
        told["gateway"] |= {"address": "127.0.0.1", "port": self.port, "host": f"127.0.0.1:{self.port}"}
        told |= {"intervalSeconds": interval, "deadlineSeconds": deadline}
        if "standbySchema" in told:
            told["standbySchema"] = {"host": "127.0.0.1", "port": self.reads_port}
        mounted = folder / "secrets"
        for mount in component.mounts:
            where = mounted / Path(mount.path).name
            where.mkdir(parents=True)
            for key, file in mount.items.items():
                (where / file).write_text(self.key(str(mount.secret), key))
        (folder / "probe.json").write_text(json.dumps(told))
        made = ProberProcess(component, folder)
        made.start()
        try:
            yield made
        finally:
            made.process.end()


class ProberProcess:
    """A prober, as its pods run it."""

    def __init__(self, component: Component, folder: Path, *, host: str = "127.0.0.1") -> None:
        self.process = Process("prober", folder)
        self._component, self.folder, self._host = component, folder, host
        (self.port,) = free_ports(1)

    def start(self) -> None:
        args = [str(self.folder / "probe.json"), str(self.folder / "secrets"), "--port", str(self.port), "--host", self._host]
        command: list[str | Path] = [sys.executable, *self._component.command[1:], *args]
        self.process.start(command, {"PYTHONPATH": str(REPOSITORY / "operator")})

    async def page(self, path: str) -> tuple[int, str]:
        """What it says at a path; 0 where it does not listen yet."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            return 0, repr(error)

    async def of(self, transaction: str) -> TransactionReport:
        """What it reports of a transaction, as the operator reads it."""
        status, text = await self.page("/report")
        assert status == 200, text
        return next(each for each in ProberReport.model_validate_json(text).transactions if each.name == transaction)

    async def began(self) -> None:
        """Until its first round is over."""

        async def ready() -> bool:
            return (await self.page("/readyz"))[0] == 200

        await until(ready, "the first round is over", told=lambda: self.process.said)

    async def when(self, transaction: str, *, failing: bool, seconds: float = _WAIT_SECONDS) -> TransactionReport:
        """Until a transaction fails, or does not."""

        async def so() -> bool:
            said = await self.of(transaction)
            return said.attempts > 0 and bool(said.failures) == failing

        await until(so, f"{transaction} {'fails' if failing else 'succeeds'}", seconds=seconds, told=lambda: self.process.said)
        return await self.of(transaction)


async def until(check: Any, what: str, *, seconds: float = _WAIT_SECONDS, told: Any = str) -> None:
    """Wait for a coroutine function to say so."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:.0f} s: {what}\n{told()}"
        await asyncio.sleep(0.05)


def cpu_seconds(process: Path) -> float:
    """What a process (its folder in /proc) has spent."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident_mebibytes(process: Path) -> float:
    """Its resident memory."""
    line = next(each for each in (process / "status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
