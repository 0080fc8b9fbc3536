"""The process beside PgBouncer: what follows the primary, and HTTP for probes and for planned moves."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from baas_operator.agent.kube import Kube
from baas_operator.desired.database import names
from baas_operator.pooler.console import Console
from baas_operator.pooler.files import Files
from baas_operator.pooler.follower import Follower
from baas_operator.telemetry.logs import set_up

_FRESH_SECONDS = 3.0
"""Ready: PgBouncer answered within this time, three looks."""
_STUCK_SECONDS = 15.0
"""Not alive: it has not answered for so long. It is then started anew, and its clients connect again."""
_MOST_WAIT_SECONDS, _MOST_HOLD_SECONDS = 10.0, 12.0
"""Bounds of what a caller may ask: together with the way there and back less than query_wait_timeout for those who come last."""
_log = logging.getLogger("pooler")


class Http:
    """The endpoints."""

    def __init__(self, follower: Follower, token: Path, *, mode: str) -> None:
        self._follower = follower
        self._mode = mode
        self._token = token
        self._started = time.monotonic()

    def app(self) -> web.Application:
        """The application."""
        made = web.Application(client_max_size=4096)
        made.add_routes([
            web.get("/livez", self._livez), web.get("/readyz", self._readyz), web.get("/pgbouncer/livez", self._pgbouncer_livez),
            web.post("/pause", self._pause), web.post("/resume", self._resume),
        ])  # fmt: skip
        return made

    @property
    def _silent_seconds(self) -> float:
        return time.monotonic() - max(self._follower.answered, self._started)

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _pgbouncer_livez(self, _: web.Request) -> web.Response:
        if self._silent_seconds > _STUCK_SECONDS:
            return web.Response(status=503, text=f"PgBouncer's console has not answered for {self._silent_seconds:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if not self._follower.answered or self._silent_seconds > _FRESH_SECONDS:
            return web.Response(status=503, text="PgBouncer's console does not answer\n")
        if self._follower.target is None:
            return web.Response(status=503, text="no primary is known\n")
        return web.Response(text="ok\n")

    def _refuse_strangers(self, request: web.Request) -> None:
        token = self._token.read_text().strip()
        if not token or not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
            raise web.HTTPUnauthorized(text="a token of the pooler's Secret is needed\n")

    async def _pause(self, request: web.Request) -> web.Response:
        self._refuse_strangers(request)
        try:
            wait = min(float(request.query.get("wait", 5.0)), _MOST_WAIT_SECONDS)
            hold = min(float(request.query.get("hold", 10.0)), _MOST_HOLD_SECONDS)
        except ValueError:
            raise web.HTTPBadRequest(text="wait and hold are numbers of seconds\n") from None
        if self._mode != "transaction":
            raise web.HTTPConflict(text="clients of a session pool keep their connections: a pause would wait for them in vain\n")
        started = time.monotonic()
        paused = await self._follower.pause(wait_seconds=wait, hold_seconds=hold)
        seconds = round(time.monotonic() - started, 3)
        _log.info("asked to pause: %s after %s s", paused, seconds)
        why = "" if paused else f"transactions still ran after {wait} s; clients go on"
        return web.json_response({"paused": paused, "seconds": seconds, "why": why}, status=200 if paused else 409)

    async def _resume(self, request: web.Request) -> web.Response:
        self._refuse_strangers(request)
        was = self._follower.planned
        self._follower.resume()
        return web.json_response({"wasPaused": was})


async def _run(env: Mapping[str, str]) -> None:
    files = Files(Path(env.get("POOLER_RUN", names.POOLER_RUN)), Path(env.get("POOLER_CERTIFICATE", names.POOLER_CERTIFICATE)))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"])
        follower = Follower(
            kube, session, Console(files.socket), files, database=env["DATABASE"],
            slices=f"/apis/discovery.k8s.io/v1/namespaces/{env['POD_NAMESPACE']}/endpointslices",
        )  # fmt: skip
        runner = web.AppRunner(
            Http(follower, Path(env.get("POOLER_TOKEN", f"{names.POOLER_SECRET}/token")), mode=env["POOL_MODE"]).app(), access_log=None
        )
        await runner.setup()
        await web.TCPSite(runner, port=names.POOLER_AGENT_PORT).start()
        following = asyncio.create_task(follower.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                await _until_drained(files.socket)
        finally:
            following.cancel()
            stopping.cancel()
            await runner.cleanup()
        if not following.cancelled() and following.done():
            following.result()
    _log.info("stopped")


async def _until_drained(socket: Path) -> None:
    """Both containers are told to go at the same time, but PgBouncer goes on serving for a while: so it is followed for as long. It
    closes its console when it begins to drain."""
    for _ in range(names.POOLER_DRAIN_SECONDS * 5):
        if not socket.exists():  # noqa: ASYNC240 - on a memory volume
            return
        await asyncio.sleep(0.2)


def run_pooler_agent() -> None:
    """Run until SIGTERM, and until PgBouncer drains."""
    set_up("INFO")
    asyncio.run(_run(os.environ))
