"""The schema that PostgREST on a standby knows: what counts as a change of it, who may see that, and that a pod which is started for one
has it. PostgreSQL (a primary and a standby), PostgREST and the prober are the real ones."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from baas_lab.cache import Cache
from baas_lab.operands import IMAGES
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.instance import names
from baas_operator.desired.instance.engines import blueprint
from baas_operator.observe.probes import ProberReport, SchemaReport
from tests.backend.prober.harness import NAME, DataPath, ProberProcess, Process, until
from tests.jetstream.harness.postgres import Postgres, programs
from tests.jetstream.harness.servers import free_ports

OWNER = names.service_role(NAME, "owner")
STATE = "SELECT state FROM baas_probe.schema_state"
COUNTS = [
    "CREATE TABLE public.made (id int PRIMARY KEY)",
    "ALTER TABLE public.made ADD COLUMN note text",
    "ALTER TABLE public.made RENAME COLUMN note TO remark",
    "ALTER TABLE public.made ALTER COLUMN remark TYPE varchar(20)",
    "CREATE TABLE public.others (id int PRIMARY KEY, made int REFERENCES public.made)",
    "ALTER TABLE public.others DROP CONSTRAINT others_made_fkey",
    "CREATE VIEW public.seen AS SELECT id, remark FROM public.made",
    "CREATE OR REPLACE VIEW public.seen AS SELECT id, remark FROM public.made WHERE id > 1",
    "CREATE MATERIALIZED VIEW public.kept AS SELECT id FROM public.made",
    "CREATE FUNCTION public.f(a int) RETURNS int LANGUAGE sql AS 'SELECT a'",
    "ALTER FUNCTION public.f(int) STABLE",
    "CREATE OR REPLACE FUNCTION public.f(a int DEFAULT 1) RETURNS int STABLE LANGUAGE sql AS 'SELECT a'",
    "CREATE DOMAIN public.color AS int",
    "CREATE SCHEMA hidden; CREATE TABLE hidden.kept (id int PRIMARY KEY)",
    "CREATE TABLE public.parted (id int, day date) PARTITION BY RANGE (day)",
    "DROP FUNCTION public.f(int)",
]
"""What a client of PostgREST would see of, in this order."""
COUNTS_NOT = [
    "CREATE TEMP TABLE passing (id int PRIMARY KEY); CREATE TEMP VIEW glance AS SELECT * FROM passing",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "REFRESH MATERIALIZED VIEW public.kept",
    "INSERT INTO public.made VALUES (1)",
    "CREATE INDEX ON public.made (remark)",
    "TRUNCATE public.others",
    "CLUSTER public.made USING made_pkey",
    "ANALYZE",
    "VACUUM FULL public.made",
    "GRANT SELECT ON public.made TO anon",
    "ALTER TABLE public.made ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.made USING (true)",
    "COMMENT ON TABLE public.made IS 'of note'",
    "CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE OR REPLACE VIEW public.seen AS SELECT id, remark FROM public.made WHERE id > 1",
    "CREATE TABLE public.new (LIKE public.made INCLUDING ALL); DROP TABLE public.new",
    "CREATE TABLE auth.more (id int PRIMARY KEY); CREATE TABLE storage.more (id int PRIMARY KEY)",
    "BEGIN; CREATE TABLE public.undone (id int); CREATE FUNCTION public.undone() RETURNS int LANGUAGE sql AS 'SELECT 1'; ROLLBACK",
]


class Reads(DataPath):
    """PostgREST on a standby, as the operator runs it, and no gateway: the prober's transactions fail, and its looks at standbys do not."""

    def __init__(self, folder: Path, bin_: Path) -> None:
        super().__init__(folder, bin_)
        self.spec = BaasInstanceSpec.model_validate({"components": {"auth": {"enabled": False}}})
        self.standby = Postgres(bin_, folder / "standby")
        self._postgrest = Process("reads", folder)
        (self._reads_admin,) = free_ports(1)

    async def start(self) -> None:
        await self.start_database()
        self.standby.copy_of(self.database, "standby")
        self.standby.start()
        await self.standby.wait()
        await self.start_reads()

    async def start_reads(self) -> None:
        """As a pod starts: until it is ready."""
        (component,) = [each for each in blueprint(self._given()) if each.name == "reads"]
        uri = re.sub(
            r"@[^/]+/", f"@127.0.0.1:{self.standby.port},127.0.0.1:{self.database.port}/",
            self.key(names.role_secret(NAME, "authenticator"), "standby-uri"),
        ).replace("sslmode=require", "sslmode=disable")  # fmt: skip
        jwks = self._folder / "jwks.json"
        jwks.write_text(self._given().jwks)
        self._postgrest.start([IMAGES["postgrest"].programs["postgrest"].get(Cache())], dict(component.env) | {
            "PGRST_DB_URI": uri, "PGRST_JWT_SECRET": f"@{jwks}", "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(self.reads_port), "PGRST_ADMIN_SERVER_PORT": str(self._reads_admin),
        })  # fmt: skip

        async def ready() -> bool:
            return (await self._get(f"http://127.0.0.1:{self._reads_admin}/ready"))[0] == 200

        await until(ready, "PostgREST is ready on the standby", told=lambda: self._postgrest.said)

    def end_reads(self) -> None:
        """As a pod ends."""
        self._postgrest.end(signal.SIGTERM)

    def stop(self) -> None:
        self._postgrest.end(signal.SIGKILL)
        self.standby.stop()
        self.database.stop()

    async def asks(self, path: str, key: str, **headers: str) -> tuple[int, str]:
        """What it says to who has one of the API keys."""
        value = self.key(names.api_keys_secret(NAME), key)
        made = {name.replace("_", "-"): each for name, each in headers.items()}
        return await self._get(f"http://127.0.0.1:{self.reads_port}{path}", {"Authorization": f"Bearer {value}"} | made)

    async def _get(self, url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        try:
            async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            return 0, repr(error)

    async def connect(self, *, standby: bool = False) -> Any:
        """As the superuser."""
        port = self.standby.port if standby else self.database.port
        return await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database=names.sql_name(NAME))

    async def migrate(self, text: str) -> None:
        """As the owner of the database."""
        connection = await self.connect()
        try:
            await connection.execute(f"SET ROLE {OWNER}; {text}")
        finally:
            await connection.close()

    async def state(self, *, standby: bool = False) -> str:
        connection = await self.connect(standby=standby)
        try:
            return str(await connection.fetchval(STATE))
        finally:
            await connection.close()

    async def replayed(self) -> None:
        """Until the standby has what the primary has now."""
        connection = await self.connect()
        other = await self.connect(standby=True)
        try:
            there = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")

            async def caught_up() -> bool:
                return bool(await other.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", there))

            await until(caught_up, "the standby has replayed it")
        finally:
            await connection.close()
            await other.close()

    def told(self) -> Any:
        """A prober of its pods."""
        return self.prober(interval=1.0, deadline=0.9)

    @property
    def port(self) -> int:
        return 1  # there is no gateway


async def heard(prober: ProberProcess) -> SchemaReport:
    """What it reports, as the operator reads it."""
    status, text = await prober.page("/report")
    assert status == 200, text
    return ProberReport.model_validate_json(text).standby_schema


@pytest_asyncio.fixture(scope="module")
async def reads() -> AsyncIterator[Reads]:
    with programs() as bin_, tempfile.TemporaryDirectory(prefix="baas-reads-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # noqa: ASYNC240 - before anything else runs
        running = Reads(folder, bin_)
        try:
            await running.start()
            yield running
        finally:
            running.stop()


async def test_a_backend_that_is_new_has_nothing_to_know(reads: Reads) -> None:
    assert await reads.state() == "0"
    assert await reads.asks("/schema_state", "probe", accept_profile="baas_probe") == (200, '[{"state":"0"}]')


async def test_a_bootstrap_from_before_gets_it_and_another_run_changes_nothing(reads: Reads) -> None:
    connection = await reads.connect()
    try:
        await connection.execute("DROP VIEW baas_probe.schema_state")
        for _ in range(2):
            await asyncio.to_thread(reads.bootstrap)
            assert await connection.fetchval(STATE) == "0"
    finally:
        await connection.close()


async def test_what_clients_can_see_of_is_a_change_and_nothing_else_is(reads: Reads, figure: Callable[[str], None]) -> None:
    connection = await reads.connect()
    try:
        seen = [await connection.fetchval(STATE)]
        for each in COUNTS:
            await connection.execute(each)
            seen.append(await connection.fetchval(STATE))
            assert seen[-1] not in seen[:-1], each
        for each in COUNTS_NOT:
            await connection.execute(each)
            assert await connection.fetchval(STATE) == seen[-1], each
        await reads.replayed()
        assert await reads.state(standby=True) == seen[-1]
        figure(f"{len(COUNTS)} changes told apart on the primary, and the standby has the same number after them")
    finally:
        await connection.close()


async def test_a_transaction_is_a_change_once_it_is_committed_and_replayed(reads: Reads) -> None:
    before = await reads.state()
    connection, standby = await reads.connect(), await reads.connect(standby=True)
    try:
        await reads.replayed()
        async with connection.transaction():
            for index in range(100):
                await connection.execute(f"CREATE TABLE public.of_a_migration_{index} (id int PRIMARY KEY)")
            assert await reads.state() == before, "others see nothing of it yet"
        after = await reads.state()
        assert after != before
        await reads.replayed()
        assert await standby.fetchval(STATE) == after

        await standby.execute("SELECT pg_wal_replay_pause()")
        await connection.execute("CREATE TABLE public.late (id int)")
        assert await reads.state() != after
        said = await reads.asks("/schema_state", "probe", accept_profile="baas_probe")
        assert json.loads(said[1]) == [{"state": after}], "who reads from a standby that lags is told what that has"
        await standby.execute("SELECT pg_wal_replay_resume()")
        await reads.replayed()
    finally:
        await connection.close()
        await standby.close()


async def test_nobody_but_probers_sees_it_and_they_see_nothing_more(reads: Reads) -> None:
    for key in ("anon", "service_role"):
        status, said = await reads.asks("/schema_state", key, accept_profile="baas_probe")
        assert status in (401, 403), f"{key}: {said}"
    status, said = await reads.asks("/schema_state?select=state", "probe", accept_profile="baas_probe")
    assert (status, len(json.loads(said))) == (200, 1), said
    connection = await reads.connect()
    try:
        for role in ("anon", "authenticated", "service_role", OWNER, names.service_role(NAME, "authenticator")):
            await connection.execute(f"SET SESSION AUTHORIZATION {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(STATE)
            await connection.execute("RESET SESSION AUTHORIZATION")
        await connection.execute("SET SESSION AUTHORIZATION baas_probe")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE OR REPLACE VIEW baas_probe.schema_state AS SELECT '1'::text AS state")
    finally:
        await connection.close()


async def test_a_function_that_is_new_is_known_once_a_pod_is_started_for_it(reads: Reads, figure: Callable[[str], None]) -> None:
    with reads.told() as prober:

        async def known() -> bool:
            return (await heard(prober)).settled is not None

        await prober.began()
        await until(known, "the prober has heard of a schema twice", told=lambda: prober.process.said)
        before = (await heard(prober)).settled
        assert before == await reads.state()

        await reads.migrate("CREATE FUNCTION public.hello() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'hello' $$")
        began = asyncio.get_running_loop().time()

        async def changed() -> bool:
            return (await heard(prober)).settled not in (None, before)

        await until(changed, "the prober has heard of another twice", told=lambda: prober.process.said)
        assert (await heard(prober)).settled == await reads.state()
        figure(f"told {asyncio.get_running_loop().time() - began:.1f} s after it was made, with an interval of 1 s")
        status, said = await reads.asks("/rpc/hello", "anon")
        assert status == 404, f"PostgREST hears of changes on a standby by now: nothing has to be rolled any more ({said})"

        reads.end_reads()
        await asyncio.sleep(1.5)
        assert (await heard(prober)).settled is None, "a pod that is not there says nothing"
        await reads.start_reads()

        assert await reads.asks("/rpc/hello", "anon") == (200, '"hello"')
        await until(known, "the prober has heard of it again", told=lambda: prober.process.said)
