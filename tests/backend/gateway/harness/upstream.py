"""A stand-in of a component: an HTTP server of the test's own that says what it was sent, slowly if it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web

from tests.jetstream.harness.servers import free_ports


class StandIn:
    """`seen`: method and path of every request but health checks. `well`: what health checks are told."""

    def __init__(self, name: str, port: int | None = None, *, address: str = "127.0.0.1") -> None:
        self.name = name
        self._address = address
        self.port = port or free_ports(1)[0]
        self.seen: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.well = True
        self.status = 200
        self.silent = 0.0
        """Seconds that health checks take."""
        self._open: set[asyncio.Transport] = set()
        self.slow = 0.0
        """Seconds that every answer takes."""
        self.says: tuple[int, str] | None = None
        """Status and text of every answer, in chunks, as PostgREST sends them."""
        self.says_times = 0
        """So often; 0: always."""
        self.more_headers: dict[str, str] = {}
        self.breaks = 0
        """So many requests from now on are broken off in the middle."""

    async def _health(self, _: web.Request) -> web.Response:
        await asyncio.sleep(self.silent)
        return web.Response(status=200 if self.well else 503)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"{self.name} heard {message.data}")
        return socket

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path_qs))
        if request.transport:
            self._open.add(request.transport)
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        if self.breaks > 0:
            self.breaks -= 1
            assert request.transport
            request.transport.abort()
            return web.Response()
        length = 0
        async for chunk in request.content.iter_any():
            length += len(chunk)
        await asyncio.sleep(float(request.query.get("sleep", "0")) + self.slow)
        if self.says:
            return await self._say(request, *self.says)
        return web.json_response(
            {"by": self.name, "path": request.path_qs, "length": length, "bulk": "x" * int(request.query.get("bulk", "0"))},
            status=self.status,
            headers=self.more_headers,
        )

    async def _say(self, request: web.Request, status: int, text: str) -> web.StreamResponse:
        self.says_times -= 1
        if self.says_times == 0:
            self.says = None
        answer = web.StreamResponse(status=status, headers={"content-type": "application/json; charset=utf-8", "retry-after": "0"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        if request.method != "HEAD":
            await answer.write(text.encode())
        await answer.write_eof()
        return answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StandIn]:
        app = web.Application(client_max_size=0)
        app.router.add_get("/health", self._health)
        app.router.add_get("/socket", self._socket)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, self._address, self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    def abort(self) -> None:
        """Break off all connections that have asked something, as the end of a process does."""
        for transport in self._open:
            transport.abort()
