"""What a dispatcher says over HTTP, on its metrics port: probes, metrics, and the state of its endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class Http:
    """The endpoints. `connected` says whether NATS is there, `status` gives what is said of webhooks and outboxes."""

    def __init__(self, *, connected: Callable[[], bool], status: Callable[[], dict[str, Any]]) -> None:
        self._connected, self._status = connected, status

    def app(self) -> web.Application:
        """The application."""
        made = web.Application(client_max_size=4096)
        made.add_routes([
            web.get("/livez", self._livez), web.get("/readyz", self._readyz),
            web.get("/status", self._say), web.get("/metrics", self._metrics),
        ])  # fmt: skip
        return made

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")  # an event loop that is stuck does not come here, and nothing else is to be started anew for

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self._connected() else web.Response(status=503, text="NATS is not connected\n")

    async def _say(self, _: web.Request) -> web.Response:
        return web.json_response({"connected": self._connected()} | self._status())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
