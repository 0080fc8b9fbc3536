"""A gateway pod goes: its clients keep their connections for as long as they like, and lose no request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp

from baas_operator.desired.instance.gateway import drain_path
from tests.backend.gateway.conftest import Build
from tests.backend.gateway.harness.envoy import Gateway, running
from tests.backend.gateway.harness.load import Answer, Load, ask

LARGE_BYTES = 16_000_000
"""More than kernels keep for a client that does not read."""


class Balancer:
    """A stand-in of a Service: connections, not requests, go to one of the gateways that are listed at the time."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self._turn = 0

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.ports[self._turn % len(self.ports)])
        await asyncio.gather(self._pipe(reader, far_writer), self._pipe(far_reader, writer))


async def drained_by(gateway: Gateway, session: aiohttp.ClientSession) -> Answer:
    """What preStop is answered, once it is."""
    return await ask(session, "GET", gateway.health_url + drain_path("of-this-pod"))


async def test_a_pod_that_goes_loses_no_request_of_clients_that_keep_their_connections(
    build: Build, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    world = await build(drain_seconds=3)
    with running(tmp_path / "second", world.given) as other:
        await other.wait()
        first = world.gateway
        ports = [each.given.ports.http for each in (first, other)]
        balancer = Balancer(ports)
        server = await asyncio.start_server(balancer.handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/rest/v1/notes"
        made, over = Load(), asyncio.Event()

        async def client(session: aiohttp.ClientSession, method: str) -> None:
            while not over.is_set():
                made.answers.append(await ask(session, method, url))
                await asyncio.sleep(0.02)

        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        async with aiohttp.ClientSession(headers=world.anon, connector=connector) as session:
            clients = [asyncio.create_task(client(session, method)) for method in ("GET", "POST") * 10]
            await asyncio.sleep(1)
            drain = asyncio.create_task(drained_by(first, session))
            await asyncio.sleep(0.5)
            assert (await ask(session, "GET", f"{first.health_url}/ready")).status == 503
            balancer.ports = ports[1:]  # Kubernetes takes a while to take a pod off a Service
            answered = await drain
            first.terminate()
            gone = time.monotonic()
            await asyncio.sleep(1)
            over.set()
            await asyncio.gather(*clients)
        server.close()
    assert answered.status == 200
    assert 4.9 < answered.seconds < 7, "preStop ends when the drain does, and what the kernel still had went out"
    after = [each for each in made.answers if each.began > gone]
    figure(f"{len(made.answers)} requests of 20 clients, {len(after)} after the pod was gone, {len(made.bad())} failed")
    assert after
    assert not made.bad(), made.bad()[:3]


async def test_a_drain_waits_for_what_is_under_way(build: Build) -> None:
    """A large file, say; a WebSocket is not waited for."""
    world = await build(drain_seconds=1, finish_seconds=20)
    socket = f"{world.gateway.url}/realtime/v1/socket?apikey={world.key.token('anon')}"
    async with aiohttp.ClientSession(headers=world.anon) as session, session.ws_connect(socket) as heard:
        slow = asyncio.create_task(ask(session, "POST", f"{world.gateway.url}/rest/v1/notes?sleep=4"))
        await asyncio.sleep(0.3)
        drained = await drained_by(world.gateway, session)
        assert slow.done()
        await heard.send_str("hello")
        assert (await heard.receive(timeout=5)).data == "other heard hello"
    assert (await slow).status == 200
    assert drained.status == 200
    assert 5.5 < drained.seconds < 8


async def test_a_drain_waits_for_a_client_that_reads_slowly(build: Build) -> None:
    world = await build(drain_seconds=1, finish_seconds=20)
    async with aiohttp.ClientSession(headers=world.anon, read_bufsize=4096) as session:
        async with session.get(f"{world.gateway.url}/rest/v1/notes?bulk={LARGE_BYTES}") as slow:
            drain = asyncio.create_task(drained_by(world.gateway, session))
            await asyncio.sleep(5)
            assert not drain.done()
            assert len(await slow.read()) > LARGE_BYTES
        assert (await drain).status == 200


async def test_a_drain_does_not_wait_for_good(build: Build) -> None:
    world = await build(drain_seconds=1, finish_seconds=2)
    async with aiohttp.ClientSession(headers=world.anon) as session:
        slow = asyncio.create_task(ask(session, "POST", f"{world.gateway.url}/rest/v1/notes?sleep=6"))
        await asyncio.sleep(0.3)
        drained = await drained_by(world.gateway, session)
        assert not slow.done()
        assert (drained.status, round(drained.seconds)) == (504, 3)
        await slow


async def test_without_the_drain_requests_are_lost(build: Build) -> None:
    """So the test before can fail: the same, but the pod just ends."""
    world = await build()
    made, over = Load(), asyncio.Event()
    async with aiohttp.ClientSession(headers=world.anon) as session:

        async def client() -> None:
            while not over.is_set():
                made.answers.append(await ask(session, "POST", f"{world.gateway.url}/rest/v1/notes?sleep=0.1"))
                await asyncio.sleep(0.01)

        clients = [asyncio.create_task(client()) for _ in range(5)]
        await asyncio.sleep(0.5)
        world.gateway.terminate()
        await asyncio.sleep(0.2)
        over.set()
        await asyncio.gather(*clients)
    assert made.bad()


async def test_who_does_not_know_the_path_cannot_drain_a_gateway(build: Build) -> None:
    world = await build()
    for path in ("/drain", "/drain/", "/drain/x", "/healthcheck/fail", "/quitquitquit", "/admin", "/drain_listeners", "/config_dump"):
        for method in ("GET", "POST"):
            assert (await ask(world.session, method, world.gateway.health_url + path)).status == 404, path
    assert (await ask(world.session, "GET", f"{world.gateway.health_url}/ready")).status == 200
    assert (await ask(world.session, "GET", world.gateway.url + drain_path("of-this-pod"))).status == 404


async def test_a_gateway_has_started_only_once_it_found_a_component(build: Build, tmp_path: Path) -> None:
    world = await build()
    world.rest.well = world.reads.well = False
    with running(tmp_path / "second", world.given) as other:
        await other.wait("/ready")
        await asyncio.sleep(0.5)
        assert (await ask(world.session, "GET", f"{other.health_url}/started")).status == 503
        world.reads.well = True
        await other.wait("/started", seconds=5)
    without = replace(world.given, upstreams=tuple(replace(each, fallback=None) for each in world.given.upstreams if each.name != "reads"))
    with running(tmp_path / "third", without) as other:
        await other.wait("/ready")
        assert (await ask(world.session, "GET", f"{other.health_url}/started")).status == 503
