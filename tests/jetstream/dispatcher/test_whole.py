"""Dispatchers as their pods run them, with the rights that the operator gives them and nothing more: all of their tasks work, and whatever
else they would ask for is refused."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from nats.aio.client import Client as Nats

from baas_operator.api.webhooks import Webhook
from baas_operator.dead_letters.command import Place, write
from baas_operator.dead_letters.sweep import Sweeper
from baas_operator.desired.queue import names
from baas_operator.dispatcher import consumers
from baas_operator.jetstream.requests import call
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.whole import NEVER, Pod, Whole, eventually, fail, insert, lead_to, left, letters, relayed, rows_made
from tests.jetstream.harness.postgres import Postgres


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
    assert await consumers.idle(user, "rows", "BAAS_webhook_old") is not None
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
