"""What a prober tells of Parse Server: the real one, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from baas_lab.cache import Cache
from baas_lab.operand_recipes import fetch
from baas_operator.prober.prober import Prober
from tests.backend.prober.harness import REPOSITORY, Process, until
from tests.jetstream.harness.postgres import Postgres, programs
from tests.jetstream.harness.servers import free_ports

KEYS = {
    "masterKey": "master-0123456789", "restAPIKey": "rest-0123456789", "username": "prober@baas-operator.invalid", "probe": "the-gateways",
}  # fmt: skip
NAMES = ("read", "write", "sign-in")


class ParseServer:
    """Parse Server alone, without what the image adds to it."""

    def __init__(self, folder: Path, database: Postgres) -> None:
        self.folder, self.database = folder, database
        (self.port,) = free_ports(1)
        self.process = Process("parse-server", folder)

    async def start(self) -> None:
        """Until it answers."""
        url = f"http://127.0.0.1:{self.port}/parse"
        config = {
            "appId": "shop", "masterKey": KEYS["masterKey"], "restAPIKey": KEYS["restAPIKey"], "masterKeyIps": ["127.0.0.1"],
            "databaseURI": f"postgres://postgres@127.0.0.1:{self.database.port}/postgres", "mountPath": "/parse", "serverURL": url,
            "port": self.port, "host": "127.0.0.1", "allowClientClassCreation": False, "logsFolder": str(self.folder / "logs"),
        }  # fmt: skip
        (self.folder / "config.json").write_text(json.dumps(config))
        packages = fetch.node_modules(Cache(), REPOSITORY / "images/parse-server")
        self.process.start(["node", packages / "parse-server/bin/parse-server", self.folder / "config.json"])

        async def well() -> bool:
            return (await self.get("/health"))[0] == 200

        await until(well, "Parse Server answers", told=lambda: self.process.said)

    async def get(self, path: str) -> tuple[int, Any]:
        """What it says to a client that has no master key."""
        headers = {"X-Parse-Application-Id": "shop", "X-Parse-REST-API-Key": KEYS["restAPIKey"]}
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(f"http://127.0.0.1:{self.port}/parse{path}") as answer,
            ):
                return answer.status, await answer.json()
        except aiohttp.ClientError as error:
            return 0, repr(error)

    async def count(self, what: str) -> int:
        """Rows of a query."""
        connection = await self.database.connect()
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {what}"))  # noqa: S608 - a test's own words
        finally:
            await connection.close()

    def prober(self, folder: Path, slot: int, password: str = "first") -> Prober:  # noqa: S107
        """One of several."""
        keys = folder / "secrets" / "parse"
        keys.mkdir(parents=True, exist_ok=True)
        for name, value in (KEYS | {"password": password}).items():
            (keys / name).write_text(value)
        told = {
            "engine": "parse", "gateway": {"address": "127.0.0.1", "port": self.port, "host": "shop.example", "tls": None},
            "intervalSeconds": 60, "deadlineSeconds": 20, "settings": {"appId": "shop"},
            "transactions": [{"name": each, "every": 1} for each in NAMES],
        }  # fmt: skip
        (folder / "probe.json").write_text(json.dumps(told))
        made = Prober(folder / "probe.json", folder / "secrets", slot)
        made._load(first=True)
        return made


def failures(prober: Prober) -> dict[str, str | None]:
    return {each["name"]: each["failure"] if each["failures"] else each["trouble"] for each in prober.report()["transactions"]}


WELL = dict.fromkeys(NAMES)


@pytest_asyncio.fixture(scope="module")
async def parse() -> AsyncIterator[ParseServer]:
    with programs() as bin_, tempfile.TemporaryDirectory(prefix="baas-probe-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # noqa: ASYNC240 - before anything else runs
        database = Postgres(bin_, folder / "postgres")
        database.create()
        database.start()
        await database.wait()
        server = ParseServer(folder, database)
        try:
            await server.start()
            yield server
        finally:
            server.process.end()
            database.stop()


async def test_probers_that_begin_together_succeed_and_leave_nothing(parse: ParseServer, tmp_path: Path) -> None:
    probers = [parse.prober(tmp_path, slot) for slot in (1, 2)]
    for _ in range(2):
        await asyncio.gather(*(each.round() for each in probers))
    assert [failures(each) for each in probers] == [WELL, WELL]
    assert await parse.count('"BaasProbe"') == 2
    assert await parse.count('"_User"') == 1
    assert await parse.count('"_Session"') == 0, "who signs in signs out"
    for each in probers:
        await each._clean_up()
    assert await parse.count('"BaasProbe"') == 0


async def test_clients_see_neither_its_objects_nor_its_user(parse: ParseServer, tmp_path: Path) -> None:
    await parse.prober(tmp_path, 3).round()
    status, said = await parse.get("/classes/BaasProbe")
    assert (status, said["error"]) == (400, "Permission denied")
    assert (await parse.get("/users"))[1] == {"results": []}


async def test_a_password_that_was_drawn_anew_is_given_to_the_user_that_is_there(parse: ParseServer, tmp_path: Path) -> None:
    for password in ("first", "second"):
        prober = parse.prober(tmp_path, 4, password)
        await prober.round()
        assert failures(prober) == WELL
    assert await parse.count('"_User"') == 1


async def test_a_master_key_that_is_not_taken_from_it_is_no_fault_of_the_backend(parse: ParseServer, tmp_path: Path) -> None:
    prober = parse.prober(tmp_path, 8, "a third, which nobody can set")
    (tmp_path / "secrets" / "parse" / "masterKey").write_text("another")
    await prober.round()
    said = {each["name"]: each for each in prober.report()["transactions"]}
    for each in said.values():
        assert each["failures"] == 0, each
        assert "have server.masterKeyIps include" in each["trouble"]


async def test_objects_of_probers_that_are_gone_are_removed(parse: ParseServer, tmp_path: Path) -> None:
    await parse.prober(tmp_path, 5).round()
    connection = await parse.database.connect()
    await connection.execute("""UPDATE "BaasProbe" SET "updatedAt" = now() - interval '3 hours'""")
    await connection.close()
    await parse.prober(tmp_path, 6).round()
    assert await parse.count('"BaasProbe" WHERE slot <> 6') == 0


async def test_a_database_that_is_killed_is_told_and_so_is_its_return(parse: ParseServer, tmp_path: Path) -> None:
    prober = parse.prober(tmp_path, 7)
    await prober.round()
    parse.database.kill()
    await prober.round()
    assert all(said and ": 500: " in said for said in failures(prober).values()), failures(prober)
    parse.database.start()
    await parse.database.wait()

    async def well() -> bool:
        await prober.round()
        return failures(prober) == WELL

    await until(well, "all succeed again")
