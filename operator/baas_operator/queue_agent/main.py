"""The process beside a NATS server: has it load what is new, moves away what it leads before it ends, and tells whether it is caught up."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from baas_operator.desired.queue import names
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.jetstream.tasks import together
from baas_operator.queue_agent.caught_up import LOOKS, CaughtUp
from baas_operator.queue_agent.cluster import META, Cluster
from baas_operator.queue_agent.cut_off import SEND_AWAY_SECONDS, is_cut_off
from baas_operator.queue_agent.reload import Reloader
from baas_operator.queue_agent.retire import Retirement
from baas_operator.queue_agent.sealing import Sealing
from baas_operator.queue_agent.server import Place, Server
from baas_operator.telemetry.logs import set_up

_POLL_SECONDS = 0.5
"""How often the hook's file is looked for, and clients of a server that is cut off: they may come back to it."""
_FILES_SECONDS = 2.0
"""How often mounted files are looked at; the kubelet itself takes a minute to bring new ones."""
_SOON_SECONDS = 1.0
_REST_SECONDS = 5.0
"""From look to look while something is behind, and while all is level."""
_SHARE = 0.005
"""Part of the time that looks may take at rest: with thousands of consumers they come less often."""
_STALE_SECONDS = 60.0
"""What was seen longer ago is not known any more. A look that finds nothing counts as one."""
_log = logging.getLogger("queue_agent")


class Agent:
    """All parts, and what they tell over HTTP."""

    def __init__(self, place: Place, folders: tuple[Path, ...], run: Path) -> None:
        self.server = Server(place)
        self.caught_up = CaughtUp(place.server)
        self.reloader = Reloader(self.server, folders, time.monotonic)
        self.retirement = Retirement(self.server, run)
        self._sealing = Sealing(place.server)
        self._cluster = Cluster()
        self._seen_at = 0.0
        self._cut_off_at: float | None = None
        self._took = 0.0
        self._metrics = Metrics(self)

    def app(self) -> web.Application:
        """The endpoints."""
        made = web.Application(client_max_size=4096)
        made.add_routes([
            web.get("/livez", self._livez), web.get(names.CAUGHT_UP_PATH, self._caught_up), web.get(names.STATUS_PATH, self._status),
            web.get("/metrics", self._metrics.answer),
        ])  # fmt: skip
        return made

    async def run(self) -> None:
        """Until cancelled."""
        await together(self._watch(), self._look())

    async def _watch(self) -> None:
        next_look = 0.0
        while True:
            if self.retirement.asked():
                await self.retirement.retire()
            if self._cut_off_at is not None and time.monotonic() - self._cut_off_at < SEND_AWAY_SECONDS:
                await self._send_away()
            if time.monotonic() >= next_look:
                await self.reloader.look()
                next_look = time.monotonic() + _FILES_SECONDS
            await asyncio.sleep(_POLL_SECONDS)

    async def _look(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._cluster = await self.server.look()
            except Unreachable as error:
                self._cluster = Cluster()
                _log.debug("the server does not answer: %r", error)
            before = self.caught_up.ready
            self._seen_at = time.monotonic()
            self.caught_up.see(self._cluster, self._seen_at)
            if before != self.caught_up.ready:
                _log.info("%s: %s", "caught up" if self.caught_up.ready else "not caught up", self.caught_up.sentence)
            self._took = self._seen_at - began
            if not is_cut_off(self.server.name, self._cluster):
                self._cut_off_at = None
            elif self._cut_off_at is None:
                self._cut_off_at = self._seen_at
            await self._seal()
            rest = min(max(_REST_SECONDS, self.server.busy_seconds / _SHARE), _STALE_SECONDS / 2)
            still = self.caught_up.level and not self._cluster.few() and not self._cluster.behind(self.server.name)
            await asyncio.sleep(rest if still else _SOON_SECONDS)

    async def _seal(self) -> None:
        for key, to in self._sealing.see(self._cluster, self._seen_at).items():
            if self.retirement.under_way:
                continue
            try:
                await self.server.hand_over(key, to)
                _log.info("%s goes to %s, as not all of its copies know of all the others", key, to)
            except (JetStreamError, *Unreachable) as error:
                _log.info("%s does not go to %s: %r", key, to, error)

    async def _send_away(self) -> None:
        try:
            if sent := await self.server.send_away():
                _log.warning("the server is cut off from the others: %d clients are sent away", sent)
        except Unreachable as error:
            _log.info("clients could not be sent away: %r", error)

    def leads(self) -> dict[str, int]:
        """How many groups of each sort the server leads."""
        led = self._cluster.leads(self.server.name)
        consumers = sum(1 for each in led if each.consumer)
        return {"meta": int(META in led), "stream": sum(1 for each in led if each.stream) - consumers, "consumer": consumers}

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _caught_up(self, _: web.Request) -> web.Response:
        if time.monotonic() - self._seen_at > _STALE_SECONDS:
            return web.Response(status=503, text="the servers were not looked at for a minute\n")
        return web.Response(status=200 if self.caught_up.ready else 503, text=f"{self.caught_up.sentence}\n")

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response({
            "server": self.server.name,
            "caughtUp": self.caught_up.level,
            "ready": self.caught_up.ready,
            "sentence": self.caught_up.sentence,
            "looks": LOOKS,
            "lookSeconds": round(self._took, 3),
            "leads": self.leads(),
            "reloadRefused": self.reloader.refused,
            "retiring": self.retirement.under_way,
        })  # fmt: skip


class Metrics(Collector):
    """`/metrics`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._registry = CollectorRegistry()
        caught_up = Gauge("baas_queue_caught_up", "1 while all that this server has a copy of is level.", registry=self._registry)
        caught_up.set_function(lambda: float(agent.caught_up.level))
        refused = Gauge("baas_queue_reload_refused", "1 while the server does not take its configuration.", registry=self._registry)
        refused.set_function(lambda: float(agent.reloader.refused is not None))
        leads = Gauge(
            "baas_queue_leads", "Groups that this server leads, by sort (meta, stream, consumer).", ["sort"], registry=self._registry
        )
        for sort in ("meta", "stream", "consumer"):
            leads.labels(sort).set_function(lambda sort=sort: float(agent.leads()[sort]))  # type: ignore[misc]
        self._registry.register(self)

    def collect(self) -> list[CounterMetricFamily]:
        """Loads of the configuration that the server was asked for."""
        made = CounterMetricFamily("baas_queue_reloads", "Loads of the configuration, by outcome (taken, refused).", labels=["outcome"])
        for outcome, count in self._agent.reloader.reloads.items():
            made.add_metric([outcome], count)
        return [made]

    async def answer(self, _: web.Request) -> web.Response:
        """Prometheus' text format."""
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _run(env: Mapping[str, str]) -> None:
    folders = Path(env.get("CONFIG_DIR", names.CONFIG_DIR)), Path(env.get("TLS_DIR", names.TLS_DIR))
    place = Place(
        server=env["POD_NAME"], host=env["SERVER_HOST"], port=int(env.get("CLIENT_PORT", names.CLIENT_PORT)),
        users=Path(env.get("AGENT_DIR", names.AGENT_DIR)), authority=folders[1] / "ca.crt",
    )  # fmt: skip
    agent = Agent(place, folders, Path(env.get("RUN_DIR", names.RUN_DIR)))
    runner = web.AppRunner(agent.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=int(env.get("AGENT_PORT", names.AGENT_PORT))).start()
    running = asyncio.create_task(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        _log.info("stopped")
    finally:
        await agent.server.close()
        await runner.cleanup()


def run_queue_agent() -> None:
    """Run until SIGTERM."""
    set_up("INFO")
    asyncio.run(_run(os.environ))
