"""One run: events into a stream, the bare client's turn, then the dispatchers', who are killed while the endpoint fails, hangs and goes
away."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client as Nats
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import StreamConfig

from baas_operator.api.queue import EventQueueSpec
from baas_operator.dead_letters.letter import delivered_message, read_letter
from baas_operator.desired.queue.dead_letters import dead_letter_stream, dead_letter_stream_config, dead_letters_of
from baas_operator.jetstream.requests import call
from bench.webhooks import verdict
from bench.webhooks.behaviour import Behaviour
from bench.webhooks.endpoint import PATH
from bench.webhooks.event import body, number
from bench.webhooks.processes import STREAM, WEBHOOK, Dispatchers, control, start, wait_ready
from bench.webhooks.verdict import Ledger, Verdict
from tests.jetstream.harness.servers import Servers, free_ports, publish

SPEC = EventQueueSpec.model_validate({
    "streams": [{"name": STREAM, "subjects": ["events.>"], "duplicateWindowSeconds": 600}],
    "webhooks": [{"name": WEBHOOK, "stream": STREAM, "url": "https://bench.example"}],
})  # fmt: skip
"""What the operator would be asked for: the dead letters' stream is made as it makes it."""
DEAD = dead_letter_stream(STREAM)
PUBLISHING = 100
"""Messages under way at a time while the stream is filled."""
LOOK_SECONDS = 1.0
RETRY_SECONDS = (1, 2, 5, 10, 20, 30, 30, 30)
"""Short, as a run has no days: what the promise is about is that an attempt follows, not when."""
Note = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is done. `timeout_seconds`: for how long a sender waits for an answer; the endpoint hangs for longer. `away_after`: part of the
    events that are taken when the endpoint goes away."""

    events: int = 100_000
    bare_events: int = 20_000
    dispatchers: int = 2
    concurrency: int = 200
    timeout_seconds: int = 2
    kill_every_seconds: float = 20.0
    away_after: float = 0.3
    away_seconds: float = 60.0
    most_seconds: float = 3600.0
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def hang_seconds(self) -> float:
        return self.timeout_seconds + 3.0


async def run(plan: Plan, servers: Servers, folder: Path, address: str, note: Note) -> Verdict:
    """Carry it out on servers that run.

    Raises:
        TimeoutError: it did not come to its end in time. RuntimeError: a process ended by itself.
    """
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    port, control_port = free_ports(2)
    endpoint = start("endpoint", {
        "host": address, "port": port, "control": control_port, "secret": secret, "hang_seconds": plan.hang_seconds,
        "behaviour": asdict(plan.behaviour),
    })  # fmt: skip
    url = f"http://{address}:{port}{PATH}"
    dispatchers = Dispatchers(folder, told(plan, servers, url), secret, plan.dispatchers)
    try:
        await wait_ready(control_port)
        client = await servers.connect()
        note(f"{plan.events} events go into the stream")
        await fill(client, plan.events)
        note(f"the bare client posts {plan.bare_events} of them")
        bare = await bare_rate(plan, url, secret, control_port)
        note(f"{bare:.0f} events a second; the dispatchers' turn")
        await control(control_port, "/anew", post=True)
        began = time.monotonic()
        dispatchers.start()
        await attack(plan, dispatchers, client, control_port, note)
        ledger = verdict.ledger_of(await control(control_port, "/ledger"))
        dead = await dead_letters(client)
        await client.close()
        return verdict.judge(plan.events, ledger, dead, began=began, kills=dispatchers.kills, bare=bare)
    finally:
        dispatchers.end()
        endpoint.kill()
        endpoint.wait()


def told(plan: Plan, servers: Servers, url: str) -> dict[str, Any]:
    """`dispatcher.json`."""
    webhook = {
        "name": WEBHOOK, "stream": STREAM, "url": url, "concurrency": plan.concurrency, "timeoutSeconds": plan.timeout_seconds,
        "retrySeconds": list(RETRY_SECONDS), "allowNetworks": [f"{url.split('/')[2].rpartition(':')[0]}/32"],
        "circuitBreaker": {"failures": 50, "openSeconds": 2},
    }  # fmt: skip
    return {
        "queue": "bench", "namespace": "bench", "host": "127.0.0.1", "port": next(iter(servers.client_ports.values())),
        "replicas": plan.dispatchers, "copies": len(servers.names), "webhooks": [webhook],
    }  # fmt: skip


async def fill(client: Nats, events: int) -> None:
    """Make the streams, and publish all events. Raises one of nats' errors."""
    stream = client.jetstream(timeout=30)
    await stream.add_stream(StreamConfig(name=STREAM, subjects=["events.>"], num_replicas=3, duplicate_window=600))
    config = dead_letter_stream_config(SPEC, SPEC.streams[0], dead_letters_of(SPEC)[STREAM])
    await call(client, f"$JS.API.STREAM.CREATE.{DEAD}", config, seconds=30)
    left = iter(range(events))

    async def work() -> None:
        for event in left:
            await publish(client, "events.created", body(event), f"event-{event}")

    await asyncio.gather(*(work() for _ in range(PUBLISHING)))


async def bare_rate(plan: Plan, url: str, secret: str, control_port: int) -> float:
    """Events a second of the bare client, with as many connections as all dispatchers together. Raises RuntimeError."""
    began = time.monotonic()
    process = start("bare", {
        "url": url, "secret": secret, "events": plan.bare_events, "concurrency": plan.dispatchers * plan.concurrency,
        "timeout_seconds": plan.timeout_seconds, "attempts": 1 + len(RETRY_SECONDS),
    })  # fmt: skip
    try:
        if await asyncio.to_thread(process.wait, plan.most_seconds) != 0:
            raise RuntimeError("The bare client ended by itself.")
    finally:
        process.kill()
    ledger: Ledger = verdict.ledger_of(await control(control_port, "/ledger"))
    return verdict.rate(ledger, plan.bare_events, began)


async def attack(plan: Plan, dispatchers: Dispatchers, client: Nats, control_port: int, note: Note) -> None:
    """Kill dispatchers, and have the endpoint go away, until every event has come to something."""
    began = killed = time.monotonic()
    gone = False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        if said := dispatchers.died():
            raise RuntimeError(f"A dispatcher ended by itself: {said}")
        taken = int((await control(control_port, "/progress"))["taken"])
        buried = (await client.jetstream(timeout=10).stream_info(DEAD)).state.messages
        if taken + buried >= plan.events and await settled(client):
            return
        if now > began + plan.most_seconds:
            raise TimeoutError(f"After {plan.most_seconds:.0f} s {taken} of {plan.events} events are taken, {buried} are dead letters.")
        if not gone and taken >= plan.away_after * plan.events:
            gone = True
            note(f"{taken} are taken; the endpoint goes away for {plan.away_seconds:.0f} s")
            await control(control_port, f"/away?seconds={plan.away_seconds}", post=True)
        if now > killed + plan.kill_every_seconds:
            killed = now
            await asyncio.to_thread(dispatchers.kill)
            note(f"killed for the {dispatchers.kills}. time; {taken} are taken, {buried} are dead letters")


async def settled(client: Nats) -> bool:
    """Whether no consumer of the stream has anything left."""
    found = await client.jetstream(timeout=10).consumers_info(STREAM)
    return bool(found) and not any((each.num_pending or 0) + (each.num_ack_pending or 0) for each in found)


async def dead_letters(client: Nats) -> list[tuple[int, str]]:
    """Event and reason of each dead letter."""
    stream = client.jetstream(timeout=10)
    consumer, found = await stream.pull_subscribe("", stream=DEAD), []
    left = (await stream.stream_info(DEAD)).state.messages
    while left > 0:
        try:
            got = await consumer.fetch(min(left, 500), timeout=10)
        except NatsTimeoutError as error:
            raise TimeoutError(f"{left} dead letters could not be read.") from error
        letters = [read_letter(delivered_message(message)) for message in got]
        found += [(number(each.payload or b""), each.reason) for each in letters if each]
        left -= len(got)
    return found
