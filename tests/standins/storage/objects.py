"""Objects: upload, download, list, move, copy, remove."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import quote

import asyncpg
from aiohttp import web

from tests.standins.database import Database
from tests.standins.storage import rows, uploads
from tests.standins.storage.caller import as_caller, caller_of
from tests.standins.storage.files import Files, LostError
from tests.standins.storage.refusal import RefusalError, no_object
from tests.standins.storage.settings import Settings

_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")


class Objects:
    """`/object`, for who comes with a token, and for all where the bucket is public."""

    def __init__(self, settings: Settings, database: Database, files: Files) -> None:
        self.settings, self.database, self.files = settings, database, files

    def routes(self) -> list[web.RouteDef]:
        """Fixed words before names: a bucket named as one of them is not reached, as with storage-api."""
        one = "/{bucket}/{name:.+}"
        return [
            web.post("/object/list/{bucket}", self.list_folder), web.post("/object/move", self.move), web.post("/object/copy", self.copy),
            web.get(f"/object/public{one}", self.public), web.get(f"/object/info/public{one}", self.public_info),
            web.get(f"/object/info/authenticated{one}", self.info), web.get(f"/object/info{one}", self.info),
            web.get(f"/object/authenticated{one}", self.read),
            web.get(f"/object{one}", self.read), web.post(f"/object{one}", self.upload), web.put(f"/object{one}", self.replace),
            web.delete(f"/object{one}", self.remove_one), web.delete("/object/{bucket}", self.remove),
        ]  # fmt: skip

    async def upload(self, request: web.Request) -> web.Response:
        return await self._store(request, replace=request.headers.get("x-upsert") == "true", must_exist=False)

    async def replace(self, request: web.Request) -> web.Response:
        return await self._store(request, replace=True, must_exist=True)

    async def _store(self, request: web.Request, *, replace: bool, must_exist: bool) -> web.Response:
        caller, (bucket, name) = caller_of(self.settings, request), named(request)
        done = await uploads.store(
            self.settings, self.database, self.files, request, bucket, name, caller=caller, owner=caller.owner, replace=replace,
            must_exist=must_exist,
        )  # fmt: skip
        return web.json_response(done)

    async def read(self, request: web.Request) -> web.StreamResponse:
        caller, (bucket, name) = caller_of(self.settings, request), named(request)
        return await send(
            self.files, request, await as_caller(self.database, caller, lambda connection: rows.find(connection, bucket, name))
        )

    async def public(self, request: web.Request) -> web.StreamResponse:
        return await send(self.files, request, await self._of_public(request))

    async def info(self, request: web.Request) -> web.Response:
        caller, (bucket, name) = caller_of(self.settings, request), named(request)
        return web.json_response(_info(await as_caller(self.database, caller, lambda connection: rows.find(connection, bucket, name))))

    async def public_info(self, request: web.Request) -> web.Response:
        return web.json_response(_info(await self._of_public(request)))

    async def _of_public(self, request: web.Request) -> asyncpg.Record:
        bucket, name = named(request)

        async def work(connection: Any) -> asyncpg.Record:
            if not (await rows.bucket_of(connection, bucket))["public"]:
                raise no_object()
            return await rows.find(connection, bucket, name)

        return await self.database.run(work)

    async def list_folder(self, request: web.Request) -> web.Response:
        caller, bucket, body = caller_of(self.settings, request), request.match_info["bucket"], await request.json()
        return web.json_response(await as_caller(self.database, caller, lambda connection: rows.list_folder(connection, bucket, body)))

    async def remove(self, request: web.Request) -> web.Response:
        names = (await request.json()).get("prefixes") or []
        return web.json_response(await self._remove(request, request.match_info["bucket"], [str(each) for each in names]))

    async def remove_one(self, request: web.Request) -> web.Response:
        bucket, name = named(request)
        if not await self._remove(request, bucket, [name]):
            raise no_object()
        return web.json_response({"message": "Successfully deleted"})

    async def _remove(self, request: web.Request, bucket: str, names: list[str]) -> list[dict[str, Any]]:
        caller = caller_of(self.settings, request)

        async def work(connection: Any) -> list[asyncpg.Record]:
            return list(await connection.fetch("DELETE FROM objects WHERE bucket_id = $1 AND name = ANY($2) RETURNING *", bucket, names))

        gone = await as_caller(self.database, caller, work)
        await self.files.remove([(bucket, each["name"], each["version"]) for each in gone])
        return [{key: value for key, value in rows.shown(each).items() if key not in ("owner", "path_tokens")} for each in gone]

    async def move(self, request: web.Request) -> web.Response:
        source, _ = await self._transfer(request, keep=False)
        await self.files.remove([source])
        return web.json_response({"message": "Successfully moved"})

    async def copy(self, request: web.Request) -> web.Response:
        _, target = await self._transfer(request, keep=True)
        return web.json_response({"Key": f"{target[0]}/{target[1]}"})

    async def _transfer(self, request: web.Request, *, keep: bool) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
        caller, body = caller_of(self.settings, request), await request.json()
        bucket, name = str(body["bucketId"]), str(body["sourceKey"])
        to_bucket, to_name = str(body.get("destinationBucket") or bucket), str(body["destinationKey"])
        uploads.check_name(to_name)
        found = await as_caller(self.database, caller, lambda connection: rows.find(connection, bucket, name))
        source, target = (bucket, name, found["version"]), (to_bucket, to_name, str(uuid.uuid4()))
        await self.files.copy(source, target)

        async def work(connection: Any) -> None:
            if keep:
                await connection.execute(
                    "INSERT INTO objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)"
                    " VALUES ($1, $2, $3::text::uuid, $3, $4, $5, $6)",
                    to_bucket, to_name, caller.owner, target[2], found["metadata"], found["user_metadata"],
                )  # fmt: skip
                return
            moved = await connection.execute(
                "UPDATE objects SET bucket_id = $4, name = $5, version = $6, updated_at = now()"
                " WHERE bucket_id = $1 AND name = $2 AND version = $3",
                bucket, name, source[2], to_bucket, to_name, target[2],
            )  # fmt: skip
            if moved != "UPDATE 1":
                raise no_object()

        try:
            await as_caller(self.database, caller, work)
        except Exception:
            await self.files.remove([target])
            raise
        return source, target


def named(request: web.Request) -> tuple[str, str]:
    """Bucket and name of a request's path."""
    return request.match_info["bucket"], request.match_info["name"]


async def send(files: Files, request: web.Request, row: asyncpg.Record) -> web.StreamResponse:
    """A file, or the part of it that is asked for."""
    metadata = row["metadata"] or {}
    matched = _RANGE.match(request.headers.get("Range", ""))
    wanted = (int(matched[1]), int(matched[2]) if matched[2] else None) if matched else None
    headers = {
        "Content-Type": metadata.get("mimetype", "application/octet-stream"), "Cache-Control": metadata.get("cacheControl", "no-cache"),
        "ETag": metadata.get("eTag") or f'"{row["version"]}"', "Accept-Ranges": "bytes", "Last-Modified": metadata.get("lastModified", ""),
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    if "download" in request.query:
        name = request.query["download"] or row["name"].rsplit("/", 1)[-1]
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(metadata.get("size", 0))})
    if wanted and wanted[0] >= metadata.get("size", 0):
        raise RefusalError(416, "InvalidRange", "The requested range is not satisfiable")
    opened = await files.read(row["bucket_id"], row["name"], row["version"], wanted)
    answer = web.StreamResponse(status=206 if wanted else 200, headers=headers)
    answer.content_length = opened.last - opened.first + 1
    if wanted:
        answer.headers["Content-Range"] = f"bytes {opened.first}-{opened.last}/{opened.size}"
    await answer.prepare(request)
    try:
        async for chunk in opened.chunks:
            await answer.write(chunk)
    except Exception as error:
        # It has begun already: cut off, so that nobody takes half a file for a whole one.
        if request.transport:
            request.transport.abort()
        raise LostError(f"reading: {type(error).__name__}") from error
    await answer.write_eof()
    return answer


def _info(row: asyncpg.Record) -> dict[str, Any]:
    metadata = row["metadata"] or {}
    return {
        "id": str(row["id"]), "name": row["name"], "bucket_id": row["bucket_id"], "version": row["version"], "size": metadata.get("size"),
        "content_type": metadata.get("mimetype"), "cache_control": metadata.get("cacheControl"), "etag": metadata.get("eTag"),
        "metadata": row["user_metadata"] or {}, "created_at": row["created_at"].isoformat(), "last_modified": metadata.get("lastModified"),
    }  # fmt: skip
