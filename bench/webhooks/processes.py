"""The processes of a run: dispatchers that are killed and started again, and the others beside them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.jetstream.harness.servers import free_ports

STREAM = "events"
WEBHOOK = "bench"
REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0


def own_address() -> str:
    """An address of this machine that is no loopback: those no webhook may lead to. What goes there does not leave the machine.

    Raises:
        OSError: it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


def _environment() -> dict[str, str]:
    path = os.pathsep.join([*sys.path[1:], str(REPOSITORY)])
    return os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", path)}


def start(module: str, given: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A module of this bench as a process."""
    return subprocess.Popen([sys.executable, "-m", f"bench.webhooks.{module}", json.dumps(given)], cwd=REPOSITORY, env=_environment())


class Dispatchers:
    """`count` dispatchers, as their Deployment has them: one that died is started again at once. Logs go into `folder`."""

    def __init__(self, folder: Path, told: dict[str, Any], secret: str, count: int) -> None:
        self._config, self._secrets = folder / "dispatcher.json", folder / "secrets"
        self._config.write_text(json.dumps(told))
        (self._secrets / "webhook" / WEBHOOK).mkdir(parents=True)
        (self._secrets / "webhook" / WEBHOOK / "secret").write_text(secret)
        self._log = folder / "dispatcher.log"
        self._ports = free_ports(count)
        self._running: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def command(self, port: int) -> list[str]:
        """How one is started. What is known of its command line is known here alone."""
        return [sys.executable, "-m", "baas_operator", "dispatcher", str(self._config), str(self._secrets), "--port", str(port)]

    def start(self) -> None:
        """Start all."""
        with self._log.open("ab") as log:
            self._running = [
                subprocess.Popen(self.command(port), cwd=REPOSITORY, env=_environment(), stdout=log, stderr=log) for port in self._ports
            ]

    def kill(self) -> None:
        """Kill all at one moment, and start them again."""
        self.end()
        self.kills += 1
        self.start()

    def end(self) -> None:
        """Kill all."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
        self._running = []

    def died(self) -> str:
        """The last words of one that ended by itself; empty while none did."""
        if all(process.poll() is None for process in self._running):
            return ""
        return self._log.read_text(errors="replace")[-1000:]


async def control(port: int, path: str, *, post: bool = False) -> Any:
    """What the endpoint says on its control port."""

    def ask() -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=b"" if post else None)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own endpoint
            said = answer.read()
        return json.loads(said) if said else None

    return await asyncio.to_thread(ask)


async def wait_ready(port: int) -> None:
    """Until the endpoint answers. Raises TimeoutError."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            await control(port, "/progress")
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the endpoint does not answer: {error}") from error
            await asyncio.sleep(0.1)
