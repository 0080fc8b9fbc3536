"""What a server leads is moved away before it ends, and what clients feel of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client as Nats
from nats.js.api import ConsumerConfig, StreamConfig

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue import names
from baas_operator.desired.queue.servers import RETIRE
from baas_operator.jetstream.requests import Unreachable
from baas_operator.jetstream.tasks import end
from baas_operator.queue_agent import retire
from baas_operator.queue_agent.cluster import META, Cluster, Key
from tests.jetstream.harness.servers import program
from tests.jetstream.queue_agent.beside import Beside, beside, until
from tests.jetstream.users.secured import Secured, secured

SPEC = EventQueueSpec()
STREAMS = [f"orders{number}" for number in range(6)]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Secured]:
    with secured(tmp_path, SPEC) as made:
        asyncio.run(made.wait_whole())
        yield made


async def make_streams(client: Nats) -> None:
    stream = client.jetstream(timeout=10)
    for name in STREAMS:
        await stream.add_stream(StreamConfig(name=name, subjects=[f"{name}.>"], num_replicas=3))
        await stream.add_consumer(name, ConsumerConfig(durable_name="billing", ack_policy="explicit"))  # type: ignore[arg-type]


class Gap:
    """Publishes to a stream all the time, and notes for how long nothing was acknowledged at the most."""

    def __init__(self, client: Nats, stream: str) -> None:
        self._client = client
        self._stream = stream
        self.longest = 0.0
        self.acknowledged: set[int] = set()

    async def run(self) -> None:
        number, last = 0, time.monotonic()
        while True:
            try:
                await self._client.jetstream().publish(
                    f"{self._stream}.new", str(number).encode(), timeout=0.25, headers={"Nats-Msg-Id": f"{id(self)}-{number}"}
                )
            except nats.errors.Error:
                continue
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now
            self.acknowledged.add(number)
            number += 1
            await asyncio.sleep(0.002)


@asynccontextmanager
async def publishing(servers: Secured, stream: str, avoid: str) -> AsyncIterator[Gap]:
    """To the two servers that stay, so that only the stream's move is felt, not the client's own."""
    client = await servers.connect(servers=[url for name, url in zip(servers.names, servers.urls, strict=True) if name != avoid])
    gap = Gap(client, stream)
    running = asyncio.create_task(gap.run())
    try:
        yield gap
    finally:
        await end([running])
        await client.close()


async def gather_leaders(servers: Secured, agent: Beside, admin: Nats, on: str) -> None:
    """Have a server lead all streams, their consumers, and the metadata."""
    system = await servers.connect(names.SYSTEM)
    body = f'{{"placement":{{"preferred":"{on}"}}}}'.encode()

    async def all_there() -> bool:
        try:
            cluster = await agent.agent.server.look()
        except Unreachable:
            return False  # the agent's first reload turns away whoever is just coming in (nats-server 2.14.10, `reloadAuthorization`)
        for key, group in cluster.groups.items():
            if group.leader != on:
                subject = "META.LEADER.STEPDOWN"
                if key.stream:
                    subject = f"STREAM.LEADER.STEPDOWN.{key.stream}"
                if key.consumer:
                    subject = f"CONSUMER.LEADER.STEPDOWN.{key.stream}.{key.consumer}"
                await (admin if key.stream else system).request(f"$JS.API.{subject}", body, timeout=3)
        await asyncio.sleep(0.3)
        return cluster.complete() and len(cluster.leads(on)) == 2 * len(STREAMS) + 1 and not cluster.behind(on)

    await until(all_there, f"{on} leads all")
    await system.close()


def hook(servers: Secured, name: str) -> subprocess.Popen[bytes]:
    """The preStop hook as the kubelet runs it, on the test's paths."""
    script = RETIRE.replace(names.RUN_DIR, str(servers.home(name) / "run"))
    return subprocess.Popen(["sh", "-c", script], env={**os.environ, "PATH": f"{program().parent}:{os.environ['PATH']}"})


async def whole_again(servers: Secured, name: str) -> None:
    servers.reap(name)
    for file in (names.RETIRE_FILE, names.RETIRING_FILE, names.RETIRED_FILE):
        (servers.home(name) / "run" / file).unlink(missing_ok=True)
    servers.start(name)
    await servers.wait_whole()


async def test_the_hook_moves_all_leaders_and_writes_hardly_stop(servers: Secured, capsys: pytest.CaptureFixture[str]) -> None:
    admin = await servers.connect(servers=[servers.urls[1]])
    await make_streams(admin)
    table: dict[str, float] = {}
    async with beside(servers, "nats-0") as agent:
        for way in ("handed over", "lame duck alone", "SIGKILL"):
            await gather_leaders(servers, agent, admin, "nats-0")
            assert agent.agent.server.name == "nats-0"
            async with publishing(servers, STREAMS[0], "nats-0") as gap:
                await asyncio.sleep(0.5)
                gap.longest = 0.0
                if way == "handed over":
                    started, running = time.monotonic(), hook(servers, "nats-0")

                    async def ended(running: subprocess.Popen[bytes] = running) -> bool:
                        return running.poll() is not None

                    await until(ended, "the hook")
                    assert running.returncode == 0
                    assert time.monotonic() - started < 10
                elif way == "lame duck alone":
                    servers.signal("nats-0", signal.SIGUSR2)
                else:
                    servers.signal("nats-0", signal.SIGKILL)
                await asyncio.sleep(1)

                async def flows(gap: Gap = gap) -> bool:
                    before = len(gap.acknowledged)
                    await asyncio.sleep(0.5)
                    return len(gap.acknowledged) > before + 20

                await until(flows, "writes")
                table[way] = gap.longest
            await whole_again(servers, "nats-0")
            assert (await admin.jetstream().stream_info(STREAMS[0])).state.messages >= len(gap.acknowledged)
            await admin.jetstream().purge_stream(STREAMS[0])
    await admin.close()
    with capsys.disabled():
        print("\nlongest gap of writes:", {way: f"{seconds:.2f} s" for way, seconds in table.items()})
    assert table["handed over"] < 1.0


async def test_when_it_is_done_the_server_leads_nothing(servers: Secured) -> None:
    admin = await servers.connect(servers=[servers.urls[1]])
    await make_streams(admin)
    async with beside(servers, "nats-0") as agent:
        await gather_leaders(servers, agent, admin, "nats-0")
        (servers.home("nats-0") / "run" / names.RETIRE_FILE).touch()

        async def done() -> bool:
            return (servers.home("nats-0") / "run" / names.RETIRED_FILE).exists()

        await until(done, "the move")
        cluster = await agent.agent.server.look()
        assert cluster.leads("nats-0") == []
        leaders = [group.leader for group in cluster.groups.values()]
        assert abs(leaders.count("nats-1") - leaders.count("nats-2")) <= 3, "both took about the same"
        assert agent.agent.leads() == {"meta": 0, "stream": 0, "consumer": 0} or (await agent.status())
    await admin.close()


async def test_a_hook_without_an_agent_goes_on_soon_and_a_server_without_a_majority_is_let_go(
    servers: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retire, "GIVEN_UP_SECONDS", 3.0)
    admin = await servers.connect(servers=[servers.urls[0]])
    await make_streams(admin)
    started, running = time.monotonic(), hook(servers, "nats-2")
    assert await asyncio.to_thread(running.wait, 20) == 0
    assert 4 < time.monotonic() - started < 9

    async with beside(servers, "nats-0") as agent:
        servers.signal("nats-1", signal.SIGSTOP)
        try:
            (servers.home("nats-0") / "run" / names.RETIRE_FILE).touch()

            async def done() -> bool:
                return (servers.home("nats-0") / "run" / names.RETIRED_FILE).exists()

            took = await until(done, "the end of waiting")
            assert took > 2.5, "it was worth waiting for"
        finally:
            servers.signal("nats-1", signal.SIGCONT)
        assert not agent.agent.retirement.under_way
    await admin.close()


def test_nobody_is_a_successor_who_lacks_something() -> None:
    from baas_operator.queue_agent.cluster import Copy, Group

    held = {name: frozenset([META]) for name in ("a", "b", "c")}
    key = Key("APP", "orders")
    groups = {key: Group("a", (Copy("b", False, 3), Copy("c", True)))}
    assert retire.successors(Cluster(groups, held, {}, 3), "a") == {key: "c"}
    groups = {key: Group("a", (Copy("b", True), Copy("c", True)))}
    assert retire.successors(Cluster(groups, held, {"a": "z1", "b": "z1", "c": "z2"}, 3), "a") == {key: "c"}
    assert retire.successors(Cluster({key: Group("a", (Copy("b", False, 3),))}, held, {}, 3), "a") == {}
    assert shutil.which("sh")
