"""The servers that these tests stand on: what is acknowledged is there after any one of them was killed."""

from __future__ import annotations

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import StreamConfig

from tests.jetstream.harness.servers import Servers, publish


@pytest.mark.asyncio
async def test_what_was_acknowledged_survives_a_server(servers: Servers, client: Nats) -> None:
    stream = client.jetstream(timeout=20)
    await stream.add_stream(StreamConfig(name="orders", subjects=["orders.>"], num_replicas=3))
    for number in range(20):
        await publish(client, "orders.new", str(number).encode(), str(number))

    info = await stream.stream_info("orders")
    assert info.cluster is not None
    assert info.cluster.leader is not None
    servers.kill(info.cluster.leader)
    for number in range(20, 40):
        await publish(client, "orders.new", str(number).encode(), str(number))

    assert (await stream.stream_info("orders")).state.messages == 40
    servers.start(info.cluster.leader)
    await servers.wait_whole()
