"""A server that is cut off from the others sends its clients away, and nobody else does."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from nats.js.api import StreamConfig

from baas_operator.api.queue import EventQueueSpec
from tests.jetstream.queue_agent.beside import beside, until
from tests.jetstream.users.secured import secured


async def _told(sent: list[str], before: int) -> bool:
    return len(sent) > before


async def test_clients_of_a_server_that_hears_no_other_are_sent_away(tmp_path: Path) -> None:
    sent: list[str] = []

    async def gone() -> None:
        sent.append("gone")

    with secured(tmp_path, EventQueueSpec()) as servers:
        await servers.wait_whole()
        client = await servers.connect(servers=servers.urls[:1], disconnected_cb=gone)
        await client.jetstream(timeout=10).add_stream(StreamConfig(name="orders", subjects=["orders.>"], num_replicas=3))
        async with beside(servers, "nats-0") as agent:
            await until(lambda: agent.ready(200), "all level")
            assert not sent
            for name in ("nats-1", "nats-2"):
                servers.signal(name, signal.SIGSTOP)
            try:
                took = await until(lambda: _told(sent, 0), "the client is sent away")
                print(f"\nsent away after {took:.1f} s")
                before = len(sent)
                await until(lambda: _told(sent, before), "it came back to where it is of no use, and is sent away again")
                assert (await agent.get("/livez"))[0] == 200
            finally:
                for name in ("nats-1", "nats-2"):
                    servers.signal(name, signal.SIGCONT)
            await until(lambda: agent.ready(200), "the others are back")
            settled = len(sent)
            await asyncio.sleep(5)
            assert len(sent) == settled, "nobody is sent away any more"
            await client.jetstream(timeout=10).publish("orders.new", b"1")
        await client.close()
