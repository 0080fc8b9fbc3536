"""An HTTP service that ends as it should: it stops listening on SIGTERM, and what is under way is finished."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

_DRAIN_SECONDS = 50.0
_LAST_SECONDS = 0.2
_READY_SECONDS = 1.0


def variable(*names: str, default: str = "") -> str:
    """The first of some environment variables that is set, and not empty."""
    return next((value for name in names if (value := os.environ.get(name))), default)


def flag(*names: str, default: bool = False) -> bool:
    """A variable that is true or false."""
    return variable(*names, default=str(default)).lower() in ("true", "1")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Remembered:
    """What `look` said within the last second: probes and gateways ask often, and all at once."""

    def __init__(self, look: Callable[[], Awaitable[bool]]) -> None:
        self._look = look
        self._until = 0.0
        self._said = False
        self._lock = asyncio.Lock()

    async def __call__(self) -> bool:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._said = await self._look()
                self._until = time.monotonic() + _READY_SECONDS
            return self._said


def serve(application: web.Application, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=variable("LOG_LEVEL", default="INFO").upper(), format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(application, host, port))


async def _serve(application: web.Application, host: str, port: int) -> None:
    ended, idle = asyncio.Event(), asyncio.Event()
    idle.set()
    under_way = 0

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal under_way
        under_way += 1
        idle.clear()
        try:
            return await handler(request)
        finally:
            under_way -= 1
            if not under_way:
                idle.set()

    async def last_of_its_connection(_: web.Request, response: web.StreamResponse) -> None:
        if ended.is_set():
            response.force_close()

    application.middlewares.insert(0, counted)
    application.on_response_prepare.append(last_of_its_connection)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_LAST_SECONDS, keepalive_timeout=75)
    await runner.setup()
    site = web.TCPSite(runner, host, port, reuse_address=True)
    await site.start()
    logging.getLogger("standin").info("listening on %s:%s", host, port)
    await ended.wait()
    await site.stop()
    # aiohttp's own way to end takes the body away from whoever still reads one (3.14): an upload that has begun would fail. So first there
    # has to be nothing under way.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(idle.wait(), _DRAIN_SECONDS)
    await asyncio.sleep(_LAST_SECONDS)  # the last answers go out
    await runner.cleanup()
