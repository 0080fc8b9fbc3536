"""Pods of a component come and go behind a gateway: rolled, scaled, killed, frozen, and with the cluster's DNS away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from baas_operator.desired.instance.gateway import GatewayInput, Route, Upstream
from tests.backend.gateway.harness.envoy import Gateway
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.load import load
from tests.backend.gateway.harness.names import Names, names
from tests.backend.gateway.harness.upstream import StandIn
from tests.jetstream.harness.servers import free_ports

PODS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
FOUND_SECONDS = 3.0
OUT_SECONDS = 3.5
DRAIN_SECONDS = 4.0
"""How long a pod goes on serving after it left DNS; its preStop is twice that."""


@dataclass
class Cluster:
    gateway: Gateway
    dns: Names
    pods: list[StandIn]
    running: list[AsyncExitStack]
    url: str
    headers: dict[str, str]

    async def end(self, index: int) -> None:
        await self.running[index].aclose()


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    key, (port,) = Key("first"), free_ports(1)
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(names(*PODS[:2]))
        pods = [StandIn(address, port, address=address) for address in PODS]
        running = [await stack.enter_async_context(AsyncExitStack()) for _ in pods]
        for pod, own in zip(pods, running, strict=True):
            await own.enter_async_context(pod.running())
        given = GatewayInput(
            upstreams=(Upstream("rest", "rest.ns.svc", port, port, "/health", priority=0),),
            routes=(Route("/rest/v1/", "rest", "api-key"),), jwks=key_set(key), issuer=ISSUER,
        )  # fmt: skip
        gateway = Gateway(tmp_path, given, bootstrap=dns.asked_by)
        gateway.start()
        stack.callback(gateway.stop)
        await gateway.wait()
        yield Cluster(gateway, dns, pods, running, f"{gateway.url}/rest/v1/notes", {"apikey": key.token("anon")})


async def test_a_rolled_pod_is_left_before_it_goes_and_a_new_one_is_found(cluster: Cluster) -> None:
    async with load(cluster.url, headers=cluster.headers, reads=30, writes=20) as made:
        await asyncio.sleep(1)
        cluster.dns.addresses = [*PODS]
        await asyncio.sleep(FOUND_SECONDS)
        assert cluster.pods[2].seen, "the new pod gets requests"
        cluster.dns.addresses = [*PODS[1:]]  # told to go, and still well
        await asyncio.sleep(DRAIN_SECONDS)
        before = len(cluster.pods[0].seen)
        await asyncio.sleep(0.5)
        assert len(cluster.pods[0].seen) == before, "a pod that is to go gets no more requests"
        await cluster.end(0)
        await asyncio.sleep(1)
    assert not made.bad(), made.bad()[:3]


async def test_without_dns_all_goes_on(cluster: Cluster) -> None:
    cluster.dns.silent = True
    async with load(cluster.url, headers=cluster.headers, reads=30, writes=20) as made:
        await asyncio.sleep(8)
    assert not made.bad(), made.bad()[:3]


async def test_a_pod_that_is_killed_costs_only_writes_that_were_under_way(cluster: Cluster) -> None:
    async with load(cluster.url, headers=cluster.headers, reads=30, writes=20) as made:
        await asyncio.sleep(1)
        killed = time.monotonic()
        cluster.pods[0].abort()
        await cluster.end(0)
        await asyncio.sleep(4)
    assert not made.bad("GET"), made.bad("GET")[:3]
    assert not [each for each in made.bad("POST") if each.began > killed + 0.5], made.bad("POST")[:3]
    assert len(made.bad("POST")) <= 2


async def test_a_pod_that_freezes_is_out_within_seconds(cluster: Cluster) -> None:
    """As a node without power does: nothing is refused, nothing is answered."""
    async with load(cluster.url, headers=cluster.headers, reads=30, writes=20) as made:
        await asyncio.sleep(1)
        frozen = time.monotonic()
        cluster.pods[0].slow = cluster.pods[0].silent = 10
        await asyncio.sleep(6)
    late = [each for each in made.answers if each.began > frozen + OUT_SECONDS]
    assert late
    assert max(each.seconds for each in late) < 1
    assert not [each for each in late if each.status != 200]
