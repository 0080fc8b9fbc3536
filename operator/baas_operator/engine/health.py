"""Health and metrics over HTTP: /livez, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str | None]
"""Returns None when all is well, otherwise a sentence."""


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(_: web.Request) -> web.StreamResponse:
        why = check()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    return handle


async def _metrics(_: web.Request) -> web.StreamResponse:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(port: int, *, live: Check, ready: Check) -> web.AppRunner:
    """Start serving; `cleanup()` the result to stop."""
    app = web.Application()
    app.add_routes([web.get("/livez", _probe(live)), web.get("/readyz", _probe(ready)), web.get("/metrics", _metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
