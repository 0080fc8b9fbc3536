"""Dispatchers as their pods run them, with the rights that the operator gives them and nothing more: all of their tasks work, whichever
process is killed in the middle, and whatever else they would ask for is refused."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from nats.aio.client import Client as Nats

from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.webhooks import Webhook
from baas_operator.dead_letters.bury import fetch
from baas_operator.dead_letters.command import Place, write
from baas_operator.dead_letters.letter import DeadLetter, read_letter
from baas_operator.dead_letters.sweep import Sweeper
from baas_operator.desired.queue import names
from baas_operator.dispatcher import consumers
from baas_operator.jetstream.requests import call
from bench.webhooks.processes import own_address
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.whole import Pod, Whole, eventually, whole
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.users.secured import secured

NEVER = b"never"
"""A payload that the endpoint takes at no attempt."""


def spec_of(url: str, **more: Any) -> EventQueueSpec:
    hook = {
        "stream": "orders", "url": url, "timeoutSeconds": 1, "retrySeconds": [1], "allowNetworks": [f"{own_address()}/32"],
        "circuitBreaker": {"failures": 1000},
    }  # fmt: skip
    worker = {"name": "worker", "maxDeliveries": 1, "ackWaitSeconds": 1}
    return EventQueueSpec.model_validate({
        "replicas": 1,
        "streams": [
            {"name": "orders", "subjects": ["orders.>"]},
            {"name": "jobs", "subjects": ["jobs.>"], "retention": "workqueue", "deadLetter": {}, "consumers": [worker]},
            {"name": "news", "subjects": ["news.>"], "retention": "interest", "deadLetter": {}, "consumers": [worker]},
            {"name": "logs", "subjects": ["logs.>"], "deadLetter": {}, "consumers": [worker]},
            {"name": "rows", "subjects": ["rows.>"]},
            {"name": "hidden", "subjects": ["hidden.>"], "consumers": [worker]},
        ],
        "keyValues": [{"name": "settings"}],
        "webhooks": [hook | {"name": "plain"}, hook | {"name": "ordered", "ordering": {"by": "subject"}, "filters": ["orders.new"]}],
        "outboxes": [{"name": "shop", "databaseRef": {"name": "db"}, "database": "postgres", "stream": "rows"}],
    } | more)  # fmt: skip


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[HttpEndpoint]:
    made = HttpEndpoint(own_address())
    made.answer = lambda each: web.Response(status=500 if each.payload == NEVER else 204)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def dispatchers(tmp_path: Path, endpoint: HttpEndpoint) -> Iterator[Whole]:
    with secured(tmp_path, spec_of(endpoint.url)) as servers, whole(servers, tmp_path / "dispatchers") as made:
        yield made


@pytest_asyncio.fixture
async def admin(dispatchers: Whole) -> AsyncIterator[Nats]:
    await dispatchers.servers.wait_whole()
    made = await dispatchers.servers.connect()
    await dispatchers.streams(made)
    yield made
    await made.close()


def lead_to(dispatchers: Whole, postgres: Postgres, **more: Any) -> None:
    dispatchers.outboxes["shop"] = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "tls": False} | more
    dispatchers.tell()


async def letters(admin: Nats, stream: str) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    last = int((await call(admin, f"$JS.API.STREAM.INFO.BAAS_DEAD_{stream}"))["state"]["last_seq"])
    for sequence in range(1, last + 1):
        kept = await fetch(admin, f"BAAS_DEAD_{stream}", sequence)
        read = read_letter(kept) if kept else None
        assert read, "a dead letter that `kubectl baas dlq` would skip"
        found.append(read)
    return found


async def left(admin: Nats, stream: str) -> int:
    return int((await call(admin, f"$JS.API.STREAM.INFO.{stream}"))["state"]["messages"])


async def fail(admin: Nats, stream: str, count: int) -> None:
    """Have messages delivered to the declared consumer for the first and last time, and not a word said of them."""
    reader = await admin.jetstream().pull_subscribe_bind("worker", stream)
    seen = 0
    while seen < count:
        with suppress(asyncio.TimeoutError):
            seen += len(await reader.fetch(count - seen, timeout=5))
    await reader.unsubscribe()


async def rows_made(postgres: Postgres) -> bool:
    connection = await postgres.connect()
    try:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'outbox_wake')"))
    finally:
        await connection.close()


async def insert(connection: Any, payload: str) -> str:
    return str(await connection.fetchval(
        "INSERT INTO outbox (subject, payload) VALUES ('rows.new', $1) RETURNING id", payload.encode()
    ))  # fmt: skip


async def relayed(admin: Nats) -> list[str]:
    """Message ids in the outbox's stream, in its order."""
    last = int((await call(admin, "$JS.API.STREAM.INFO.rows"))["state"]["last_seq"])
    kept = [await fetch(admin, "rows", sequence) for sequence in range(1, last + 1)]
    return [dict(each.headers)["Nats-Msg-Id"] for each in kept if each]


async def test_all_works_with_just_the_rights_that_there_are(
    dispatchers: Whole, admin: Nats, endpoint: HttpEndpoint, postgres: Postgres
) -> None:
    lead_to(dispatchers, postgres)
    pods = [dispatchers.start(), dispatchers.start()]
    for number in range(10):
        await admin.publish("orders.new", f"{number}".encode())
    await admin.publish("orders.old", NEVER)
    for stream in ("jobs", "news", "logs"):
        await admin.publish(f"{stream}.a", b"poison", headers={"Trace": "1"})
        await fail(admin, stream, 1)
    await eventually(lambda: len(endpoint.taken) == 20, "both webhooks have all")
    for stream, reason in (("orders", "RetriesExhausted"), ("jobs", "MaxDeliveries"), ("news", "MaxDeliveries"), ("logs", "MaxDeliveries")):

        async def kept(stream: str = stream) -> bool:
            return bool(await letters(admin, stream))

        await eventually(kept, f"the dead letter of {stream}")
        (letter,) = await letters(admin, stream)
        assert letter.reason == reason
        assert letter.payload == (NEVER if stream == "orders" else b"poison")

    async def gone() -> bool:
        return (await left(admin, "jobs"), await left(admin, "news"), await left(admin, "logs")) == (0, 0, 1)

    await eventually(gone, "what was buried has left the streams that it waited in")
    await eventually(lambda: rows_made(postgres), "the outbox")
    connection = await postgres.connect()
    ids = [await insert(connection, f"{number}") for number in range(10)]
    await connection.close()

    async def published() -> bool:
        return await relayed(admin) == ids

    await eventually(published, "the rows are in the stream")
    asked = [await pod.report() for pod in pods]
    assert all(each.connected for each in asked)
    assert sorted((each.state, each.progress) for report in asked for each in report.outboxes) == [("relaying", True), ("waiting", False)]
    assert {each.state.value for report in asked for each in report.webhooks} == {"Closed"}
    await eventually(lambda: _backlog_known(pods), "what waits is known", 30)
    await eventually(lambda: _letters_counted(pods), "dead letters are counted, those of webhooks as well", 45)
    scraped = [sample for pod in pods for sample in await pod.scrape()]
    tally = Counter({each.labels["reason"]: 0 for each in scraped if "reason" in each.labels})
    for each in scraped:
        if each.name == "baas_dead_letters_buried_total":
            tally[each.labels["reason"]] += int(each.value)
    assert +tally == {"RetriesExhausted": 1, "MaxDeliveries": 3}, "of all dispatchers together"
    assert [await pod.terminate() for pod in pods] == [0, 0]
    assert dispatchers.violations() == [], "nothing was asked that is not allowed"


async def _backlog_known(pods: list[Pod]) -> bool:
    reports = [await pod.report() for pod in pods]
    return all(each.pending == 0 for report in reports for each in report.webhooks)


async def _letters_counted(pods: list[Pod]) -> bool:
    said = [{each.labels["stream"]: each.value for each in await pod.scrape() if each.name == "baas_dead_letters"} for pod in pods]
    return all(each == {"orders": 1, "jobs": 1, "news": 1, "logs": 1} for each in said)


async def test_what_takes_longer_than_a_test_has_its_rights_too(dispatchers: Whole, admin: Nats) -> None:
    """The sweeps, which are minutes apart, and what `kubectl baas dlq` runs in the pod."""
    said: list[str] = []
    user = await dispatchers.dispatcher(said)
    old = Webhook.model_validate({"name": "old", "stream": "rows", "url": "https://a.example/"})
    config = consumers.config_of(old, 5.0)
    await call(admin, "$JS.API.CONSUMER.CREATE.rows.BAAS_webhook_old", {"stream_name": "rows", "config": config})
    streams = [each.name for each in dispatchers.servers.spec.streams]
    assert await consumers.strays(user, streams, set()) == {("rows", "BAAS_webhook_old")}
    await consumers.delete(user, "rows", "BAAS_webhook_old")
    for stream, retention in (("jobs", "workqueue"), ("news", "interest")):
        await admin.publish(f"{stream}.a", b"poison")
        await fail(admin, stream, 1)
        await asyncio.sleep(2)
        sweeper = Sweeper(user)
        assert [await sweeper.sweep(stream, retention) for _ in range(3)] == [0, 1, 0]
        assert await left(admin, stream) == 0
        assert [each.reason for each in await letters(admin, stream)] == ["Swept"]
        lines: list[str] = []
        told = json.loads(dispatchers.config.read_text())
        assert told["inboxPrefix"] == names.inbox(names.DISPATCHER)
        place = Place(dispatchers.config, dispatchers.secrets / "nats")
        await write(place, stream, lines.append)
        assert [json.loads(line)["reason"] for line in lines] == ["Swept"]
        await write(place, stream, lines.append, sequence=1)
        assert json.loads(lines[1])["payload"]
    await user.close()
    assert said == []
    assert dispatchers.violations() == []


REFUSED = (
    "orders.new", "jobs.a", "hidden.a", "other", "$KV.settings.a", "$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.UPDATE.KV_BAAS_webhooks",
    "$JS.API.STREAM.DELETE.orders", "$JS.API.STREAM.PURGE.orders", "$JS.API.STREAM.PURGE.BAAS_DEAD_jobs", "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.MSG.DELETE.orders", "$JS.API.STREAM.MSG.DELETE.BAAS_DEAD_jobs", "$JS.API.STREAM.MSG.GET.hidden",
    "$JS.API.STREAM.MSG.GET.KV_settings", "$JS.API.DIRECT.GET.hidden", "$JS.API.CONSUMER.CREATE.hidden.mine",
    "$JS.API.CONSUMER.CREATE.jobs.mine", "$JS.API.CONSUMER.CREATE.BAAS_DEAD_jobs.mine", "$JS.API.CONSUMER.MSG.NEXT.hidden.worker",
    "$JS.API.CONSUMER.MSG.NEXT.jobs.worker", "$JS.API.CONSUMER.DURABLE.CREATE.orders.mine", "$JS.API.CONSUMER.PAUSE.orders.worker",
    "$JS.API.CONSUMER.LIST.hidden", "$JS.ACK.hidden.worker.1.1.1.1.0", "$JS.ACK.jobs.worker.1.1.1.1.0", "$JS.API.STREAM.SNAPSHOT.orders",
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.jobs.worker", "_BAAS.dead.hidden.worker.1.1", "_BAAS.other", "_INBOX.somebody",
    "$SYS.REQ.SERVER.PING",
)  # fmt: skip


async def test_whatever_else_it_would_ask_for_is_refused(dispatchers: Whole, admin: Nats) -> None:
    said: list[str] = []
    user = await dispatchers.dispatcher(said)
    for subject in REFUSED:
        await user.publish(subject, b"\x00")
        await user.flush()
    for subject in (">", "orders.>", "_INBOX.>", f"{names.inbox('agent')}.>", "$JS.>", "$KV.>", "_BAAS.>", "$JS.EVENT.ADVISORY.>"):
        await user.subscribe(subject)
        await user.flush()
    await asyncio.sleep(0.3)
    await user.close()
    refused = " ".join(said).lower()
    assert [each for each in REFUSED if f'publish to "{each.lower()}"' not in refused] == []
    assert len([each for each in said if "subscription" in each.lower()]) == 8
    assert await left(admin, "orders") == 0


async def test_what_is_declared_later_is_delivered_without_a_new_process(
    dispatchers: Whole, admin: Nats, endpoint: HttpEndpoint, postgres: Postgres
) -> None:
    """Rights and `dispatcher.json` come as they come: the files first here, so that it is refused for a while."""
    pod = dispatchers.start()
    await eventually(lambda: _connected(pod), "it is there")
    hook = dispatchers.servers.spec.webhooks[0].model_dump(by_alias=True, exclude_none=True)
    late = {"name": "late", "subjects": ["late.>"], "retention": "workqueue", "deadLetter": {}}
    spec = spec_of(endpoint.url).model_dump(by_alias=True, exclude_none=True, mode="json")
    spec["streams"] = [*spec["streams"], late]
    spec["webhooks"] = [hook | {"name": "late", "stream": "late", "ordering": {}}]
    dispatchers.servers.spec = EventQueueSpec.model_validate(spec)
    lead_to(dispatchers, postgres)
    await eventually(lambda: _knows(pod, "late"), "it was told")
    await asyncio.sleep(3)
    for name in dispatchers.servers.names:
        dispatchers.servers.write(name)
        dispatchers.servers.signal(name, 1)
    # While a server loads its users anew nobody answers JetStream's requests for a moment (seen with 2.14.10).
    await eventually(lambda: dispatchers.streams(admin), "the stream")
    await admin.jetstream().publish("late.a", b"1")
    await eventually(lambda: endpoint.taken, "it is delivered", 30)
    await admin.jetstream().publish("late.a", NEVER)

    async def buried() -> bool:
        return [each.payload for each in await letters(admin, "late")] == [NEVER]

    await eventually(buried, "its dead letter is kept", 30)
    await eventually(lambda: rows_made(postgres), "the outbox that it was led to", 30)
    assert [each.name for each in (await pod.report()).webhooks] == ["late"]


async def _connected(pod: Pod) -> bool:
    return (await pod.report()).connected


async def _knows(pod: Pod, webhook: str) -> bool:
    return any(each.name == webhook for each in (await pod.report()).webhooks)


async def test_dispatchers_killed_while_they_bury_lose_no_dead_letter(dispatchers: Whole, admin: Nats, endpoint: HttpEndpoint) -> None:
    hook = dispatchers.servers.spec.webhooks[0].model_dump(by_alias=True, exclude_none=True)
    spec = dispatchers.servers.spec.model_dump(by_alias=True, exclude_none=True, mode="json") | {"webhooks": [hook], "outboxes": []}
    dispatchers.servers.spec = EventQueueSpec.model_validate(spec)
    dispatchers.tell()
    stream = admin.jetstream(timeout=10)
    for number in range(60):
        await stream.publish("orders.new", NEVER if number % 2 else b"taken")
        await stream.publish("jobs.a", f"{number}".encode())
    pods = [dispatchers.start(), dispatchers.start()]
    failing = asyncio.create_task(fail(admin, "jobs", 60))
    await eventually(lambda: endpoint.came, "they are at it")
    for round_ in range(6):
        await asyncio.sleep(0.9 + 0.15 * round_)
        pods.pop(0).kill()
        pods.append(dispatchers.start())
    await failing

    async def whole_() -> bool:
        return len(await letters(admin, "orders")) >= 30 and len(await letters(admin, "jobs")) >= 60 and await left(admin, "jobs") == 0

    await eventually(whole_, "all are dead letters", 120)
    await asyncio.sleep(8)  # what was delivered to those that were killed comes again, and is known
    assert sorted(each.source_sequence for each in await letters(admin, "orders")) == list(range(2, 61, 2))
    assert {each.payload for each in await letters(admin, "orders")} == {NEVER}
    assert sorted(int(each.payload or b"-1") for each in await letters(admin, "jobs")) == list(range(60))
    info = await call(admin, "$JS.API.CONSUMER.INFO.orders.BAAS_webhook_plain")
    assert (info["num_pending"], info["num_ack_pending"]) == (0, 0)
    assert dispatchers.violations() == []


async def test_the_dispatcher_that_relays_is_killed_and_each_row_is_there_once(dispatchers: Whole, admin: Nats, postgres: Postgres) -> None:
    lead_to(dispatchers, postgres)
    pods = [dispatchers.start(), dispatchers.start()]
    await eventually(lambda: rows_made(postgres), "the outbox")
    stop, ids = asyncio.Event(), list[str]()

    async def work() -> None:
        connection = await postgres.connect()
        while not stop.is_set():
            ids.append(await insert(connection, f"{len(ids)}"))
            await asyncio.sleep(0.005)
        await connection.close()

    working = asyncio.create_task(work())
    longest = 0.0
    for _ in range(4):
        relaying: list[Pod] = []

        async def one_relays(found: list[Pod] = relaying) -> bool:
            found[:] = [pod for pod in pods if any(each.state == "relaying" for each in (await pod.report()).outboxes)]
            return bool(found)

        await eventually(one_relays, "one relays")
        await asyncio.sleep(1.3)
        pods.remove(relaying[0])
        relaying[0].kill()
        died, before = time.monotonic(), await left(admin, "rows")

        async def more(before: int = before) -> bool:
            return await left(admin, "rows") > before

        await eventually(more, "another goes on", 30)
        longest = max(longest, time.monotonic() - died)
        pods.append(dispatchers.start())
    stop.set()
    await working

    async def all_there() -> bool:
        return await left(admin, "rows") >= len(ids)

    await eventually(all_there, "all rows are messages")
    assert await relayed(admin) == ids, "in the order in which they were committed, each once"
    assert longest < 10
    print(f"the outbox stood still for {longest:.1f} s at the most")
    assert dispatchers.violations() == []


async def test_an_outbox_that_can_not_run_says_why_and_runs_once_it_can(dispatchers: Whole, admin: Nats, postgres: Postgres) -> None:
    lead_to(dispatchers, postgres, trouble="There is no DatabaseReplica db in prod: make it, or correct databaseRef.")
    pod = dispatchers.start()

    def says(state: str, why: str) -> Any:
        async def asked() -> bool:
            return any(each.state == state and why in each.message for each in (await pod.report()).outboxes)

        return asked

    await eventually(says("failing", "There is no DatabaseReplica"), "the operator's own sentence")
    lead_to(dispatchers, postgres, schema="nowhere")
    await eventually(says("failing", "There is no schema nowhere"), "the relay's")
    lead_to(dispatchers, postgres)
    await eventually(says("relaying", ""), "it runs")
    connection = await postgres.connect()
    first = await insert(connection, "1")

    async def published() -> bool:
        return await relayed(admin) == [first]

    await eventually(published, "its row")
    await connection.execute("CREATE TABLE other (LIKE outbox INCLUDING ALL)")
    lead_to(dispatchers, postgres, table="other")
    second = str(await connection.fetchval("INSERT INTO other (subject, payload) VALUES ('rows.b', '2') RETURNING id"))

    async def both() -> bool:
        return await relayed(admin) == [first, second]

    await eventually(both, "the row of the other table")
    spec = dispatchers.servers.spec.model_dump(by_alias=True, exclude_none=True, mode="json") | {"outboxes": []}
    dispatchers.servers.spec = EventQueueSpec.model_validate(spec)
    dispatchers.tell()

    async def let_go() -> bool:
        count = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'baas-outbox'")
        return count == 0 and (await pod.report()).outboxes == []

    await eventually(let_go, "it lets go of an outbox that is not declared any more")
    await connection.close()
