"""A queue with dead letters on real servers: streams as the operator would make them, consumers that fail, and what keeps the letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from baas_operator.api.operation import LetterFilter
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import DeadLetter, Stream
from baas_operator.dead_letters.bury import Unburied, bury
from baas_operator.dead_letters.inspect import list_letters
from baas_operator.dead_letters.letter import DeadLetter as Letter
from baas_operator.dead_letters.service import DeadLetterService
from baas_operator.desired.queue.dead_letters import advisories_config, dead_letter_stream_config
from baas_operator.jetstream.requests import call
from baas_operator.jetstream.tasks import end
from tests.jetstream.harness.servers import Servers, running

ACK_WAIT_SECONDS = 0.4
SPEC = EventQueueSpec()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Three servers for tests that kill none; each uses streams of its own."""
    with running(Path(tmp_path_factory.mktemp("servers"))) as made:
        asyncio.run(made.wait_whole())
        yield made


class Queue:
    """A connection, and the streams of one test."""

    def __init__(self, connection: Nats) -> None:
        self.connection = connection

    async def stream(self, name: str, retention: str = "workqueue", *, max_size: str | None = None, **more: Any) -> None:
        """A declared stream with deadLetter."""
        letters = dead_letter_stream_config(SPEC, Stream(name=name, subjects=[f"{name}.>"]), DeadLetter(max_size=max_size))
        made = {"name": name, "subjects": [f"{name}.>"], "retention": retention, "storage": "file", "num_replicas": 3}
        for config in (made | more, letters):
            await call(self.connection, f"$JS.API.STREAM.CREATE.{config['name']}", config, seconds=20)

    async def bury(self, stream: str, consumer: str, sequence: int) -> None:
        """Make a dead letter of a message. While the stream of them begins, or changes, it may have no leader for a moment."""
        async with asyncio.timeout(20):
            while True:
                try:
                    await bury(self.connection, stream=stream, consumer=consumer, sequence=sequence, deliveries=1, reason="MaxDeliveries")
                    return
                except Unburied:
                    await asyncio.sleep(0.2)

    async def advisories(self) -> None:
        """The stream of advisories, if it is not there."""
        config = advisories_config(SPEC)
        await call(self.connection, f"$JS.API.STREAM.CREATE.{config['name']}", config, seconds=20)

    async def consumer(self, stream: str, name: str, *, max_deliver: int = 2, **more: Any) -> None:
        """A consumer that gives up soon."""
        config = {
            "durable_name": name, "name": name, "ack_policy": "explicit", "deliver_policy": "all", "max_deliver": max_deliver,
            "ack_wait": int(ACK_WAIT_SECONDS * 1e9),
        }  # fmt: skip
        body = {"stream_name": stream, "config": config | more}
        await call(self.connection, f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body, seconds=20)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int:
        """A message; its sequence. While a stream begins, servers drop some without a word: one that is not there is sent again."""
        (stream,) = (await call(self.connection, "$JS.API.STREAM.NAMES", {"subject": subject}))["streams"]
        before = (await self.state(stream))["last_seq"]
        async with asyncio.timeout(20):
            while True:
                try:
                    sent = dict(headers) if headers else None
                    return int((await self.connection.jetstream(timeout=3).publish(subject, payload, headers=sent)).seq)
                except TimeoutError:
                    if (last := int((await self.state(stream))["last_seq"])) > before:
                        return last

    async def read(self, stream: str, consumer: str, count: int) -> list[Msg]:
        """So many messages, of which nothing is acknowledged."""
        told = await self.connection.jetstream().pull_subscribe_bind(consumer, stream)
        found: list[Msg] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                with suppress(asyncio.TimeoutError):
                    found += await told.fetch(count - len(found), timeout=5)
        await told.unsubscribe()
        return found

    async def exhaust(self, stream: str, consumer: str, count: int, *, max_deliver: int = 2) -> None:
        """Have messages delivered until the consumer gives them up, and wait until it has."""
        for _ in range(max_deliver):
            for each in await self.read(stream, consumer, count):
                await each.nak()

        async def given_up() -> bool:
            return bool((await self.info(stream, consumer))["num_ack_pending"] == 0)

        told = await self.connection.jetstream().pull_subscribe_bind(consumer, stream)
        with suppress(asyncio.TimeoutError):
            await told.fetch(1, timeout=ACK_WAIT_SECONDS)  # a request that waits makes the server look
        await told.unsubscribe()
        await until(given_up)

    async def info(self, stream: str, consumer: str) -> dict[str, Any]:
        """What a consumer says of itself."""
        return await call(self.connection, f"$JS.API.CONSUMER.INFO.{stream}.{consumer}")

    async def state(self, stream: str) -> dict[str, Any]:
        """What is in a stream."""
        return dict((await call(self.connection, f"$JS.API.STREAM.INFO.{stream}"))["state"])

    async def letters(self, stream: str, **wanted: Any) -> list[Letter]:
        """Its dead letters, with their payload."""
        return [each async for each in list_letters(self.connection, stream, LetterFilter(**wanted), payloads=True)]

    async def wait_for_letters(self, stream: str, count: int) -> list[Letter]:
        """Its dead letters, once there are so many."""
        found: list[Letter] = []

        async def there() -> bool:
            found[:] = await self.letters(stream)
            return len(found) >= count

        await until(there)
        return found

    @asynccontextmanager
    async def service(self, streams: Mapping[str, str], *, sweep_seconds: float = 3600) -> AsyncIterator[None]:
        """What runs in a dispatcher."""
        task = asyncio.create_task(DeadLetterService(self.connection, streams, sweep_seconds=sweep_seconds).run())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            await end([task])


async def until(so: Callable[[], Awaitable[bool]], *, seconds: float = 60) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not await so():  # noqa: ASYNC110 - JetStream tells nobody
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture
async def queue(shared: Servers) -> AsyncIterator[Queue]:
    """A queue on the shared servers."""
    connection = await shared.connect()
    try:
        yield Queue(connection)
    finally:
        await connection.close()
