"""Servers with a stream, seen as the operator sees them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from nats.aio.client import Client as Nats
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.desired.queue import names
from baas_operator.engine import jetstream, monitor
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.observe.queue import JetStreamState, QueueObservation, observe_queue
from baas_operator.observe.view import View
from tests.jetstream.harness.servers import Servers, publish, running
from tests.jetstream.streams.driver import SYSTEM, until_level
from tests.unit.objects import NOW, keyed, nodes, own, owner, pod

ORDERS = {"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}]}


class Cluster:
    """Servers with NATS' own account, seen as the operator sees them."""

    def __init__(self, servers: Servers, folder: Path, client: Nats, system: Nats) -> None:
        self.servers, self.folder, self.client, self.system = servers, folder, client, system
        self.published = 0

    async def publish(self, count: int = 20) -> None:
        for _ in range(count):
            await publish(self.client, "orders.new", b"x", str(self.published))
            self.published += 1

    async def look(self) -> JetStreamState:
        """What the operator sees, once there is a leader again."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((JetStreamError, *Unreachable)), stop=stop_after_delay(30), wait=wait_fixed(0.2)
        ):
            with attempt:
                return await self._look()
        raise AssertionError("unreachable")

    async def _look(self) -> JetStreamState:
        said = {name: await monitor.nats_meta("127.0.0.1", port) for name, port in self.servers.monitor_ports.items()}
        meta = next((each for name, each in said.items() if each and each.leader == name), None)  # the leader's own word alone
        state = await jetstream.look(self.client)
        return JetStreamState(meta.leader if meta else None, state.streams, silent=state.silent, meta=meta)

    def wipe(self, name: str) -> None:
        """What a volume that is gone with its node leaves."""
        shutil.rmtree(self.folder / name)

    async def view(self, replicas: int, there: list[str]) -> tuple[View, QueueObservation]:
        whose = owner(EVENT_QUEUE, "nats")
        zones = {self.servers.zone(name) for name in self.servers.names}
        pods = [pod(whose, name, names.COMPONENT, on=f"node-{self.servers.zone(name)}") for name in there]
        view = View(
            resource=own(EVENT_QUEUE, "nats", {"replicas": replicas}), children=keyed(*pods), nodes=nodes(*sorted(zones)), now=NOW,
            external=await self.look(),
        )  # fmt: skip
        return view, observe_queue(view)

    async def ledger(self) -> None:
        """Every acknowledged message is there."""
        state = await until_level(self.client)
        assert state.streams["orders"].messages == self.published


async def clustered(folder: Path, count: int, zones: Sequence[str] = ()) -> AsyncIterator[Cluster]:
    tags = {f"nats-{number}": ["keeps"] for number in (0, 3, 4)}
    with running(folder, count=count, more=SYSTEM, tags=tags, zones=zones) as servers:
        await servers.wait_whole()
        client = await servers.connect(user="admin", password="a")
        system = await servers.connect(user="system", password="s")
        try:
            yield Cluster(servers, folder, client, system)
        finally:
            await client.close()
            await system.close()
