"""What the operator asks of servers, over TLS and as the users that it has: streams as one, the servers themselves as the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from baas_operator.desired.queue import names
from baas_operator.engine import jetstream, monitor
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.policy.plan import Evacuate, QueueEffect, RemoveServer, StepDown
from tests.jetstream.streams.driver import settle, spec_of
from tests.jetstream.users.secured import HOST, Secured, secured

pytestmark = pytest.mark.asyncio
DEAD = {"maxDeliveries": 3, "maxSize": "32Mi"}
SPEC = spec_of(
    streams=[{"name": "orders", "subjects": ["orders.>"], "deadLetter": DEAD, "consumers": [{"name": "billing"}]}],
    keyValues=[{"name": "settings"}],
)


async def ask(servers: Secured, user: str, effect: QueueEffect, *, of: str = "nats-0") -> None:
    """As engine/effects.py does, but for the address."""
    login = servers.logins[user][0]
    async with jetstream.connect(
        "127.0.0.1", servers.client_ports[of], login.username, login.password, ca=servers.authority[0], name=HOST
    ) as connection:
        await jetstream.bring_about(connection, effect)


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(150):
        if await true():
            return
        await asyncio.sleep(0.2)
    raise AssertionError(what)


async def test_streams_are_kept_and_led_as_admin_and_moved_and_servers_struck_off_as_system(tmp_path: Path) -> None:
    with secured(tmp_path, SPEC) as servers:
        await servers.wait_whole()
        admin = await servers.connect()
        state = await settle(admin, SPEC)
        assert set(state.streams) == {"orders", "KV_settings", "BAAS_DEAD_orders", "BAAS_ADVISORIES"}

        to = next(each.server for each in state.streams["orders"].replicas)
        await ask(servers, names.ADMIN, StepDown(to, "orders"))
        await until(lambda: _leads(servers, to), f"{to} leads")
        with pytest.raises(JetStreamError, match="no suitable peers"):
            await ask(servers, names.SYSTEM, Evacuate("orders", to))  # it is allowed to ask; there is no fourth server

        meta = await monitor.nats_meta("127.0.0.1", servers.monitor_ports["nats-0"])
        assert meta
        heir = next(each for each in servers.names if each != meta.leader)
        with pytest.raises((JetStreamError, *Unreachable)):
            await ask(servers, names.ADMIN, StepDown(heir))  # the account of streams knows nothing of servers
        await ask(servers, names.SYSTEM, StepDown(heir))
        await until(lambda: _is_meta_leader(servers, heir), f"{heir} leads JetStream")

        gone = next(each for each in servers.names if each not in (heir, "nats-0"))
        await admin.close()
        servers.kill(gone)
        await until(lambda: _struck_off(servers, gone), f"{gone} is struck off")


async def _leads(servers: Secured, server: str) -> bool:
    login = servers.logins[names.ADMIN][0]
    async with jetstream.connect(
        "127.0.0.1", servers.client_ports["nats-0"], login.username, login.password, ca=servers.authority[0], name=HOST
    ) as connection:
        stream = (await jetstream.look(connection)).streams.get("orders")
        return stream is not None and stream.leader == server  # it is left out while they elect


async def _is_meta_leader(servers: Secured, server: str) -> bool:
    meta = await monitor.nats_meta("127.0.0.1", servers.monitor_ports[server])
    return bool(meta and meta.leader == server)


async def _struck_off(servers: Secured, server: str) -> bool:
    try:
        await ask(servers, names.SYSTEM, RemoveServer(server))
    except (JetStreamError, *Unreachable):
        return False
    for each in servers.names:
        if each != server and (meta := await monitor.nats_meta("127.0.0.1", servers.monitor_ports[each])) and meta.replicas:
            return server not in meta.servers()
    return False
