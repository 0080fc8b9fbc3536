"""A server that is behind, or can not know, makes its pod unready; one that has caught up makes it ready again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue import names
from tests.jetstream.queue_agent.beside import beside, until
from tests.jetstream.users.secured import Secured, secured


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Secured]:
    with secured(tmp_path, EventQueueSpec()) as made:
        asyncio.run(made.wait_whole())
        yield made


async def test_a_server_that_was_away_is_not_ready_before_it_has_what_was_written_meanwhile(servers: Secured) -> None:
    client = await servers.connect(servers=servers.urls[:2])
    stream = client.jetstream(timeout=10)
    await stream.add_stream(StreamConfig(name="orders", subjects=["orders.>"], num_replicas=3))
    await stream.add_consumer("orders", ConsumerConfig(durable_name="billing", ack_policy="explicit"))  # type: ignore[arg-type]
    async with beside(servers, "nats-2") as agent, beside(servers, "nats-0") as other:
        await until(lambda: agent.ready(200), "all level")
        servers.kill("nats-2")
        await until(lambda: agent.ready(503), "a server that is away")
        for number in range(300):
            await stream.publish("orders.new", bytes(20_000), headers={"Nats-Msg-Id": str(number)})
        await until(lambda: other.ready(200), "the others go on, once they have elected who leads in its place")
        servers.start("nats-2")
        await until(lambda: agent.ready(200), "caught up")
        info = await stream.stream_info("orders")
        assert info.cluster
        copies = {each.name: each for each in info.cluster.replicas or []}
        assert info.cluster.leader == "nats-2" or (copies["nats-2"].current and not copies["nats-2"].lag)
        assert (await agent.get("/metrics"))[1].count("baas_queue_caught_up 1.0") == 1
    await client.close()


async def test_a_server_that_hears_no_leader_does_not_count_as_level(servers: Secured) -> None:
    async with beside(servers, "nats-0") as agent:
        await until(lambda: agent.ready(200), "all level")
        for name in ("nats-1", "nats-2"):
            servers.signal(name, signal.SIGSTOP)
        try:
            await until(lambda: agent.ready(503), "two servers that say nothing")
            assert (await agent.get("/livez"))[0] == 200, "that is no reason to start the agent anew"
            assert "leader" in (await agent.get(names.CAUGHT_UP_PATH))[1]
        finally:
            for name in ("nats-1", "nats-2"):
                servers.signal(name, signal.SIGCONT)
        await until(lambda: agent.ready(200), "they are back")


async def test_it_costs_next_to_nothing_at_rest(servers: Secured) -> None:
    client = await servers.connect()
    for number in range(10):
        await client.jetstream(timeout=10).add_stream(StreamConfig(name=f"s{number}", subjects=[f"s{number}.>"], num_replicas=3))
    async with beside(servers, "nats-0") as agent:
        await until(lambda: agent.ready(200), "all level")
        busy, began = time.process_time(), time.monotonic()
        await asyncio.sleep(10)
        assert (time.process_time() - busy) / (time.monotonic() - began) < 0.02
    await client.close()
