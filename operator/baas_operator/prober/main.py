"""The process: rounds of transactions and what is told of them, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import zlib
from pathlib import Path

from baas_operator.prober.http import Http
from baas_operator.prober.prober import Prober

PORT = 8080
_SLOTS = 65_536
_log = logging.getLogger("prober")


def slot_of(name: str) -> int:
    """The number of what a pod writes. Few pods have no two the same but by bad luck; then one may read what another wrote."""
    return zlib.crc32(name.encode()) % _SLOTS


async def run(config: Path, secrets: Path, port: int = PORT, *, host: str | None = None) -> None:
    """Probe until SIGTERM.

    Raises:
        ConfigError: there is no configuration to begin with.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    prober = Prober(config, secrets, slot_of(socket.gethostname()))
    http = Http(ready=lambda: prober.rounds > 0, report=prober.report, hook=prober.publish.hear)
    server = await http.start(host, port)
    prober.publish.port = http.port
    try:
        await prober.run(stop)
    finally:
        server.close()


def run_prober(config: Path, secrets: Path, port: int = PORT, host: str | None = None) -> None:
    """Probe until SIGTERM, with logs as JSON."""
    from baas_operator.telemetry.logs import set_up

    set_up("info")
    asyncio.run(run(config, secrets, port, host=host))
