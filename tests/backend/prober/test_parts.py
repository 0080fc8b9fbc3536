"""Signing in and uploading, before stand-ins of GoTrue and storage-api (tests/standins), a real PostgreSQL and a real object store."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from baas_operator.desired.instance.component import Component
from baas_operator.prober.prober import Prober
from tests.backend.harness.backend import Backend
from tests.backend.prober.harness import until
from tests.jetstream.harness.postgres import programs

NAMES = ("sign-in", "upload")
WELL = dict.fromkeys(NAMES)


class Parts(Backend):
    """Auth and storage alone; the router stands in for the gateway."""

    def components(self) -> list[Component]:
        return [each for each in super().components() if each.name in ("auth", "storage")]

    async def apply(self, file: Path) -> None:
        """The clients' tables are of no use here."""

    def prober(self, folder: Path, slot: int, password: str = "a-password-that-is-long") -> Prober:  # noqa: S107
        """One of several."""
        keys = folder / "secrets" / "api"
        keys.mkdir(parents=True, exist_ok=True)
        told = {"anon": self.anon, "service_role": self.service, "probe": self.probe}
        told |= {"username": "prober@baas-operator.invalid", "password": password}
        for name, value in told.items():
            (keys / name).write_text(value)
        config = {
            "engine": "supabase", "gateway": {"address": "127.0.0.1", "port": self.router.port, "host": "shop.example", "tls": None},
            "intervalSeconds": 60, "deadlineSeconds": 20, "settings": {},
            "transactions": [{"name": each, "every": 1} for each in NAMES],
        }  # fmt: skip
        (folder / "probe.json").write_text(json.dumps(config))
        made = Prober(folder / "probe.json", folder / "secrets", slot)
        made._load(first=True)
        return made

    async def counts(self, *tables: str) -> list[int]:
        """Rows of tables."""
        connection = await self.connect()
        try:
            return [int(await connection.fetchval(f"SELECT count(*) FROM {each}")) for each in tables]  # noqa: S608 - a test's own words
        finally:
            await connection.close()


def failures(prober: Prober) -> dict[str, str | None]:
    return {each["name"]: each["failure"] if each["failures"] else each["trouble"] for each in prober.report()["transactions"]}


@pytest_asyncio.fixture(scope="module")
async def parts() -> AsyncIterator[Parts]:
    with programs() as bin_, tempfile.TemporaryDirectory(prefix="baas-probe-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # noqa: ASYNC240 - before anything else runs
        running = Parts(folder, bin_)
        try:
            await running.start()
            yield running
        finally:
            await running.stop()


async def test_probers_that_begin_together_make_one_user_and_one_bucket_and_leave_nothing_else(parts: Parts, tmp_path: Path) -> None:
    probers = [parts.prober(tmp_path, slot) for slot in (1, 2, 3)]
    for _ in range(2):
        await asyncio.gather(*(each.round() for each in probers))
    assert [failures(each) for each in probers] == [WELL] * 3
    assert await parts.counts("auth.users", "storage.buckets WHERE id = 'baas-probe'") == [1, 1]
    assert await parts.counts("auth.sessions", "auth.refresh_tokens", "storage.objects WHERE bucket_id = 'baas-probe'") == [0, 0, 0]


async def test_a_password_that_was_drawn_anew_is_given_to_the_user_that_is_there(parts: Parts, tmp_path: Path) -> None:
    for password in ("a-password-before", "a-password-after"):
        prober = parts.prober(tmp_path, 4, password)
        await prober.round()
        assert failures(prober) == WELL
    assert await parts.counts("auth.users") == [1]


async def test_a_database_that_is_killed_is_told_and_so_is_its_return(parts: Parts, tmp_path: Path) -> None:
    prober = parts.prober(tmp_path, 5)
    await prober.round()
    parts.database.kill()
    await prober.round()
    said = failures(prober)
    assert (said["sign-in"] or "").startswith("POST /auth/v1/token: 50"), said  # a connection that breaks under a request is a 500
    assert (said["upload"] or "").startswith("POST /storage/v1/object/baas-probe/5: "), said
    parts.database.start()
    await parts.database.wait()

    async def well() -> bool:
        await prober.round()
        return failures(prober) == WELL

    await until(well, "all succeed again")


async def test_an_object_store_that_is_gone_is_told_by_upload_alone(parts: Parts, tmp_path: Path) -> None:
    prober = parts.prober(tmp_path, 6)
    await prober.round()
    parts.objects.end(9)
    try:
        await prober.round()
        said = failures(prober)
        assert said["sign-in"] is None, said
        assert (said["upload"] or "").startswith("POST /storage/v1/object/baas-probe/6: "), said
    finally:
        parts.objects.start()
        await parts.objects.wait()
