"""The retry schedule is JetStream's own, and neither a leader's death nor a lost refusal makes it shorter."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from nats.aio.client import Client as Nats
from nats.js.api import PubAck

from baas_operator.api.webhooks import Webhook
from baas_operator.dispatcher import consumers
from baas_operator.dispatcher.schedule import backoff, nak_seconds
from baas_operator.jetstream.requests import call
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.rig import Here, Rig, streams, until, webhook
from tests.jetstream.harness.servers import Servers

HOOK = Webhook(name="a", stream="orders", url="https://a.example", timeout_seconds=1, retry_seconds=[1, 4, 6])
NAME = consumers.consumer_name("a")
ACK_WAIT = 2.0
STEPS = backoff(HOOK.retry_seconds, ACK_WAIT)


async def _deliveries(client: Nats, seconds: list[float | None]) -> list[float]:
    """When one message is delivered, and again after each refusal: corrected (a number of seconds), or none at all (None)."""
    await consumers.ensure(client, HOOK, ACK_WAIT)
    subscription = await client.jetstream().pull_subscribe_bind(NAME, "orders")
    ack: PubAck = await client.jetstream().publish("orders.new", b"1")
    assert ack.seq == 1
    came = []
    for each in [*seconds, 0]:
        (message,) = await subscription.fetch(1, timeout=15)
        came.append(time.monotonic())
        if each is not None:
            told = nak_seconds(each, message.metadata.num_delivered, STEPS)
            await client.publish(message.reply, b'-NAK {"delay": %d}' % int(told * 10**9))
    return came


@pytest.mark.parametrize(
    ("refusals", "expected"),
    [
        ([1.0, 1.0, 3.0, 1.0, 1.0], [1.0, 1.0, 3.0, 1.0, 1.0]),
        ([None, None, 1.0], [2.0, 4.0, 1.0]),
    ],
)  # fmt: skip
async def test_a_message_comes_back_when_it_was_told_to(nats_client: Nats, refusals: list[float | None], expected: list[float]) -> None:
    came = await _deliveries(nats_client, refusals)
    gaps = [later - earlier for earlier, later in pairwise(came)]
    assert gaps == pytest.approx(expected, abs=0.6)


async def test_what_nats_does_with_a_delay_that_is_not_corrected(nats_client: Nats) -> None:
    """Should this fail after an upgrade of NATS, `nak_seconds` has to go: the delay is then what it says."""
    await consumers.ensure(nats_client, HOOK, ACK_WAIT)
    subscription = await nats_client.jetstream().pull_subscribe_bind(NAME, "orders")
    await nats_client.jetstream().publish("orders.new", b"1")
    (message,) = await subscription.fetch(1, timeout=5)
    await message.nak(delay=1)
    (message,) = await subscription.fetch(1, timeout=5)
    refused = time.monotonic()
    await message.nak(delay=1)
    await subscription.fetch(1, timeout=15)
    assert time.monotonic() - refused == pytest.approx(1 + STEPS[1] - STEPS[0], abs=0.6)


async def test_the_consumer_is_made_once_and_follows_its_webhook(nats_client: Nats) -> None:
    for _ in range(2):
        await consumers.ensure(nats_client, HOOK, ACK_WAIT)
    info = await nats_client.jetstream().consumer_info("orders", NAME)
    assert (info.config.backoff, info.config.ack_wait, info.config.max_deliver) == ([2.0, 4.0, 6.0], 2.0, -1)
    changed = HOOK.model_copy(update={"filters": ["orders.new"], "retry_seconds": [7]})
    await consumers.ensure(nats_client, changed, ACK_WAIT)
    info = await nats_client.jetstream().consumer_info("orders", NAME)
    assert (info.config.backoff, info.config.filter_subjects or [info.config.filter_subject]) == ([7.0], ["orders.new"])


async def test_a_leaders_death_neither_loses_nor_shortens_the_schedule(
    servers: Servers, client: Nats, http: HttpEndpoint, tmp_path: Path
) -> None:
    await streams(client, 3)
    rig = Rig(tmp_path / "rig", servers)
    http.answer = lambda _: web.Response(status=500)
    info = await _leader(client)
    rig.tell(webhook(http.url, retrySeconds=[1, 20, 20]), server=int(_another(servers, info)[-1]))
    async with Here(rig):
        await until(lambda: _exists(client))
        await client.jetstream(timeout=10).publish("orders.new", b"1")
        await until(lambda: len(http.came) == 2, what="two attempts")
        await asyncio.sleep(0.5)
        leader = await _consumer_leader(client)
        if leader != _told(rig, servers):
            servers.kill(leader)
        else:
            await client.request(f"$JS.API.CONSUMER.LEADER.STEPDOWN.orders.{NAME}", b"", timeout=5)
        http.answer = lambda _: web.Response(status=204)
        await until(lambda: http.taken, seconds=60, what="the third attempt")
    gap = http.came[2].at - http.came[1].at
    assert 19.5 <= gap <= 27, f"{gap:.1f} s, where 20 to 24 were due and a leader's election may come on top"
    assert [each.headers["x-webhook-attempt"] for each in http.came] == ["1", "2", "3"]


def _exists(_: Nats) -> bool:
    return True


async def _leader(client: Nats) -> str:
    info = await client.jetstream(timeout=10).stream_info("orders")
    return str(info.cluster.leader) if info.cluster else ""


async def _consumer_leader(client: Nats) -> str:
    info = await call(client, f"$JS.API.CONSUMER.INFO.orders.{NAME}")
    return str(info["cluster"]["leader"])


def _another(servers: Servers, name: str) -> str:
    return next(each for each in servers.names if each != name)


def _told(rig: Rig, servers: Servers) -> str:
    import json

    port = json.loads(rig.config.read_text())["port"]
    return next(name for name, each in servers.client_ports.items() if each == port)
