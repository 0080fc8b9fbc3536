"""Clients that go on asking over connections that they keep, and remember every answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import aiohttp


class Answer(NamedTuple):
    """One request: when it began and ended (monotonic seconds), and what came of it (status 0: no answer)."""

    method: str
    began: float
    ended: float
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Load:
    """All answers so far, as they came."""

    answers: list[Answer] = field(default_factory=list)

    def bad(self, method: str | None = None) -> list[Answer]:
        return [each for each in self.answers if each.status not in (200, 201) and method in (None, each.method)]

    def longest_without(self, method: str, *, since: float) -> float:
        """Longest time between two good answers to a method, of which the later came after `since`; seconds."""
        ends = [each.ended for each in self.answers if each.method == method and each.status in (200, 201)]
        return max((later - earlier for earlier, later in pairwise(ends) if later > since), default=float("inf"))


async def ask(session: aiohttp.ClientSession, method: str, url: str, *, seconds: float = 40, **more: object) -> Answer:
    """One request; what goes wrong is an answer of status 0. aiohttp sends a GET again when a kept connection was closed: not here."""
    began = time.monotonic()
    try:
        async with session.request(method, url, timeout=aiohttp.ClientTimeout(total=seconds), **more) as answer:  # type: ignore[arg-type]
            body = await answer.text()
            return Answer(method, began, time.monotonic(), answer.status, answer.headers, body)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Answer(method, began, time.monotonic(), 0, {}, f"{type(error).__name__}: {error}")


@asynccontextmanager
async def load(
    url: str, *, headers: Mapping[str, str], reads: float = 0, writes: float = 0, verify: bool = True, into: Load | None = None
) -> AsyncIterator[Load]:
    """`reads` GETs and `writes` POSTs a second, whether the earlier ones are answered or not, until the block ends."""
    made = Load() if into is None else into
    going = asyncio.Event()
    connector = aiohttp.TCPConnector(limit=2000, keepalive_timeout=60, ssl=verify)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        async def one(method: str) -> None:
            more = {"json": {"title": "written"}} if method == "POST" else {}
            made.answers.append(await ask(session, method, url, **more))

        async def go_on(method: str, rate: float) -> None:
            due = time.monotonic()
            under_way: set[asyncio.Task[None]] = set()
            while not going.is_set():
                task = asyncio.create_task(one(method))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due += 1 / rate
                await asyncio.sleep(max(0, due - time.monotonic()))
            await asyncio.gather(*under_way)

        goers = [asyncio.create_task(go_on(method, rate)) for method, rate in (("GET", reads), ("POST", writes)) if rate]
        try:
            yield made
        finally:
            going.set()
            await asyncio.gather(*goers)
