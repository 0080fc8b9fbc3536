"""Signed URLs: who has one may read, or write, one object until it expires."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aiohttp import web

from tests.standins.database import Database
from tests.standins.storage import rows, uploads
from tests.standins.storage.caller import as_caller, caller_of
from tests.standins.storage.files import Files
from tests.standins.storage.objects import named, send
from tests.standins.storage.refusal import RefusalError, no_object
from tests.standins.storage.settings import Settings
from tests.standins.tokens import BadTokenError, now

_UPLOAD_SECONDS = 2 * 3600


class Signed:
    """`/object/sign` and `/object/upload/sign`."""

    def __init__(self, settings: Settings, database: Database, files: Files) -> None:
        self.settings, self.database, self.files = settings, database, files

    def routes(self) -> list[web.RouteDef]:
        one = "/{bucket}/{name:.+}"
        return [
            web.post(f"/object/upload/sign{one}", self.sign_upload), web.put(f"/object/upload/sign{one}", self.upload),
            web.post(f"/object/sign{one}", self.sign), web.get(f"/object/sign{one}", self.read),
            web.post("/object/sign/{bucket}", self.sign_many),
        ]  # fmt: skip

    async def sign(self, request: web.Request) -> web.Response:
        caller, (bucket, name), body = caller_of(self.settings, request), named(request), await request.json()
        await as_caller(self.database, caller, lambda connection: rows.find(connection, bucket, name))
        return web.json_response({"signedURL": self._url("/object/sign", bucket, name, _seconds(body))})

    async def sign_many(self, request: web.Request) -> web.Response:
        caller, bucket, body = caller_of(self.settings, request), request.match_info["bucket"], await request.json()
        paths, seconds = [str(each) for each in body.get("paths") or []], _seconds(body)

        async def work(connection: Any) -> set[str]:
            found = await connection.fetch("SELECT name FROM objects WHERE bucket_id = $1 AND name = ANY($2)", bucket, paths)
            return {each["name"] for each in found}

        there = await as_caller(self.database, caller, work)
        missing = "Either the object does not exist or you do not have access to it"
        return web.json_response([
            {"error": None if path in there else missing, "path": path,
             "signedURL": self._url("/object/sign", bucket, path, seconds) if path in there else None}
            for path in paths
        ])  # fmt: skip

    async def read(self, request: web.Request) -> web.StreamResponse:
        bucket, name = named(request)
        self._check(request, f"{bucket}/{name}")
        return await send(self.files, request, await self.database.run(lambda connection: rows.find(connection, bucket, name)))

    async def sign_upload(self, request: web.Request) -> web.Response:
        caller, (bucket, name) = caller_of(self.settings, request), named(request)
        uploads.check_name(name)
        replace = request.headers.get("x-upsert") == "true"
        await uploads.may_upload(self.database, caller, bucket, name, replace=replace)
        url = self._url("/object/upload/sign", bucket, name, _UPLOAD_SECONDS, owner=caller.owner, upsert=replace)
        return web.json_response({"url": url, "token": url.rsplit("token=", 1)[1]})

    async def upload(self, request: web.Request) -> web.Response:
        bucket, name = named(request)
        claims = self._check(request, f"{bucket}/{name}", upload=True)
        done = await uploads.store(
            self.settings, self.database, self.files, request, bucket, name, caller=None, owner=claims.get("owner"),
            replace=bool(claims["upsert"]),
        )  # fmt: skip
        return web.json_response({"Key": done["Key"]})

    def _url(self, path: str, bucket: str, name: str, seconds: int, **more: Any) -> str:
        token = self.settings.url_keys.sign({"url": f"{bucket}/{name}", "iat": now(), "exp": now() + seconds, **more})
        return f"{path}/{quote(bucket)}/{quote(name)}?token={token}"

    def _check(self, request: web.Request, url: str, *, upload: bool = False) -> dict[str, Any]:
        try:
            claims = self.settings.url_keys.verify(request.query.get("token", ""))
        except BadTokenError as error:
            raise RefusalError(400, "InvalidJWT", str(error)) from error
        # A token to read is none to write, nor the other way round.
        if claims.get("url") != url or ("upsert" in claims) != upload:
            raise RefusalError(400, "InvalidSignature", "Invalid signature") if upload else no_object()
        return claims


def _seconds(body: dict[str, Any]) -> int:
    seconds = body.get("expiresIn")
    if not isinstance(seconds, int) or seconds < 1:
        raise RefusalError(400, "InvalidRequest", "expiresIn must be >= 1")
    return seconds
