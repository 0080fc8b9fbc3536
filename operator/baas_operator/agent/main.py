"""The agent's process: routes, watches the primary, moves it away, keeps certificates, and answers for its own health."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import Dcs
from baas_operator.agent.demotion import Demotion
from baas_operator.agent.deposed import Deposed
from baas_operator.agent.failover import Watcher
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, connector
from baas_operator.agent.move import Mover
from baas_operator.agent.patroni import Patroni
from baas_operator.agent.postgres import Postgres
from baas_operator.agent.postmaster import Postmaster
from baas_operator.agent.promotion import Promotion
from baas_operator.agent.reload import ServerCertificate
from baas_operator.agent.report import Reporter
from baas_operator.agent.retire import Requests
from baas_operator.agent.router import Router
from baas_operator.agent.settings import Settings
from baas_operator.agent.strays import Strays
from baas_operator.agent.succession import Succession
from baas_operator.agent.synchronous import Synchronous
from baas_operator.desired.database import names
from baas_operator.telemetry.logs import set_up

_CERTIFICATES_SECONDS = 10.0
"""How often the certificates are looked at. The kubelet itself takes a minute to bring new ones, and a month is left by then."""
_log = logging.getLogger("agent")


async def _livez(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _keep_certificates(credentials: Credentials, server: ServerCertificate) -> None:
    while True:
        await asyncio.sleep(_CERTIFICATES_SECONDS)
        for look in (credentials.refresh, server.look):
            try:
                look()
            except OSError as error:
                _log.warning("could not look at the certificates: %s", error)


async def _run(env: Mapping[str, str]) -> None:
    identity = Identity(
        database=env["DATABASE"], namespace=env["POD_NAMESPACE"], pod=env["POD_NAME"], ip=env["POD_IP"],
        node=env["NODE_NAME"],
    )  # fmt: skip
    credentials = Credentials(Path(names.REPLICATION_TLS_DIR), Path(names.REPLICATION_DIR))
    postmaster = Postmaster(Path(names.SOCKET_DIR))
    if postmaster.finish_stop():
        _log.warning("the agent before this one died as it stopped PostgreSQL: it is stopped")
    server = ServerCertificate(Path(names.SERVER_TLS_DIR), postmaster)
    rest = env["PATRONI_RESTAPI_USERNAME"], env["PATRONI_RESTAPI_PASSWORD"]
    async with aiohttp.ClientSession(connector=connector()) as session:
        kube = Kube(session, env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"])
        dcs = Dcs(kube, identity)
        postgres = Postgres(names.SOCKET_DIR, postmaster)
        patroni = Patroni(session, rest)
        # A connection of its own: during a promotion others have PostgreSQL write things down, and clients wait for this one.
        router = Router(kube, identity, dcs, credentials, Postgres(names.SOCKET_DIR, postmaster))
        watcher = Watcher(
            kube, identity, dcs, credentials, postgres, patroni, detection_seconds=float(env["DETECTION_SECONDS"]),
        )  # fmt: skip
        mover = Mover(kube, session, identity, dcs, postgres, patroni, token=Path(names.POOLER_SECRET) / "token")
        requests = Requests(mover, identity, dcs, rest, postmaster.end_patroni)
        synchronous = Synchronous(identity, dcs, postgres)
        app = web.Application()
        app.add_routes([
            web.get("/livez", _livez),
            web.get(names.WATCHES_PATH, requests.watches),
            web.get(names.PROMOTION_PATH, Promotion(identity, dcs, postgres, synchronous).ask),
            web.get(names.RETIRE_PATH, requests.retire),
            web.post(names.SWITCHOVER_PATH, requests.switch_over),
        ])  # fmt: skip
        # When a part has failed the others are ended, the watch of the lock too: who waits for an answer would wait for what nobody sees.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, port=names.AGENT_PORT).start()
        demotion = Demotion(kube, identity, dcs, postgres, patroni)
        settings = Settings(kube, identity, dcs, patroni, names.SOCKET_DIR)
        succession = Succession(kube, identity, dcs, postgres, lambda: router.routed)
        reporter = Reporter(
            kube, identity, dcs, postgres, credentials, volume=Path(names.DATA_VOLUME), certificate=Path(names.REPLICATION_TLS_DIR)
        )
        parts = (
            dcs.run(), router.run(), watcher.run(), synchronous.run(), demotion.run(),
            Deposed(identity, dcs, postgres).run(), Strays(dcs, postgres, lambda: router.routed).run(), settings.run(),
            succession.run(), reporter.run(), _keep_certificates(credentials, server),
        )  # fmt: skip
        running = asyncio.create_task(_together(*parts))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            _log.info("stopped")
        finally:
            await runner.cleanup()


async def _together(*parts: Coroutine[None, None, None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for part in parts:
            tasks.create_task(part)


def run_agent() -> None:
    """Run until SIGTERM."""
    set_up("INFO")
    asyncio.run(_run(os.environ))
