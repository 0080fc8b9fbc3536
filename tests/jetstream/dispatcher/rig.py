"""Dispatchers as processes of this test or of their own, and what they are told."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import aiohttp
from nats.aio.client import Client as Nats
from nats.js.api import StreamConfig

from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import DeadLetter
from baas_operator.dead_letters.bury import fetch
from baas_operator.dead_letters.letter import DeadLetter as LetterRead
from baas_operator.dead_letters.letter import read_letter
from baas_operator.desired.queue.dead_letters import dead_letter_stream_config
from baas_operator.dispatcher.addresses import Guard
from baas_operator.dispatcher.main import Program
from baas_operator.dispatcher.shared import Timing
from baas_operator.jetstream.requests import call
from tests.jetstream.harness.servers import Servers, free_ports

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
QUICK = Timing(slack=1.0, expires=2.0, heartbeat=0.5, look=0.3, renew=0.3, lease=1.5, place=0.5, reload=0.2, failing=0.5)


class LoopbackToo(Guard):
    """Lets 127.0.0.1 pass, where the endpoints of these tests are; everything else is judged as ever."""

    def refusal(self, text: str) -> str | None:
        return None if ip_address(text) == IPv4Address("127.0.0.1") else super().refusal(text)


class Rig:
    """What dispatchers are told: a folder with their configuration and Secrets."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.folder, self.servers = folder, servers
        self.secrets = folder / "secrets"
        self.config = folder / "dispatcher.json"
        self.port = free_ports(1)[0]
        folder.mkdir(exist_ok=True)

    def tell(self, *webhooks: dict[str, Any], server: int = 0, **more: Any) -> None:
        """Say which webhooks there are; those without a secret get one."""
        port = list(self.servers.client_ports.values())[server]
        for each in webhooks:
            if not (self.secrets / "webhook" / each["name"] / "secret").exists():
                self.secret(each["name"], SECRET)
        new = self.config.with_suffix(".new")
        new.write_text(json.dumps({
            "queue": "jobs", "namespace": "shop", "host": "127.0.0.1", "port": port, "copies": len(self.servers.names),
            "streams": ["orders"], "webhooks": webhooks,
        } | more))  # fmt: skip
        os.replace(new, self.config)

    def secret(self, name: str, text: str) -> None:
        """Write a webhook's secret."""
        (self.secrets / "webhook" / name).mkdir(parents=True, exist_ok=True)
        (self.secrets / "webhook" / name / "secret").write_text(text)

    def process(self) -> Process:
        """A dispatcher as a process of its own, which can be killed."""
        return Process(self)


class Here:
    """A dispatcher in this process."""

    def __init__(self, rig: Rig, timing: Timing = QUICK, **more: Any) -> None:
        self.program = Program(rig.config, rig.secrets, free_ports(1)[0], host="127.0.0.1", guard=LoopbackToo, timing=timing, **more)
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Here:
        self._task = asyncio.create_task(self.program.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """As SIGTERM does."""
        self._stop.set()
        await self._task

    def status(self, name: str) -> dict[str, Any]:
        """What it says of a webhook; nothing before it knows of it."""
        return next((each for each in self.program._status()["webhooks"] if each["name"] == name), {})


class Process:
    """A dispatcher as a process of its own."""

    def __init__(self, rig: Rig, timing: Timing = QUICK) -> None:
        self.port = free_ports(1)[0]
        program = "import sys; from tests.jetstream.dispatcher.rig import main; main(*sys.argv[1:])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, rig.config, rig.secrets, str(self.port), json.dumps(asdict(timing))],
            stdout=(rig.folder / "dispatcher.log").open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    async def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 30)

    async def get(self, path: str) -> tuple[int, str]:
        """What it answers; 0 where it does not."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""


def main(config: str, secrets: str, port: str, timing: str) -> None:
    """The process: what `main.run` does, but loopback passes and times are short."""

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await Program(Path(config), Path(secrets), int(port), host="127.0.0.1", guard=LoopbackToo, timing=Timing(**json.loads(timing))).run(
            stop
        )

    import logging

    logging.basicConfig(level=logging.INFO)
    asyncio.run(run())


async def until(well: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
    """Wait for a condition."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not well():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


def webhook(url: str, name: str = "a", **more: Any) -> dict[str, Any]:
    """A webhook of the stream `orders`."""
    return {"name": name, "stream": "orders", "url": url, "timeoutSeconds": 1, "retrySeconds": [1] * 8} | more


async def streams(client: Nats, replicas: int, **more: Any) -> None:
    """The stream `orders`, and where its dead letters go."""
    js = client.jetstream(timeout=10)
    await js.add_stream(StreamConfig(name="orders", subjects=["orders.>"], num_replicas=replicas, **more))
    spec = EventQueueSpec.model_validate({"replicas": replicas, "streams": [{"name": "orders", "subjects": ["orders.>"]}]})
    await call(client, "$JS.API.STREAM.CREATE.BAAS_DEAD_orders", dead_letter_stream_config(spec, spec.streams[0], DeadLetter()), seconds=10)


async def dead(client: Nats) -> dict[int, LetterRead]:
    """The dead letters as `kubectl baas dlq` shows them, by their sequence in `orders`."""
    found, sequence = {}, 0
    while (letter := await fetch(client, "BAAS_DEAD_orders", sequence := sequence + 1)) is not None:
        read = read_letter(letter)
        assert read, f"{letter.headers} are no dead letter's"
        assert read.source_sequence not in found, "kept twice"
        found[read.source_sequence] = read
    return found
