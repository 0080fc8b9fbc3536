"""Buckets."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
from aiohttp import web

from tests.standins.database import Database
from tests.standins.storage.caller import as_caller, caller_of
from tests.standins.storage.files import Files
from tests.standins.storage.refusal import RefusalError, no_bucket
from tests.standins.storage.settings import Settings

_NAME = re.compile(r"^[A-Za-z0-9!\-_.*'() &$@=;:+,?]{1,100}$")
_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_COLUMNS = "id, name, owner, public, file_size_limit, allowed_mime_types, created_at, updated_at"


class Buckets:
    """`/bucket`."""

    def __init__(self, settings: Settings, database: Database, files: Files) -> None:
        self.settings, self.database, self.files = settings, database, files

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/bucket", self.list_all), web.post("/bucket", self.create), web.get("/bucket/{id}", self.show),
            web.put("/bucket/{id}", self.change), web.delete("/bucket/{id}", self.delete), web.post("/bucket/{id}/empty", self.empty),
        ]  # fmt: skip

    async def list_all(self, request: web.Request) -> web.Response:
        caller = caller_of(self.settings, request)
        found = await as_caller(self.database, caller, lambda connection: connection.fetch(f"SELECT {_COLUMNS} FROM buckets ORDER BY id"))
        return web.json_response([_shown(each) for each in found])

    async def show(self, request: web.Request) -> web.Response:
        caller, wanted = caller_of(self.settings, request), request.match_info["id"]

        async def work(connection: Any) -> Any:
            return await connection.fetchrow(f"SELECT {_COLUMNS} FROM buckets WHERE id = $1", wanted)

        if (found := await as_caller(self.database, caller, work)) is None:
            raise no_bucket()
        return web.json_response(_shown(found))

    async def create(self, request: web.Request) -> web.Response:
        caller, body = caller_of(self.settings, request), await request.json()
        name = str(body.get("name") or body.get("id") or "")
        wanted = str(body.get("id") or name)
        if not _NAME.match(name) or not _NAME.match(wanted):
            raise RefusalError(400, "InvalidBucketName", "Bucket name invalid")

        async def work(connection: Any) -> None:
            await connection.execute(
                "INSERT INTO buckets (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types)"
                " VALUES ($1, $2, $3::text::uuid, $3, $4, $5, $6)",
                wanted, name, caller.owner, bool(body.get("public")), _limit(body.get("file_size_limit")), body.get("allowed_mime_types"),
            )  # fmt: skip

        await as_caller(self.database, caller, work)
        return web.json_response({"name": wanted})

    async def change(self, request: web.Request) -> web.Response:
        caller, body, wanted = caller_of(self.settings, request), await request.json(), request.match_info["id"]

        async def work(connection: Any) -> Any:
            return await connection.fetchval(
                "UPDATE buckets SET public = coalesce($2, public), file_size_limit = CASE WHEN $3 THEN $4 ELSE file_size_limit END,"
                " allowed_mime_types = CASE WHEN $5 THEN $6 ELSE allowed_mime_types END, updated_at = now() WHERE id = $1 RETURNING id",
                wanted, body.get("public"), "file_size_limit" in body, _limit(body.get("file_size_limit")),
                "allowed_mime_types" in body, body.get("allowed_mime_types"),
            )  # fmt: skip

        if await as_caller(self.database, caller, work) is None:
            raise no_bucket()
        return web.json_response({"message": "Successfully updated"})

    async def empty(self, request: web.Request) -> web.Response:
        caller, wanted = caller_of(self.settings, request), request.match_info["id"]

        async def work(connection: Any) -> list[asyncpg.Record]:
            if await connection.fetchval("SELECT true FROM buckets WHERE id = $1", wanted) is None:
                raise no_bucket()
            return list(await connection.fetch("DELETE FROM objects WHERE bucket_id = $1 RETURNING name, version", wanted))

        gone = await as_caller(self.database, caller, work)
        await self.files.remove([(wanted, each["name"], each["version"]) for each in gone])
        return web.json_response({"message": "Successfully emptied"})

    async def delete(self, request: web.Request) -> web.Response:
        caller, wanted = caller_of(self.settings, request), request.match_info["id"]

        async def work(connection: Any) -> Any:
            return await connection.fetchval("DELETE FROM buckets WHERE id = $1 RETURNING id", wanted)

        try:
            gone = await as_caller(self.database, caller, work)
        except asyncpg.ForeignKeyViolationError as error:
            raise RefusalError(409, "InvalidRequest", "The bucket you tried to delete is not empty") from error
        if gone is None:
            raise no_bucket()
        return web.json_response({"message": "Successfully deleted"})


def _limit(value: Any) -> int | None:
    """A size in bytes from a number, or from text as `20MB`."""
    if value is None:
        return None
    matched = re.match(r"^(\d+)\s*([a-z]{0,2})$", str(value).lower())
    if not matched or matched[2] not in _UNITS:
        raise RefusalError(422, "InvalidRequest", f"file_size_limit {value!r} is no size")
    return int(matched[1]) * _UNITS[matched[2]]


def _shown(bucket: asyncpg.Record) -> dict[str, Any]:
    moments = {key: bucket[key].isoformat() for key in ("created_at", "updated_at")}
    return {**dict(bucket), **moments, "owner": str(bucket["owner"] or "")}
