"""The agent's process: the router, and a liveness endpoint."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping

import aiohttp
from aiohttp import web

from baas_operator.agent.kube import Kube
from baas_operator.agent.router import Identity, Router
from baas_operator.desired.database.names import AGENT_PORT


async def _livez(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


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
        running = asyncio.create_task(Router(kube, session, identity).run())
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
