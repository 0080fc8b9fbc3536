"""The process: a connection to NATS, the configuration as it changes, and an orderly end. It delivers webhooks, keeps dead letters and
relays outboxes."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

from aiohttp import web
from nats.aio.client import Client as Nats

from baas_operator.desired.queue.names import NATS_FOLDER
from baas_operator.dispatcher import metrics
from baas_operator.dispatcher.addresses import Guard
from baas_operator.dispatcher.config import ConfigError, Loaded, MakeGuard, NatsFiles, read
from baas_operator.dispatcher.dispatcher import Dispatcher
from baas_operator.dispatcher.http import Http
from baas_operator.dispatcher.letters import Letters
from baas_operator.dispatcher.outboxes import Outboxes
from baas_operator.dispatcher.shared import Shared, Timing
from baas_operator.dispatcher.state import State
from baas_operator.jetstream.client import connect
from baas_operator.jetstream.requests import Unreachable
from baas_operator.jetstream.tasks import end, together

PORT = 8080
"""Of probes and metrics."""
_CONNECT_SECONDS = 1.0
_log = logging.getLogger("dispatcher")


class Program:
    """One dispatcher. What is not in its files is handed in: tests hand in a guard that lets loopback pass, and shorter times."""

    def __init__(
        self, config: Path, secrets: Path, port: int = PORT, *, host: str | None = None, guard: MakeGuard = Guard,
        timing: Timing | None = None,
    ) -> None:  # fmt: skip
        self._config, self._secrets, self._host, self._port = config, secrets, host, port
        self._guard, self._timing = guard, timing or Timing()
        self._files = NatsFiles(secrets / NATS_FOLDER)
        self._connection: Nats | None = None
        self._dispatcher: Dispatcher | None = None
        self._outboxes: Outboxes | None = None
        self._letters: Letters | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and until what is under way then is finished.

        Raises:
            ConfigError: there is no configuration to begin with.
        """
        loaded = read(self._config, self._secrets, self._guard)
        runner = web.AppRunner(Http(connected=self._connected, status=self._status).app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self._host, self._port).start()
        working = asyncio.create_task(self._work(loaded))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*(each.stop() for each in (self._dispatcher, self._outboxes, self._letters) if each))
        finally:
            await end([working, stopping])
            if self._connection:
                await self._connection.close()
            await runner.cleanup()
        if not working.cancelled():
            working.result()

    def _connected(self) -> bool:
        return self._connection is not None and bool(self._connection.is_connected)

    def _status(self) -> dict[str, Any]:
        return {
            "webhooks": self._dispatcher.status() if self._dispatcher else [],
            "outboxes": self._outboxes.status() if self._outboxes else [],
        }

    async def _work(self, loaded: Loaded) -> None:
        config = loaded.config
        self._connection = connection = await self._connect(loaded)
        shared = Shared(
            connection, State(connection, config.copies), (config.namespace, config.queue),
            f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}", self._guard, timing=self._timing,
        )  # fmt: skip
        self._dispatcher = dispatcher = Dispatcher(shared)
        self._outboxes, self._letters = Outboxes(connection), Letters(connection, self._timing)
        self._apply(loaded)
        await together(dispatcher.run(), self._follow(loaded))

    def _apply(self, loaded: Loaded) -> None:
        if self._dispatcher and self._outboxes and self._letters:
            self._dispatcher.apply(loaded.webhooks, loaded.config.streams)
            self._outboxes.apply(loaded.outboxes)
            self._letters.apply(loaded.config.dead_letters, {each.stream for each in loaded.config.webhooks})

    async def _connect(self, loaded: Loaded) -> Nats:
        config, tls = loaded.config, self._files.tls()

        async def say(error: Exception) -> None:
            _log.info("NATS: %s", type(error).__name__)

        options: dict[str, Any] = {"tls": tls, "tls_hostname": config.host} if tls else {}
        if self._files.user():
            options |= {"user": self._files.user, "password": self._files.password}
        while True:
            try:
                return await connect(
                    f"{'tls' if tls else 'nats'}://{config.host}:{config.port}", name="dispatcher", max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5, ping_interval=5, max_outstanding_pings=2, error_cb=say, inbox_prefix=config.inbox_prefix,
                    allow_reconnect=True, **options,
                )  # fmt: skip
            except Unreachable as error:
                _log.warning("NATS at %s:%d can not be reached: %s", config.host, config.port, error)
                await asyncio.sleep(_CONNECT_SECONDS)

    async def _follow(self, loaded: Loaded) -> None:
        """Take up what the files say as they change. Where NATS is and what the queue is called does not change while a pod lives."""
        broken = ""
        while True:
            await asyncio.sleep(self._timing.reload)
            try:
                found = await asyncio.to_thread(read, self._config, self._secrets, self._guard)
                broken = ""
            except ConfigError as error:
                if str(error) != broken:
                    _log.error("what was told before goes on: %s", error)
                broken = str(error)
                continue
            finally:
                metrics.CONFIG_BROKEN.set(bool(broken))
            if found != loaded:
                loaded = found
                self._apply(loaded)


async def run(config_path: Path, secrets_path: Path, port: int = PORT) -> None:
    """Work until SIGTERM.

    Raises:
        ConfigError: there is no configuration to begin with.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Program(config_path, secrets_path, port).run(stop)


def run_dispatcher(config_path: Path, secrets_path: Path, port: int = PORT) -> None:
    """Work until SIGTERM, with logs as JSON."""
    from baas_operator.telemetry.logs import set_up

    set_up("info")
    asyncio.run(run(config_path, secrets_path, port))
