"""postgres-meta, which is the real one: who may ask it, and as whom it works."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import aiohttp

from tests.backend.harness.backend import Backend
from tests.backend.harness.programs import postgres_meta

ENCRYPT = "const c = require('crypto-js'); console.log(c.AES.encrypt(process.argv[1], process.argv[2]).toString())"


async def ask(backend: Backend, path: str, key: str, *, query: str | None = None, **headers: str) -> tuple[int, Any]:
    method, body = ("GET", None) if query is None else ("POST", {"query": query})
    async with aiohttp.request(method, f"{backend.router.url}/pg/{path}", json=body, headers={"apikey": key, **headers}) as answer:
        return answer.status, await answer.json()


async def test_the_catalogue_is_for_the_service_key(backend: Backend) -> None:
    code, tables = await ask(backend, "tables?included_schemas=public", backend.service)
    assert (code, {each["name"] for each in tables} >= {"todos", "profiles"}) == (200, True)
    assert (await ask(backend, "tables", backend.anon))[0] == 401
    assert (await ask(backend, "query", backend.anon, query="select 1"))[0] == 401


async def test_it_is_the_owner_and_no_more(backend: Backend) -> None:
    assert await ask(backend, "query", backend.service, query="select current_user as me") == (200, [{"me": "shop_owner"}])
    code, said = await ask(backend, "query", backend.service, query="create role another superuser")
    assert (code, "permission denied" in str(said)) == (400, True)


async def test_the_key_that_everybody_knows_leads_nowhere(backend: Backend) -> None:
    """A client may name another database in a header, encrypted: with a default key that would be anybody's."""
    uri = f"postgresql://postgres@127.0.0.1:{backend.database.port}/shop"

    async def through(key: str) -> tuple[int, Any]:
        command = ["node", "-e", ENCRYPT, uri, key]
        done = await asyncio.to_thread(subprocess.run, command, cwd=postgres_meta(), capture_output=True, text=True, check=True)
        headers = {"x-connection-encrypted": done.stdout.strip()}
        return await ask(backend, "query", backend.service, query="select current_user as me", **headers)

    assert await through((backend.folder / "crypto").read_text()) == (200, [{"me": "postgres"}])
    code, said = await through("SAMPLE_KEY")
    assert code >= 400, said
    assert await ask(backend, "query", backend.service, query="select current_user as me", pg=uri) == (200, [{"me": "shop_owner"}])
