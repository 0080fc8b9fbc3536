"""Dispatchers as their pods run them, killed in the middle of what they do: no dead letter is lost, and each row is there once."""

from __future__ import annotations

import asyncio
import time

from nats.aio.client import Client as Nats

from baas_operator.api.queue import EventQueueSpec
from baas_operator.jetstream.requests import call
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.whole import NEVER, Pod, Whole, eventually, fail, insert, lead_to, left, letters, relayed, rows_made
from tests.jetstream.harness.postgres import Postgres


async def test_dispatchers_killed_while_they_bury_lose_no_dead_letter(dispatchers: Whole, admin: Nats, endpoint: HttpEndpoint) -> None:
    hook = dispatchers.servers.spec.webhooks[0].model_dump(by_alias=True, exclude_none=True)
    spec = dispatchers.servers.spec.model_dump(by_alias=True, exclude_none=True, mode="json") | {"webhooks": [hook], "outboxes": []}
    dispatchers.servers.spec = EventQueueSpec.model_validate(spec)
    dispatchers.tell()
    stream = admin.jetstream(timeout=10)
    for number in range(60):
        await stream.publish("orders.new", NEVER if number % 2 else b"taken")
        await stream.publish("jobs.a", f"{number}".encode())
    pods = [dispatchers.start(), dispatchers.start()]
    failing = asyncio.create_task(fail(admin, "jobs", 60))
    await eventually(lambda: endpoint.came, "they are at it")
    for round_ in range(6):
        await asyncio.sleep(0.9 + 0.15 * round_)
        pods.pop(0).kill()
        pods.append(dispatchers.start())
    await failing

    async def whole_() -> bool:
        return len(await letters(admin, "orders")) >= 30 and len(await letters(admin, "jobs")) >= 60 and await left(admin, "jobs") == 0

    await eventually(whole_, "all are dead letters", 120)
    await asyncio.sleep(8)  # what was delivered to those that were killed comes again, and is known
    assert sorted(each.source_sequence for each in await letters(admin, "orders")) == list(range(2, 61, 2))
    assert {each.payload for each in await letters(admin, "orders")} == {NEVER}
    assert sorted(int(each.payload or b"-1") for each in await letters(admin, "jobs")) == list(range(60))
    info = await call(admin, "$JS.API.CONSUMER.INFO.orders.BAAS_webhook_plain")
    assert (info["num_pending"], info["num_ack_pending"]) == (0, 0)
    assert dispatchers.violations() == []


async def test_the_dispatcher_that_relays_is_killed_and_each_row_is_there_once(dispatchers: Whole, admin: Nats, postgres: Postgres) -> None:
    lead_to(dispatchers, postgres)
    pods = [dispatchers.start(), dispatchers.start()]
    await eventually(lambda: rows_made(postgres), "the outbox")
    stop, ids = asyncio.Event(), list[str]()

    async def work() -> None:
        connection = await postgres.connect()
        while not stop.is_set():
            ids.append(await insert(connection, f"{len(ids)}"))
            await asyncio.sleep(0.005)
        await connection.close()

    working = asyncio.create_task(work())
    longest = 0.0
    for _ in range(4):
        relaying: list[Pod] = []

        async def one_relays(found: list[Pod] = relaying) -> bool:
            found[:] = [pod for pod in pods if any(each.state == "relaying" for each in (await pod.report()).outboxes)]
            return bool(found)

        await eventually(one_relays, "one relays")
        await asyncio.sleep(1.3)
        pods.remove(relaying[0])
        relaying[0].kill()
        died, before = time.monotonic(), await left(admin, "rows")

        async def more(before: int = before) -> bool:
            return await left(admin, "rows") > before

        await eventually(more, "another goes on", 30)
        longest = max(longest, time.monotonic() - died)
        pods.append(dispatchers.start())
    stop.set()
    await working

    async def all_there() -> bool:
        return await left(admin, "rows") >= len(ids)

    await eventually(all_there, "all rows are messages")
    assert await relayed(admin) == ids, "in the order in which they were committed, each once"
    assert longest < 10
    print(f"the outbox stood still for {longest:.1f} s at the most")
    assert dispatchers.violations() == []
