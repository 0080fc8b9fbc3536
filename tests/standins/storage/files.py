"""The bytes of files, on S3. Each upload has a key of its own, so that no upload ever changes what another reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.standins.storage.settings import Settings

LOG = logging.getLogger("standin")
_CHUNK = 5 * 1024 * 1024
_LOOK_SECONDS = 2.0


class LostError(Exception):
    """S3 does not have, or do, what it should."""


@dataclass(frozen=True)
class Opened:
    """A file that is read: bytes from `first` up to `last` of `size`."""

    size: int
    first: int
    last: int
    chunks: AsyncIterator[bytes]


class Files:
    """The bucket."""

    def __init__(self, settings: Settings) -> None:
        self._tenant = settings.tenant
        self._store = S3Store(
            settings.bucket, endpoint=settings.endpoint, region=settings.region, virtual_hosted_style_request=not settings.path_style,
            access_key_id=settings.access_key, secret_access_key=settings.secret_key,
            client_options={"allow_http": settings.endpoint.startswith("http://"), "timeout": timedelta(seconds=30),
                            "connect_timeout": timedelta(seconds=2)},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10), "backoff": {
                "init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2}},
        )  # fmt: skip

    def _key(self, bucket: str, name: str, version: str) -> str:
        return f"{self._tenant}/{bucket}/{name}/{version}"

    async def reachable(self) -> bool:
        """Whether the bucket is there, and we may look at it."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._store.list_with_delimiter_async(prefix=f"{self._tenant}/.ready")
        except (BaseError, OSError, TimeoutError) as error:
            LOG.warning("S3 is away: %s", type(error).__name__)
            return False
        return True

    async def write(self, bucket: str, name: str, version: str, content: AsyncIterator[bytes], *, mime: str, cache: str) -> dict[str, Any]:
        """Write a file; its size (`size`) and hash (`eTag`)."""
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in content:
                size += len(chunk)
                yield chunk

        try:
            done = await obstore.put_async(
                self._store, self._key(bucket, name, version), counted(), chunk_size=_CHUNK,
                attributes={"Content-Type": mime, "Cache-Control": cache},
            )  # fmt: skip
        except (BaseError, OSError) as error:
            raise LostError(f"writing: {type(error).__name__}") from error
        return {"size": size, "eTag": done["e_tag"]}

    async def read(self, bucket: str, name: str, version: str, wanted: tuple[int, int | None] | None = None) -> Opened:
        """Read a file, or the bytes from one (`wanted`) to another of it."""
        options: dict[str, Any] = {}
        if wanted:
            first, last = wanted
            options = {"range": (first, last + 1) if last is not None else {"offset": first}}
        try:
            got = await self._store.get_async(self._key(bucket, name, version), options=options)
        except FileNotFoundError as error:
            raise LostError("the file has no bytes") from error
        except (BaseError, OSError) as error:
            raise LostError(f"reading: {type(error).__name__}") from error
        start, end = got.range

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in got.stream(min_chunk_size=256 * 1024):
                yield bytes(chunk)

        return Opened(got.meta["size"], start, end - 1, chunks())

    async def copy(self, source: tuple[str, str, str], target: tuple[str, str, str]) -> None:
        """Copy bytes: bucket, name and version of both."""
        try:
            await self._store.copy_async(self._key(*source), self._key(*target))
        except (BaseError, OSError) as error:
            raise LostError(f"copying: {type(error).__name__}") from error

    async def remove(self, each: Sequence[tuple[str, str, str]]) -> None:
        """Delete bytes that no row names any more. What can not be deleted now stays behind, and nobody sees it."""
        try:
            for one in each:
                await self._store.delete_async(self._key(*one))
        except (BaseError, OSError) as error:
            LOG.warning("bytes stay behind in S3: %s", type(error).__name__)
