"""A stream that gets more copies: each of them comes to know of all the others, whoever leads. What 2.14.10 does by itself is pinned."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio
from nats.aio.client import Client as Nats

from baas_operator.api.queue import EventQueueSpec
from baas_operator.engine import jetstream
from baas_operator.observe.queue import JetStreamState, QueueObservation, Server
from baas_operator.policy.plan import StepDown
from baas_operator.policy.queue.forgotten import forgotten
from tests.jetstream.harness.servers import Servers, publish
from tests.jetstream.queue_agent.beside import beside, until
from tests.jetstream.streams.driver import until_level
from tests.jetstream.users.secured import Secured, secured

ORDERS = {"name": "orders", "subjects": ["orders.>"], "num_replicas": 3, "storage": "file"}


@pytest_asyncio.fixture
async def five(tmp_path: Path) -> AsyncIterator[Secured]:
    with secured(tmp_path, EventQueueSpec(replicas=5)) as servers:
        await servers.wait_whole()
        yield servers


def sizes(servers: Servers) -> dict[str, int]:
    """Of how many copies of the stream each server that has one knows, by its own Raft group."""
    found = {}
    for name, port in servers.monitor_ports.items():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/raftz?acc=APP", timeout=5) as answer:
            groups = json.load(answer).get("APP") or {}
        for group, each in groups.items():
            if group.startswith("S-"):
                found[name] = int(each["size"])
    return found


async def grown(servers: Secured, client: Nats) -> tuple[JetStreamState, list[str]]:
    """From three copies to five, all level; and the new ones."""
    await jetstream.ensure_stream(client, ORDERS, exists=False)
    for number in range(20):
        await publish(client, "orders.new", b"x", str(number))
    before = (await until_level(client)).streams["orders"].group.servers()
    await jetstream.ensure_stream(client, {"name": "orders", "num_replicas": 5}, exists=True)

    async def whole() -> bool:
        return len((await until_level(client)).streams["orders"].group.servers()) == 5

    await until(whole, "five copies")
    return await until_level(client), [each for each in servers.names if each not in before]


async def test_copies_that_a_new_leader_forgot_are_there_again_once_they_are_asked_for(five: Secured) -> None:
    client = await five.connect()
    _, new = await grown(five, client)
    assert set(sizes(five).values()) == {3, 5}, "if all know of five, NATS does it by itself now: sealing and forgetting can go"
    await jetstream.bring_about(client, StepDown(new[0], "orders"))

    async def forgot() -> bool:
        stream = (await until_level(client)).streams["orders"]
        return stream.leader == new[0] and len(stream.group.servers()) == 4

    await until(forgot, "a new copy that leads")
    there = tuple(Server(name=each, ready=True) for each in five.names)

    async def asked() -> bool:
        for effect in forgotten(QueueObservation(there, await jetstream.look(client))):
            await jetstream.bring_about(client, effect)
        return len((await until_level(client)).streams["orders"].group.servers()) == 5

    await until(asked, "all copies, asked for anew")
    await until(lambda: asyncio.to_thread(lambda: set(sizes(five).values()) == {5}), "all know of all")
    assert (await until_level(client)).streams["orders"].messages == 20
    await client.close()


async def test_agents_have_all_copies_know_of_all_before_a_new_one_leads(five: Secured) -> None:
    client = await five.connect()
    async with AsyncExitStack() as stack:
        for name in five.names:
            await stack.enter_async_context(beside(five, name))
        _, new = await grown(five, client)
        await until(lambda: asyncio.to_thread(lambda: set(sizes(five).values()) == {5}), "all know of all", 60)
        await jetstream.bring_about(client, StepDown(new[0], "orders"))

        async def leads() -> bool:
            return (await until_level(client)).streams["orders"].leader == new[0]

        await until(leads, "a new copy that leads")
        await asyncio.sleep(2)  # what it would have forgotten it forgets at once
        assert len((await until_level(client)).streams["orders"].group.servers()) == 5
        assert set(sizes(five).values()) == {5}
    await client.close()
