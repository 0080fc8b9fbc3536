"""A queue as the operator makes it (users, TLS, streams, `dispatcher.json`) and dispatchers as its pods run them: `python -m baas_operator
dispatcher`, with nothing but their files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import nats
from nats.aio.client import Client as Nats
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from baas_operator.api.queue import EventQueueSpec
from baas_operator.dead_letters.bury import fetch
from baas_operator.dead_letters.letter import DeadLetter, read_letter
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.dispatcher import dispatcher_config
from baas_operator.desired.queue.streams import all_kept
from baas_operator.jetstream.requests import JetStreamError, call
from baas_operator.observe.dispatchers import DispatcherReport
from bench.webhooks.processes import own_address
from tests.jetstream.dispatcher.rig import SECRET
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.harness.servers import free_ports
from tests.jetstream.users.secured import OWNER, Secured

REPOSITORY = Path(__file__).resolve().parents[3]
NEVER = b"never"
"""A payload that the endpoint takes at no attempt."""


class Whole:
    """The files of dispatchers, as a pod would have them mounted, and the processes that read them."""

    def __init__(self, servers: Secured, folder: Path) -> None:
        self.servers, self.folder, self.outboxes = servers, folder, dict[str, dict[str, Any]]()
        self.config, self.secrets, self.log = folder / "dispatcher.json", folder / "secrets", folder / "dispatcher.log"
        self.running: list[Pod] = []
        self._write("nats/username", servers.logins[names.DISPATCHER][0].username)
        self._write("nats/password", servers.logins[names.DISPATCHER][0].password)
        self._write("nats/ca.crt", servers.authority[0])
        self.tell()

    def _write(self, path: str, text: str) -> None:
        (self.secrets / path).parent.mkdir(parents=True, exist_ok=True)
        (self.secrets / path).write_text(text)

    def tell(self) -> None:
        """What the spec of the servers asks for. Outboxes lead to where `outboxes` says; loopback stands for the servers' Service."""
        told = json.loads(dispatcher_config(self.servers.spec, OWNER, replicas=2))
        told |= {"host": "localhost", "port": self.servers.client_ports[self.servers.names[0]]}
        told["outboxes"] = [each | self.outboxes.get(each["name"], {}) for each in told["outboxes"]]
        for each in told["webhooks"]:
            self._write(f"webhook/{each['name']}/secret", SECRET)
        for each in told["outboxes"]:
            self._write(f"outbox/{each['name']}/password", "unused")
        new = self.config.with_suffix(".new")
        new.write_text(json.dumps(told))
        new.replace(self.config)

    async def streams(self, admin: Nats) -> bool:
        """Make all streams and consumers that the spec asks for, those that are there stay. True once they are there."""
        spec = self.servers.spec
        for kept in [*all_kept(spec, queue=OWNER.name, namespace=OWNER.namespace, shares={}),
                     *letters_kept(spec, queue=OWNER.name, shares={})]:  # fmt: skip
            await call(admin, f"$JS.API.STREAM.CREATE.{kept.name}", kept.config, seconds=10)
            for name, config in kept.consumers.items():
                body = {"stream_name": kept.name, "config": config}
                await call(admin, f"$JS.API.CONSUMER.CREATE.{kept.name}.{name}", body, seconds=10)
        return True

    def start(self) -> Pod:
        """Start a dispatcher."""
        made = Pod(self)
        self.running.append(made)
        return made

    async def dispatcher(self, said: list[str]) -> Nats:
        """A connection as the dispatchers' user, beside theirs. What the servers refuse goes to `said`."""

        async def heard(error: Exception) -> None:
            said.append(str(error))

        return await self.servers.connect(names.DISPATCHER, inbox_prefix=names.inbox(names.DISPATCHER), error_cb=heard)

    def violations(self) -> list[str]:
        """What the servers say that somebody was refused."""
        logs = [(self.servers.folder / f"{name}.log").read_text(errors="replace") for name in self.servers.names]
        return [line for log in logs for line in log.splitlines() if "Violation" in line]


class Pod:
    """One dispatcher."""

    def __init__(self, whole: Whole) -> None:
        self.port = free_ports(1)[0]
        command = [sys.executable, "-m", "baas_operator", "dispatcher", str(whole.config), str(whole.secrets), "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "operator")}
        with whole.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        self._whole = whole

    def kill(self) -> None:
        """SIGKILL."""
        self._whole.running.remove(self)
        self._process.kill()
        self._process.wait()

    async def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self._whole.running.remove(self)
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 30)

    async def report(self) -> DispatcherReport:
        """What it says, as the operator reads it; nothing where it does not answer."""
        assert self._process.poll() is None, self._whole.log.read_text()[-3000:]
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session,
                session.get(f"http://127.0.0.1:{self.port}{names.STATUS_PATH}") as answer,
            ):
                return DispatcherReport.model_validate_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError):
            return DispatcherReport()

    async def scrape(self) -> list[Sample]:
        """Its metrics, as Prometheus reads them."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            return [sample for family in text_string_to_metric_families(await answer.text()) for sample in family.samples]


@contextmanager
def whole(servers: Secured, folder: Path) -> Iterator[Whole]:
    """Dispatchers that run until the block ends."""
    folder.mkdir()
    made = Whole(servers, folder)
    try:
        yield made
    finally:
        for each in list(made.running):
            each.kill()


async def eventually(holds: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Wait until something, which may be asynchronous, holds. That JetStream does not answer is no answer."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
        except (JetStreamError, nats.errors.Error):
            pass
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(0.1)


def spec_of(url: str, **more: Any) -> EventQueueSpec:
    hook = {
        "stream": "orders", "url": url, "timeoutSeconds": 1, "retrySeconds": [1], "allowNetworks": [f"{own_address()}/32"],
        "circuitBreaker": {"failures": 1000},
    }  # fmt: skip
    worker = {"name": "worker", "maxDeliveries": 1, "ackWaitSeconds": 1}
    return EventQueueSpec.model_validate({
        "replicas": 1,
        "streams": [
            {"name": "orders", "subjects": ["orders.>"]},
            {"name": "jobs", "subjects": ["jobs.>"], "retention": "workqueue", "deadLetter": {}, "consumers": [worker]},
            {"name": "news", "subjects": ["news.>"], "retention": "interest", "deadLetter": {}, "consumers": [worker]},
            {"name": "logs", "subjects": ["logs.>"], "deadLetter": {}, "consumers": [worker]},
            {"name": "rows", "subjects": ["rows.>"]},
            {"name": "hidden", "subjects": ["hidden.>"], "consumers": [worker]},
        ],
        "keyValues": [{"name": "settings"}],
        "webhooks": [hook | {"name": "plain"}, hook | {"name": "ordered", "ordering": {"by": "subject"}, "filters": ["orders.new"]}],
        "outboxes": [{"name": "shop", "databaseRef": {"name": "db"}, "database": "postgres", "stream": "rows"}],
    } | more)  # fmt: skip


def lead_to(dispatchers: Whole, postgres: Postgres, **more: Any) -> None:
    dispatchers.outboxes["shop"] = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "tls": False} | more
    dispatchers.tell()


async def letters(admin: Nats, stream: str) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    last = int((await call(admin, f"$JS.API.STREAM.INFO.BAAS_DEAD_{stream}"))["state"]["last_seq"])
    for sequence in range(1, last + 1):
        kept = await fetch(admin, f"BAAS_DEAD_{stream}", sequence)
        read = read_letter(kept) if kept else None
        assert read, "a dead letter that `kubectl baas dlq` would skip"
        found.append(read)
    return found


async def left(admin: Nats, stream: str) -> int:
    return int((await call(admin, f"$JS.API.STREAM.INFO.{stream}"))["state"]["messages"])


async def fail(admin: Nats, stream: str, count: int) -> None:
    """Have messages delivered to the declared consumer for the first and last time, and not a word said of them."""
    reader = await admin.jetstream().pull_subscribe_bind("worker", stream)
    seen = 0
    while seen < count:
        with suppress(asyncio.TimeoutError):
            seen += len(await reader.fetch(count - seen, timeout=5))
    await reader.unsubscribe()


async def rows_made(postgres: Postgres) -> bool:
    connection = await postgres.connect()
    try:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'outbox_wake')"))
    finally:
        await connection.close()


async def insert(connection: Any, payload: str) -> str:
    return str(await connection.fetchval(
        "INSERT INTO outbox (subject, payload) VALUES ('rows.new', $1) RETURNING id", payload.encode()
    ))  # fmt: skip


async def relayed(admin: Nats) -> list[str]:
    """Message ids in the outbox's stream, in its order."""
    last = int((await call(admin, "$JS.API.STREAM.INFO.rows"))["state"]["last_seq"])
    kept = [await fetch(admin, "rows", sequence) for sequence in range(1, last + 1)]
    return [dict(each.headers)["Nats-Msg-Id"] for each in kept if each]
