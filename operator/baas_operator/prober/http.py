"""What a prober says over HTTP: probes, metrics and its report; and the webhooks that it takes. One answer a connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from baas_operator.prober.transactions.publish import HOOK

_MOST_HEAD = 16 * 1024
_SECONDS = 5.0
"""How long somebody may take to ask, and to take the answer."""
_MOST_BODY = 4096
"""Of a webhook: what a prober publishes is far shorter."""
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 411: "Length Required",
    413: "Content Too Large", 503: "Service Unavailable",
}  # fmt: skip
_log = logging.getLogger("prober")
Said = tuple[int, str, bytes]
Hook = Callable[[Mapping[str, str], bytes], Awaitable[int]]


class Http:
    """The server. `ready`: whether the first round is over; `report` gives what is said of transactions; `hook` gets the headers and the
    body of a webhook, and gives the status that it is answered with."""

    def __init__(self, *, ready: Callable[[], bool], report: Callable[[], dict[str, Any]], hook: Hook | None = None) -> None:
        self._ready, self._report, self._hook = ready, report, hook
        self._pages: dict[str, Callable[[], Said]] = {
            "/livez": lambda: _text("ok"),  # an event loop that is stuck does not come here, and nothing else is to be started anew for
            "/readyz": lambda: _text("ok") if self._ready() else _text("the first round is not over", 503),
            "/report": lambda: (200, "application/json", json.dumps(self._report()).encode()),
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest()),
        }
        self.port = 0

    async def start(self, host: str | None, port: int) -> asyncio.Server:
        """Listen; `port` 0 takes a free one."""
        server = await asyncio.start_server(self._serve, host, port, limit=_MOST_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                status, kind, body = await self._answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"), reader)
                about = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
                writer.write(f"HTTP/1.1 {status} {_REASONS[status]}\r\n{about}\r\n\r\n".encode() + body)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()

    async def _answer(self, head: str, reader: asyncio.StreamReader) -> Said:
        line, *lines = head.split("\r\n")
        method, _, rest = line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if self._hook and (method, path) == ("POST", HOOK):
            headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines if each)}
            return await _webhook(self._hook, headers, reader)
        if method != "GET":
            return _text("GET alone", 405)
        page = self._pages.get(path)
        return page() if page else _text("no such page", 404)


async def _webhook(hook: Hook, headers: Mapping[str, str], reader: asyncio.StreamReader) -> Said:
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return _text("say how long it is", 411)
    if len(length) > 9 or int(length) > _MOST_BODY:
        return _text("that is no message of a prober's", 413)
    status = await hook(headers, await reader.readexactly(int(length)))
    return _text("thank you" if status == 200 else "not taken", status)


def _text(words: str, status: int = 200) -> Said:
    return status, "text/plain; charset=utf-8", f"{words}\n".encode()
