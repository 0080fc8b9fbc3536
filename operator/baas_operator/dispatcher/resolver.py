"""Names, each webhook's in a thread of its own.

A lookup can hang for as long as the servers of a domain do not answer, and nothing ends it. asyncio's own threads are few (five where
there is one CPU) and for everybody: a handful of webhooks that lead to a dead domain would take them all, and keep the others, the outboxes
and the connection to NATS from finding their way. Of one webhook there is never more than one lookup at a time (aiohttp has the others wait
for it).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from aiohttp import ThreadedResolver


class _Lookups:
    """What aiohttp's resolver asks of an event loop."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    def getaddrinfo(self, *arguments: Any, **more: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, partial(socket.getaddrinfo, *arguments, **more))

    def getnameinfo(self, *arguments: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, socket.getnameinfo, *arguments)


class ApartResolver(ThreadedResolver):
    """aiohttp's own, in a thread that nobody else waits for."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "resolver")
        super().__init__(cast(asyncio.AbstractEventLoop, _Lookups(self._threads)))

    async def close(self) -> None:
        """Begin no more lookups; one that hangs is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
