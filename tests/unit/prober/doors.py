"""Servers on loopback that misbehave, for a client that has to make sense of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from baas_operator.prober.client import Client, Gateway

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def raw(answer: bytes, *, hold: bool = False) -> AsyncIterator[Client]:
    """A client of a server that sends just these bytes, whatever it is asked, and then says no more (`hold`) or goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hold:
            await asyncio.sleep(3600)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Client(Gateway("127.0.0.1", server.sockets[0].getsockname()[1], "shop.example"))
    finally:
        server.close()


class Backend:
    """What stands in for a gateway and PostgREST here: rows in a dict, and a fault to order. `asked` is every request that came."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.fault: Handler | None = None
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        self.degraded = False
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.asked.append(f"{request.method} {request.path}")
        self.keys.append(request.headers.get("apikey"))
        if self.fault:
            return await self.fault(request)
        slot = int(request.query["slot"].removeprefix("eq.")) if "slot" in request.query else -1
        headers = {"baas-degraded": "standby"} if self.degraded else {}
        match request.method:
            case "GET":
                rows = [{"value": self.rows[slot]}] if slot in self.rows else []
                return web.json_response(rows, headers=headers)
            case "POST":
                row = await request.json()
                self.rows[row["slot"]] = row["value"]
                return web.Response(status=201)
            case _:
                self.rows.pop(slot, None)
                return web.Response(status=204)


@asynccontextmanager
async def backend() -> AsyncIterator[Backend]:
    """One that listens."""
    made = Backend()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


def tell(
    folder: Path, port: int, *names: str, interval: float = 60.0, deadline: float = 1.0, every: int = 1, **more: Any
) -> tuple[Path, Path]:
    """Write what a prober is told: its file, and the folder of its keys."""
    config, keys = folder / "probe.json", folder / "secrets" / "api"
    keys.mkdir(parents=True, exist_ok=True)
    (keys / "probe").write_text("key-of-probes\n")
    told = {
        "engine": "supabase", "gateway": {"address": "127.0.0.1", "port": port, "host": "shop.example", "tls": None},
        "intervalSeconds": interval, "deadlineSeconds": deadline, "settings": {},
        "transactions": [{"name": each, "every": every} for each in names or ("read", "write")],
    } | more  # fmt: skip
    config.write_text(json.dumps(told))
    return config, folder / "secrets"
