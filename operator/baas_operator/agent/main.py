"""The agent's process: the router, and a liveness endpoint."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from baas_operator.agent.kube import Kube
from baas_operator.agent.router import Identity, Router
from baas_operator.desired.database.names import AGENT_PORT


async def _livez(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _together(*parts: Coroutine[None, None, None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for part in parts:
            tasks.create_task(part)


async def _run(env: Mapping[str, str]) -> None:
    identity = Identity(
        database=env["DATABASE"], namespace=env["POD_NAMESPACE"], pod=env["POD_NAME"], ip=env["POD_IP"],
        node=env["NODE_NAME"],
    )  # fmt: skip
    app = web.Application()
    app.add_routes([web.get("/livez", _livez)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=AGENT_PORT).start()
    async with aiohttp.ClientSession() as session:
        kube = Kube(session, env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"])
        dcs = Dcs(kube, identity)
        credentials = Credentials(Path(names.REPLICATION_TLS_MOUNT), Path(names.REPLICATION_MOUNT))
        watcher = Watcher(
            kube, session, identity, dcs, credentials, Postgres(), detection_seconds=float(env["DETECTION_SECONDS"]),
        )  # fmt: skip
        running = asyncio.create_task(_together(dcs.run(), Router(kube, session, identity, dcs).run(), watcher.run()))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            logging.getLogger("agent").info("stopped")
        finally:
            await runner.cleanup()


def run_agent() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format='{"time":"%(asctime)s","level":"%(levelname)s","logger":"%(name)s","message":"%(message)s"}',
    )
    asyncio.run(_run(os.environ))
