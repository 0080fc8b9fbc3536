"""An endpoint as a user of webhooks would write one: it verifies what comes, notes it, and answers as it was told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier


@dataclass(frozen=True)
class Delivery:
    """What came."""

    at: float
    path: str
    payload: bytes
    headers: dict[str, str]

    @property
    def id(self) -> str:
        """Its `webhook-id`."""
        return self.headers["webhook-id"]


Answer = Callable[[Delivery], Awaitable[web.Response] | web.Response]


class HttpEndpoint:
    """A server on loopback, or at another address of this machine. `answer` may be changed at any time; `secret`, if set, is verified
    with."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, 0
        self.came: list[Delivery] = []
        self.taken: list[Delivery] = []
        self.answer: Answer = lambda _: web.Response(status=204)
        self.secret: str | None = None
        self.under_way = 0
        self.most_under_way = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/{any:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Go away; `start` comes back at the same port."""
        assert self._runner
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}/hook"

    async def _post(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(time.monotonic(), request.path, await request.read(), headers)
        if self.secret:
            Verifier(self.secret).verify(delivery.payload, headers, json_parse=False)
        self.came.append(delivery)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            answer: Any = self.answer(delivery)
            response: web.Response = await answer if asyncio.iscoroutine(answer) else answer
        finally:
            self.under_way -= 1
        if 200 <= response.status < 300:
            self.taken.append(delivery)
        return response

    def ids(self) -> list[str]:
        """Ids of what it took, in the order that it did."""
        return [each.id for each in self.taken]
