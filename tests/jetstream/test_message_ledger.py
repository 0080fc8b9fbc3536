"""The client that keeps a ledger of messages, against real servers: it counts what happens, and each server's own copy is read."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as Nats

from baas_operator.jetstream.requests import call
from tests.chaos.ledger import messages
from tests.chaos.ledger.messages import Log
from tests.chaos.ledger.verdict import LEAST_ACKS, Gap, longest_gap
from tests.chaos.queue.outcome import judge
from tests.chaos.queue.stream import STREAM, create, work
from tests.jetstream.harness.servers import Servers

CLIENT = Path(messages.__file__).parent / "in_cluster" / "message_client.py"
WINDOW_SECONDS = 120.0


class Ledger:
    """The client as a process beside the servers, until the block ends."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder / "run"
        self.stuck: dict[str, str] = {}
        settings = work("run1", servers.urls) | {"folder": str(self.folder), "most_seconds": 120, "create": create()}
        self.process = subprocess.Popen([sys.executable, CLIENT, json.dumps(settings)])

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    async def steady(self, seconds: float, *, within: float = 60.0) -> None:
        """Until the probe has published for so long, from now on, without a gap of a second."""
        began, deadline = time.monotonic(), time.monotonic() + within
        while True:
            status = self._status()
            if status and status["at"] - max(status["steady_since"], began) >= seconds:
                return
            assert self.process.poll() is None, "the client ended"
            assert time.monotonic() < deadline, f"no steady publishing: {status}"
            await asyncio.sleep(0.1)

    def _status(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return None
        return found

    async def end(self) -> Log:
        (self.folder / "stop").touch()
        assert await asyncio.to_thread(self.process.wait, 60) == 0
        return messages.parse((self.folder / "log.jsonl").read_text().splitlines())

    def copies(self) -> dict[str, list[messages.Stored]]:
        """What each server has; `stuck` gets those that could not be read."""
        names = self.servers.names
        settings = {"verb": "read", "servers": self.servers.urls, "stream": STREAM, "run": "run1", "copies": names}
        done = subprocess.run([sys.executable, CLIENT, json.dumps(settings)], check=False, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        found, self.stuck = messages.copies_of(done.stdout, names)
        return found


@pytest.fixture
def ledger(servers: Servers, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(servers, tmp_path) as made:
        yield made


async def leader(client: Nats) -> str:
    return str((await call(client, f"$JS.API.STREAM.INFO.{STREAM}"))["cluster"]["leader"])


def gap(log: Log, since: float) -> Gap:
    return longest_gap(log, since)


async def test_nothing_is_lost_twice_or_out_of_order_when_the_leader_is_killed(servers: Servers, client: Nats, ledger: Ledger) -> None:
    await ledger.steady(3)
    led, began = await leader(client), time.monotonic()
    servers.kill(led)
    await ledger.steady(3)
    servers.start(led)
    healed = time.monotonic()
    await servers.wait_whole()
    await ledger.steady(2)
    log = await ledger.end()

    outcome = judge(
        "nats-kill",
        log,
        await asyncio.to_thread(ledger.copies),
        began=began,
        healed=healed,
        over=False,
        duplicate_window=WINDOW_SECONDS,
        loss_window=0.0,
    )
    print(outcome.told())
    assert outcome.acked > 3 * LEAST_ACKS
    assert outcome.client_errors > 0
    assert 0.5 < outcome.gap.seconds < 30
    assert [sentence for sentence in outcome.unsafe() if sentence != outcome.undetectable] == []
    assert log.left == 0


async def test_a_planned_move_of_the_leader_is_a_short_gap(servers: Servers, client: Nats, ledger: Ledger) -> None:
    await ledger.steady(3)
    led, began = await leader(client), time.monotonic()
    assert (await call(client, f"$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}"))["success"]
    await ledger.steady(3)
    log = await ledger.end()

    print(f"\n{gap(log, began).seconds:.2f} s, doubts: {[each.error for each in log.doubts][:5]}")
    assert await leader(client) != led
    assert gap(log, began).seconds < 10
    assert {len(messages.lost(log, copy)) for copy in (await asyncio.to_thread(ledger.copies)).values()} == {0}


async def test_a_message_that_rots_on_one_servers_disk_is_found_there_and_nowhere_else(
    servers: Servers, client: Nats, ledger: Ledger, tmp_path: Path
) -> None:
    await ledger.steady(2)
    log = await ledger.end()
    led = await leader(client)
    victim = next(name for name in servers.names if name != led)
    servers.kill(victim, signal.SIGTERM)  # so that it trusts what it wrote, and does not read all of it when it starts
    (block,) = (tmp_path / victim).glob(f"jetstream/*/streams/{STREAM}/msgs/*.blk")
    content = bytearray(block.read_bytes())
    at = content.index(log.acks[10].checksum.encode()) + 50  # in the payload, which comes after the headers
    content[at] ^= 1
    block.write_bytes(content)
    servers.start(victim)
    await servers.wait_whole()

    copies = await asyncio.to_thread(ledger.copies)

    assert {name: [ack.id for ack in messages.lost(log, copy)] for name, copy in copies.items() if messages.lost(log, copy)} == {
        victim: [log.acks[10].id]
    }
    assert messages.unlike(copies) == 1
