"""Dispatchers and servers die; nothing that was published is lost, and nothing that is under way is dropped by an orderly end."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from aiohttp import web
from nats.aio.client import Client as Nats

from baas_operator.dispatcher.state import State
from baas_operator.jetstream.requests import call
from tests.jetstream.dispatcher.endpoints import Delivery, HttpEndpoint
from tests.jetstream.dispatcher.rig import Here, Rig, dead, streams, until, webhook
from tests.jetstream.dispatcher.test_delivery import publish, status
from tests.jetstream.harness.servers import Servers
from tests.jetstream.harness.servers import publish as careful


async def test_nothing_is_lost_where_a_fifth_fails(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    chance = random.Random(7)
    http.answer = lambda _: status(500 if chance.random() < 0.2 else 204)
    rig.tell(webhook(http.url, circuitBreaker={"failures": 100}))
    async with Here(rig), Here(rig):
        await asyncio.gather(*(publish(nats_client, 500, first=500 * number) for number in range(4)))
        await until(lambda: len(set(http.ids())) == 2000, seconds=90)
    assert await dead(nats_client) == {}
    assert len(http.taken) <= 2000 + 20, "what was taken comes again only where an acknowledgement was lost"


async def test_a_dispatcher_killed_in_the_middle_of_a_delivery(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    async def hang(_: Delivery) -> web.Response:
        await asyncio.sleep(0.8)
        return status(204)

    http.answer = hang
    rig.tell(webhook(http.url, retrySeconds=[3, 3, 3]))
    first = rig.process()
    try:
        await publish(nats_client, 10)
        await until(lambda: len(http.came) == 10)
        assert http.taken == []
    finally:
        first.kill()
    died = http.came[-1].at
    http.answer = lambda _: status(204)
    second = rig.process()
    try:
        await until(lambda: len({each.id for each in http.came[10:]}) == 10, what="all come again")
    finally:
        assert await second.terminate() == 0
    assert all(2.5 <= each.at - died <= 7 for each in http.came[10:]), "when the schedule says, not at once"
    assert {each.headers["x-webhook-attempt"] for each in http.came[10:]} == {"2"}


async def test_it_ends_in_order(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    async def slowly(_: Delivery) -> web.Response:
        await asyncio.sleep(0.7)
        return status(204)

    http.answer = slowly
    rig.tell(webhook(http.url, concurrency=4, retrySeconds=[600]))
    process = rig.process()
    await publish(nats_client, 12)
    await until(lambda: len(http.came) == 4)
    assert await process.terminate() == 0
    assert len(http.taken) == len(http.came), "what was under way was finished"
    info = await nats_client.jetstream().consumer_info("orders", "BAAS_webhook_a")
    assert info.num_ack_pending <= 12 - len(http.taken)
    async with Here(rig):
        await until(lambda: len(set(http.ids())) == 12, seconds=15, what="the rest was given back at once, not after 600 s")
    assert len(http.taken) == 12, "and none came twice"


async def test_what_dispatchers_never_sent_was_no_attempt(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    """With one retry, two ends of a dispatcher would else make a message a dead letter that the endpoint was never sent."""
    rig.tell(webhook(http.url, ratePerSecond=2, retrySeconds=[1]))
    await publish(nats_client, 30)
    for _ in range(4):
        async with Here(rig) as one, Here(rig) as other:
            await until(lambda: one.status("a").get("held", 0) + other.status("a").get("held", 0) >= 20, what="they are in hand")
            await asyncio.gather(one.stop(), other.stop())
    http.came.clear()
    http.answer = lambda each: status(500 if each.headers["x-webhook-attempt"] == "1" else 204)
    rig.tell(webhook(http.url, retrySeconds=[1], circuitBreaker={"failures": 100}))
    async with Here(rig) as here:
        await until(lambda: http.came and here.status("a").get("pending") == 0 and here.status("a")["held"] == 0, seconds=40)
    assert len(http.taken) == 30
    attempts: dict[str, list[str]] = {}
    for each in http.came:
        attempts.setdefault(each.id, []).append(each.headers["x-webhook-attempt"])
    assert len(attempts) > 10
    assert set(map(tuple, attempts.values())) == {("1", "2")}
    assert await dead(nats_client) == {}
    noted, _ = await State(nats_client, 1).get("unbegun.a")
    assert 0 < len(noted) <= 30


async def test_probes_metrics_and_status(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url))
    process = rig.process()
    try:
        await publish(nats_client, 3)
        await until(lambda: len(http.taken) == 3)
        assert await process.get("/livez") == (200, "ok\n")
        assert await process.get("/readyz") == (200, "ok\n")
        _, said = await process.get("/status")
        (about,) = json.loads(said)["webhooks"]
        assert (about["name"], about["state"], about["successRate"], about["attempts"]) == ("a", "Closed", 1.0, 3)
        assert about["p95Milliseconds"] >= 0
        _, metrics = await process.get("/metrics")
        assert 'baas_webhook_attempts_total{outcome="taken",webhook="a"} 3.0' in metrics
        rig.servers.kill("nats-0")
        code = 200
        for _ in range(100):
            code, _said = await process.get("/readyz")
            if code == 503:
                break
            await asyncio.sleep(0.1)
        assert code == 503
        assert (await process.get("/livez"))[0] == 200, "nobody starts it anew for what NATS does"
    finally:
        process.kill()


async def test_backlog_is_said(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    rig.tell(webhook(http.url, enabled=False, filters=["orders.new"]))
    await publish(nats_client, 2, "orders.other")
    await publish(nats_client, 5, first=10)
    await asyncio.sleep(1.2)
    async with Here(rig) as here:
        await until(lambda: here.status("a").get("pending") == 5, seconds=20)
        assert 1 <= here.status("a")["oldestPendingSeconds"] <= 60


async def test_servers_and_dispatchers_die_and_nothing_is_lost(servers: Servers, client: Nats, http: HttpEndpoint, tmp_path: Path) -> None:
    await streams(client, 3)
    rig = Rig(tmp_path / "rig", servers)
    chance = random.Random(3)
    http.answer = lambda _: status(500 if chance.random() < 0.2 else 204)
    info = await client.jetstream(timeout=10).stream_info("orders")
    assert info.cluster
    staying = next(index for index, name in enumerate(servers.names) if name != info.cluster.leader)
    rig.tell(webhook(http.url, circuitBreaker={"failures": 100}, retrySeconds=[1] * 15), server=staying)
    processes = [rig.process(), rig.process()]
    try:
        for number in range(100):
            await careful(client, "orders.new", b"{}", f"m{number}")
        await until(lambda: len(http.taken) > 10)
        leader = str((await call(client, "$JS.API.CONSUMER.INFO.orders.BAAS_webhook_a"))["cluster"]["leader"])
        if leader == servers.names[staying]:
            leader = next(name for name in servers.names if name != leader)
        processes.pop().kill()
        servers.kill(leader)
        for number in range(100, 200):
            await careful(client, "orders.new", b"{}", f"m{number}")
        processes.append(rig.process())
        servers.start(leader)
        await until(lambda: len(set(http.ids())) == 200, seconds=90)
        assert await dead(client) == {}
    finally:
        for each in processes:
            each.kill()
