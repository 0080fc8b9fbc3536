"""What is new reaches a running server, and clients notice nothing of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client as Nats
from nats.js.api import ConsumerConfig, StreamConfig

from baas_operator.api.queue import EventQueueSpec, QueueDurability
from baas_operator.desired.queue import names
from baas_operator.desired.queue.users import Login
from tests.jetstream.queue_agent.beside import Beside, beside, bring_users, until
from tests.jetstream.users.secured import Secured, secured

SPEC = EventQueueSpec.model_validate({
    "streams": [{"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}]}],
    "users": [{"name": "shop", "publish": ["orders.>"]}, {"name": "billing", "consume": ["orders"]}],
})  # fmt: skip


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Secured]:
    with secured(tmp_path, SPEC) as made:
        asyncio.run(made.wait_whole())
        yield made


async def lets_in(servers: Secured, name: str, login: Login) -> bool:
    url = f"tls://127.0.0.1:{servers.client_ports[name]}"
    try:
        client = await servers.connect(login=login, servers=[url], allow_reconnect=False, max_reconnect_attempts=0, connect_timeout=2)
    except nats.errors.Error:
        return False
    await client.close()
    return True


async def _serial(servers: Secured, name: str) -> bytes:
    client = await servers.connect(servers=[f"tls://127.0.0.1:{servers.client_ports[name]}"])
    try:
        transport: Any = client._transport._io_writer  # type: ignore[union-attr]
        found: ssl.SSLObject = transport.get_extra_info("ssl_object")
        shown = found.getpeercert(binary_form=True)
        assert shown
        return shown
    finally:
        await client.close()


async def test_a_renewed_certificate_is_shown_and_connections_stay(servers: Secured) -> None:
    async with beside(servers, "nats-0") as agent:
        await until(_reloads(agent, 1), "the first load")
        client = await servers.connect(servers=[servers.urls[0].replace("nats:", "tls:")])
        before = await _serial(servers, "nats-0")
        servers.renew()
        await until(_reloads(agent, 2), "the certificate")
        assert await _serial(servers, "nats-0") != before
        assert client.is_connected
        assert client.stats["reconnects"] == 0
        await client.close()


async def test_a_configuration_that_is_refused_is_told_and_the_old_one_stays(servers: Secured) -> None:
    async with beside(servers, "nats-0") as agent:
        await until(_reloads(agent, 1), "the first load")
        path = servers.home("nats-0") / "config" / "accounts.conf"
        good = path.read_text()
        path.write_text(good.replace("SYS", "SYS {{", 1))
        await until(_refused(agent), "the refusal")
        said = await agent.status()
        assert "accounts.conf" in said["reloadRefused"]
        assert servers.logins["shop"][0].password not in said["reloadRefused"]
        assert "baas_queue_reload_refused 1.0" in (await agent.get("/metrics"))[1]
        assert await lets_in(servers, "nats-0", servers.logins["shop"][0])
        path.write_text(good)
        agent.agent.reloader._not_before = 0.0
        await until(_reloads(agent, 2), "the repaired configuration")
        assert (await agent.status())["reloadRefused"] is None


async def test_what_only_a_start_can_change_keeps_new_users_from_being_loaded(servers: Secured) -> None:
    """What 2.14.10 does, and why no password takes the place of another during a roll (policy/queue/rollout.py, `under_way`)."""
    async with beside(servers, "nats-0") as agent:
        await until(_reloads(agent, 1), "the first load")
        servers.spec = servers.spec.model_copy(update={"durability": QueueDurability.BALANCED})
        servers.logins["shop"] = (*servers.logins["shop"], Login("shop-alt", "2"))
        servers.write("nats-0")
        await until(_refused(agent), "the refusal")
        assert not await lets_in(servers, "nats-0", Login("shop-alt", "2"))
        servers.kill("nats-0")
        servers.start("nats-0")
        await servers.wait_whole()
        assert await lets_in(servers, "nats-0", Login("shop-alt", "2"))


def _reloads(agent: Beside, count: int) -> Any:
    async def done() -> bool:
        return agent.agent.reloader.reloads["taken"] >= count

    return done


def _refused(agent: Beside) -> Any:
    async def done() -> bool:
        return agent.agent.reloader.refused is not None

    return done


async def test_a_rotation_under_load_loses_no_message_and_turns_nobody_away(servers: Secured) -> None:
    """The Secret's two steps and the end of the overlap, with a publisher and a consumer that read it when they like."""
    admin = await servers.connect()
    stream = admin.jetstream()
    await stream.add_stream(StreamConfig(name="orders", subjects=["orders.>"], num_replicas=3))
    await stream.add_consumer("orders", ConsumerConfig(durable_name="billing", ack_policy="explicit", ack_wait=5))  # type: ignore[arg-type]
    stop, errors, read = asyncio.Event(), list[str](), set[int]()
    acknowledged = 0

    async def client(user: str) -> Nats:
        mine: Nats | None = None

        async def heard(error: Exception) -> None:
            # What the server still sends to a client that closes itself is told as a fault of TLS; nobody is turned away by it.
            if mine is None or not mine.is_closed:
                errors.append(str(error))

        mine = await servers.connect(user, error_cb=heard)
        return mine

    async def publish() -> None:
        nonlocal acknowledged
        mine = await client("shop")
        login = servers.logins["shop"][0]
        while not stop.is_set():
            if login != servers.logins["shop"][0]:  # as an application that sees that its Secret is another one
                await mine.close()
                login, mine = servers.logins["shop"][0], await client("shop")
            await mine.jetstream(timeout=5).publish("orders.new", str(acknowledged).encode(), headers={"Nats-Msg-Id": str(acknowledged)})
            acknowledged += 1
            await asyncio.sleep(0.005)
        await mine.close()

    async def consume() -> None:
        mine = await client("billing")
        login = servers.logins["billing"][0]
        while not publishing.done() or len(read) < acknowledged:
            if login != servers.logins["billing"][0]:
                await mine.close()
                login, mine = servers.logins["billing"][0], await client("billing")
            pull = await mine.jetstream().pull_subscribe_bind("billing", stream="orders")
            try:
                for message in await pull.fetch(50, timeout=1):
                    await message.ack()
                    read.add(int(message.data))
            except nats.errors.TimeoutError:
                pass
            await pull.unsubscribe()
        await mine.close()

    async with AsyncExitStack() as stack:
        agents = {name: await stack.enter_async_context(beside(servers, name)) for name in servers.names}
        publishing = asyncio.create_task(publish())
        work = [publishing, asyncio.create_task(consume())]

        async def bring(count: int) -> None:
            for name in servers.names:
                servers.write(name)
            for agent in agents.values():
                await until(_reloads(agent, count), f"load {count}")
            await asyncio.sleep(0.5)

        await bring(1)
        loads = max(agent.agent.reloader.reloads["taken"] for agent in agents.values())
        first = dict(servers.logins)
        rotated = ("shop", "billing", names.AGENT, names.AGENT_SYSTEM)
        following = {user: Login(names.other_slot(user), f"{user}-2") for user in rotated}
        # 1. The next password is learnt.
        servers.logins |= {user: (first[user][0], following[user]) for user in rotated}
        await bring(loads + 1)
        # 2. It is the Secret's; the one before still counts.
        servers.logins |= {user: (following[user], first[user][0]) for user in rotated}
        for name in servers.names:
            bring_users(servers, name)
        await asyncio.sleep(1)
        assert await lets_in(servers, "nats-1", first["shop"][0])
        # 3. The overlap ends.
        servers.logins |= {user: (following[user],) for user in rotated}
        await bring(loads + 2)
        assert not await lets_in(servers, "nats-1", first["shop"][0])
        assert await lets_in(servers, "nats-1", following["shop"])
        stop.set()
        await asyncio.wait_for(asyncio.gather(*work), 30)
        for agent in agents.values():
            assert (await agent.agent.server.look()).complete(), "the agents came in with their new passwords"

    assert errors == []
    assert acknowledged > 100
    assert read == set(range(acknowledged))
    assert (await stream.stream_info("orders")).state.messages == acknowledged
    await admin.close()
