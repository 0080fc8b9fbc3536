"""Dispatchers as their pods run them, and what comes later: rights, webhooks and outboxes are taken up, corrected and let go without a new
process."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client as Nats

from baas_operator.api.queue import EventQueueSpec
from tests.jetstream.dispatcher.endpoints import HttpEndpoint
from tests.jetstream.dispatcher.whole import NEVER, Pod, Whole, eventually, insert, lead_to, letters, relayed, rows_made, spec_of
from tests.jetstream.harness.postgres import Postgres


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
