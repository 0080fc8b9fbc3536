"""The operator's process: health endpoint, Lease, and, while leading, kopf's watches and the runtime's workers."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any, cast

import kopf

from baas_operator.engine import leader
from baas_operator.engine.client import Client, load_configuration
from baas_operator.engine.config import Config, from_environment
from baas_operator.engine.health import serve
from baas_operator.engine.runtime import Runtime
from baas_operator.handlers.watches import build_registry, build_settings
from baas_operator.telemetry.logs import set_up

_log = logging.getLogger(__name__)


class _Process:
    """What the health endpoint needs to know."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.started = False

    def live(self) -> str | None:
        """Only a leader whose watches bring nothing is not alive; whoever waits for the Lease is."""
        if self.runtime is not None and not self.runtime.alive:
            return "the watches miss what happens"
        return None

    def ready(self) -> str | None:
        """Ready: it could reach the API server and leads or waits to."""
        return None if self.started else "the API server has not been reached yet"


async def _lead(process: _Process, client: Client, config: Config, stop: asyncio.Event) -> None:
    runtime = Runtime(client, config)
    await runtime.discover()
    await runtime.resync(everything=True)
    process.runtime = runtime
    work = asyncio.create_task(runtime.work())
    watching = asyncio.create_task(
        kopf.operator(
            registry=build_registry(runtime), settings=build_settings(config), standalone=True, stop_flag=stop,
            identity=cast(Any, config.identity),  # left out, kopf asks for a user name, which a container's uid need not have
            clusterwide=not config.namespaces, namespaces=config.namespaces,
        )
    )  # fmt: skip
    try:
        done, _ = await asyncio.wait({work, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        process.runtime = None
        for task in (work, watching):
            task.cancel()
        await asyncio.gather(work, watching, return_exceptions=True)


async def _run(config: Config) -> int:
    process, stop = _Process(), asyncio.Event()
    loop = asyncio.get_running_loop()
    runner = await serve(config.health_port, live=process.live, ready=process.ready)
    try:
        async with Client(await load_configuration()) as client:
            await client.request("GET", "/version", repeat=True)
            process.started = True
            leading = asyncio.create_task(leader.lead(client, config, lambda: _lead(process, client, config, stop)))
            stopping = asyncio.create_task(stop.wait())
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            asked = stop.is_set()
            for task in (leading, stopping):
                task.cancel()
            results = await asyncio.gather(leading, stopping, return_exceptions=True)
            for each in results:
                if isinstance(each, Exception):
                    _log.error("stopped by an error", exc_info=each)
            await leader.release(client, config)
            return 0 if asked else 1
    finally:
        await runner.cleanup()


def run_operator() -> None:
    """Run until SIGTERM (exit code 0) or until the Lease is lost (1): a fresh process knows nothing stale."""
    config = from_environment()
    set_up(config.log_level)
    raise SystemExit(asyncio.run(_run(config)))
