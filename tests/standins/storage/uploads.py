"""Uploads: with a token of the user's, or with a signed URL."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import BodyPartReader, web

from tests.standins.database import Database
from tests.standins.storage import rows
from tests.standins.storage.caller import Caller, as_caller
from tests.standins.storage.files import Files, LostError
from tests.standins.storage.refusal import RefusalError
from tests.standins.storage.settings import Settings

_CHUNK = 256 * 1024
_FORM_BYTES = 64 * 1024
"""What a form may have around its file."""


@dataclass
class Upload:
    """What is sent."""

    content: Bounded
    mime: str
    cache: str
    metadata: dict[str, Any] | None


class _DryRunError(Exception):
    """Ends a transaction that was only to see whether it may be."""


async def read_upload(request: web.Request, most: int) -> Upload:
    """The file of a request: its body, or the one file of a form."""
    if not request.content_type.startswith("multipart/"):
        metadata = _metadata(base64.b64decode(request.headers["x-metadata"])) if "x-metadata" in request.headers else None
        mime = request.headers.get("Content-Type", "application/octet-stream")
        return Upload(
            Bounded(aiter(request.content.iter_chunked(_CHUNK)), most), mime, request.headers.get("Cache-Control", "no-cache"), metadata
        )
    cache, metadata = "no-cache", None
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        if part.filename is not None or part.name == "":
            return Upload(Bounded(_chunks(part), most), part.headers.get("Content-Type", "application/octet-stream"), cache, metadata)
        if part.name == "cacheControl":
            cache = f"max-age={await part.text()}"
        elif part.name == "metadata":
            metadata = _metadata(await part.read())
    raise RefusalError(400, "InvalidRequest", "the form has no file")


async def store(
    settings: Settings, database: Database, files: Files, request: web.Request, bucket: str, name: str, *, caller: Caller | None,
    owner: str | None, replace: bool, must_exist: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Take a file: first whether the caller may (None: it was asked when the URL was signed), then its bytes, then the row that names
    them. Whatever ends in between leaves bytes behind that nobody sees, never a row without its bytes."""
    check_name(name)
    limit = await database.run(lambda connection: rows.bucket_of(connection, bucket))
    most = min(settings.file_bytes, limit["file_size_limit"] or settings.file_bytes)
    if (request.content_length or 0) > most + _FORM_BYTES:
        raise too_large()
    if caller is not None:
        await may_upload(database, caller, bucket, name, replace=replace, must_exist=must_exist)
    upload = await read_upload(request, most)
    rows.check_kind(limit, upload.mime)
    version = str(uuid.uuid4())
    try:
        written = await files.write(bucket, name, version, upload.content, mime=upload.mime, cache=upload.cache)
    except (LostError, OverflowError):
        if upload.content.ended:
            raise too_large() from None
        raise
    metadata = {
        **written, "mimetype": upload.mime, "cacheControl": upload.cache, "contentLength": written["size"], "httpStatusCode": 200,
        "lastModified": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }  # fmt: skip

    async def put(connection: Any) -> tuple[str, str | None]:
        return await rows.put(
            connection, bucket, name, version=version, owner=owner, metadata=metadata, user=upload.metadata, replace=replace
        )

    made, before = await database.run(put)
    if before:
        await files.remove([(bucket, name, before)])
    return {"Id": made, "Key": f"{bucket}/{name}"}


async def may_upload(database: Database, caller: Caller, bucket: str, name: str, *, replace: bool, must_exist: bool = False) -> None:
    """Refuse what the policies do not let the caller do: it is done, and taken back."""

    async def try_it(connection: Any) -> None:
        if must_exist:
            await rows.find(connection, bucket, name)
        await rows.try_put(connection, bucket, name, owner=caller.owner, replace=replace)
        raise _DryRunError

    with suppress(_DryRunError):
        await as_caller(database, caller, try_it)


def check_name(name: str) -> None:
    """Refuse names that are none."""
    if not name or name.startswith("/") or ".." in name.split("/") or len(name) > 1024 or any(ord(each) < 32 for each in name):
        raise RefusalError(400, "InvalidKey", f"Invalid key: {name}")


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(_CHUNK):
        yield bytes(chunk)


class Bounded:
    """Bytes up to a limit; `ended` says that there were more."""

    def __init__(self, content: AsyncIterator[bytes], most: int) -> None:
        self._content, self._left = content, most
        self.ended = False

    def __aiter__(self) -> Bounded:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._content)
        self._left -= len(chunk)
        if self._left < 0:
            self.ended = True
            raise OverflowError("the file is too large")
        return chunk


def too_large() -> RefusalError:
    """What a file that is too large is answered with."""
    return RefusalError(413, "Payload too large", "The object exceeded the maximum allowed size")


def _metadata(text: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, binascii.Error) as error:
        raise RefusalError(400, "InvalidRequest", "metadata is no JSON") from error
    return dict(found) if isinstance(found, dict) else {}
