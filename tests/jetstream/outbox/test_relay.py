"""What a relay does where nothing fails."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from prometheus_client import REGISTRY

from baas_operator.jetstream.requests import call
from baas_operator.jetstream.tasks import end
from baas_operator.outbox.status import OutboxStatus, State
from tests.jetstream.outbox.conftest import Lab, eventually, insert, once_each


@pytest.mark.asyncio
async def test_what_a_transaction_inserts_is_a_message_once_it_has_committed(lab: Lab) -> None:
    await lab.stream()
    connection = await lab.postgres.connect()
    async with lab.relaying() as status:
        await eventually(lab.table_made)
        transaction = connection.transaction()
        await transaction.start()
        row = await connection.fetchrow(
            "INSERT INTO outbox (subject, payload, headers) VALUES ('orders.new', 'one', '{\"trace\": \"a b\"}') RETURNING id"
        )
        await asyncio.sleep(0.5)
        assert await lab.messages() == []
        await transaction.commit()
        await eventually(lambda: _is(lab, 1))
        rolled_back = connection.transaction()
        await rolled_back.start()
        await insert(connection, "never")
        await rolled_back.rollback()
        two = [await insert(connection, "two"), await insert(connection, "three")]
        await eventually(lambda: _is(lab, 3))
        await eventually(lambda: _empty(lab))
        assert status.state is State.RELAYING
        assert REGISTRY.get_sample_value("baas_outbox_published_total", {"outbox": "orders"}) >= 3  # type: ignore[operator]
    once_each(await lab.messages(), {str(row["id"]), *two})
    message = await lab.client.jetstream().get_msg("orders", 1)
    assert (message.headers or {})["trace"] == "a b"
    await connection.close()


@pytest.mark.asyncio
async def test_the_trigger_wakes_a_relay_that_sleeps(lab: Lab) -> None:
    await lab.stream()
    await lab.table()
    connection = await lab.postgres.connect()
    async with lab.relaying():
        await asyncio.sleep(7)  # until it looks every 5 s only
        took = []
        for number in range(3):
            began = time.monotonic()
            await insert(connection, str(number))
            await eventually(lambda: _is(lab, len(took) + 1), every=0.01)
            took.append(time.monotonic() - began)
            await asyncio.sleep(3.3)
    assert max(took) < 1, took
    await connection.close()


@pytest.mark.asyncio
async def test_rows_that_can_not_be_messages_are_put_aside_and_keep_nobody_waiting(lab: Lab) -> None:
    await lab.stream(max_msg_size=1000)
    await lab.table()
    connection = await lab.postgres.connect()
    good = [await insert(connection, "first")]
    await insert(connection, "elsewhere", "invoices.new")
    await insert(connection, "wildcard", "orders.*")
    good.append(await insert(connection, "second"))
    await insert(connection, "x" * 2000)
    await connection.execute("INSERT INTO outbox (subject, payload) VALUES ('orders.new', convert_to(repeat('y', 3000000), 'UTF8'))")
    await connection.execute("INSERT INTO outbox (subject, payload, headers) VALUES ('orders.new', 'z', '{\"Nats-Msg-Id\": \"mine\"}')")
    await connection.execute("INSERT INTO outbox (subject, payload, headers) VALUES ('orders.new', 'z', '{\"a\": 1}')")
    good.append(await insert(connection, "third"))
    async with lab.relaying() as status:
        await eventually(lambda: _empty(lab))
        assert status.refused == 6
        assert "put aside" in status.message
    found = await lab.messages()
    assert [each[0] for each in found] == good
    reasons = [each["reason"] for each in await connection.fetch("SELECT reason FROM outbox_refused ORDER BY seq")]
    assert "Stream orders has no subject invoices.new" in reasons[0]
    assert "wildcards" in reasons[1]
    assert "takes 1000" in reasons[2]
    assert "the servers take" in reasons[3]
    assert "NATS's own" in reasons[4]
    assert "object of texts" in reasons[5]
    await connection.close()


@pytest.mark.asyncio
async def test_what_is_committed_before_something_else_is_inserted_comes_before_it(lab: Lab) -> None:
    """The order that is promised, with transactions that overlap in all ways: one that is open for long keeps nobody waiting."""
    await lab.stream()
    await lab.table()
    inserted: dict[str, float] = {}
    committed: dict[str, float] = {}

    async def write(number: int) -> None:
        connection = await lab.postgres.connect()
        for step in range(12):
            async with connection.transaction():
                await connection.execute("SELECT 1")
                began = time.monotonic()
                id_ = await insert(connection, f"{number}-{step}")
                await asyncio.sleep(0.3 if (number + step) % 5 == 0 else 0.01)
            committed[id_] = time.monotonic()
            inserted[id_] = began
        await connection.close()

    async with lab.relaying(batchSize=7):
        await asyncio.gather(*(write(number) for number in range(6)))
        await eventually(lambda: _empty(lab))
    order = [each[0] for each in await lab.messages()]
    assert len(order) == 72
    for index, later in enumerate(order):
        for earlier in order[:index]:
            assert committed[later] >= inserted[earlier], "published first, though inserted after the other had committed"


@pytest.mark.asyncio
@pytest.mark.parametrize("atomic", [True, False])
async def test_a_stream_that_others_write_to(lab: Lab, atomic: bool) -> None:
    await lab.stream(atomic=atomic)
    await lab.table()
    connection = await lab.postgres.connect()
    theirs = 0

    async def publish() -> None:
        nonlocal theirs
        while True:
            await lab.client.jetstream().publish("orders.theirs", b"")
            theirs += 1
            await asyncio.sleep(random.uniform(0, 0.01))

    ids = []
    async with lab.relaying():
        noise = [asyncio.create_task(publish()) for _ in range(3)]
        for number in range(150):
            ids.append(await insert(connection, str(number)))
        await eventually(lambda: _empty(lab))
        await end(noise)  # one word of it may be lost in nats-py
    found = await lab.messages()
    mine = [each for each in found if each[1] == "orders.new"]
    once_each(mine, set(ids))
    assert [each[0] for each in mine] == ids
    assert theirs > 50
    await connection.close()


@pytest.mark.asyncio
async def test_a_table_that_does_not_fit_is_told_and_left_alone(lab: Lab) -> None:
    await lab.stream()
    connection = await lab.postgres.connect()
    await connection.execute("CREATE TABLE outbox (id text PRIMARY KEY, seq bigserial, subject varchar NOT NULL, payload bytea)")
    async with lab.relaying() as status:
        await eventually(lambda: _says(status, "lacks subject text (it is character varying), headers jsonb, created_at"))
        assert status.failing_since
        await connection.execute("""
            ALTER TABLE outbox ALTER subject TYPE text, ADD headers jsonb, ADD created_at timestamptz DEFAULT now();
            INSERT INTO outbox (id, subject, payload) VALUES ('mine-1', 'orders.new', 'one'), ('mine 2', 'orders.new', NULL)
        """)
        await eventually(lambda: _is(lab, 2))
        await eventually(lambda: _progresses(status))
        assert status.failing_since is None
    assert [each[0] for each in await lab.messages()] == ["mine-1", "mine 2"]
    await connection.close()


@pytest.mark.asyncio
async def test_a_stream_that_is_full_holds_rows_back_and_loses_none(lab: Lab) -> None:
    await lab.stream(max_msgs=5, discard="new")
    await lab.table()
    connection = await lab.postgres.connect()
    ids = [await insert(connection, str(number)) for number in range(8)]
    async with lab.relaying() as status:
        await eventually(lambda: _says(status, "maximum messages exceeded"))
        assert [each[0] for each in await lab.messages()] == ids[:5]
        assert (status.state, status.progress) == (State.RELAYING, False)
        await lab.client.jetstream().purge_stream("orders", seq=4)
        await eventually(lambda: _empty(lab))
        await eventually(lambda: _progresses(status))
    assert [each[0] for each in await lab.messages()] == ids[3:]
    await connection.close()


async def _led_elsewhere(lab: Lab) -> tuple[Any, str, str]:
    """An outbox that published to `orders`, and ended when one of two messages was there; it is led to `bills` then."""
    await lab.stream()
    await lab.table()
    await lab.client.jetstream().add_stream(name="bills", subjects=["bills.>"])
    connection = await lab.postgres.connect()
    ids = [await insert(connection, "there"), await insert(connection, "not there")]
    await lab.client.jetstream().publish("orders.new", b"there", headers={"Nats-Msg-Id": ids[0]})
    created = (await call(lab.client, "$JS.API.STREAM.INFO.orders"))["created"]
    await connection.execute("UPDATE outbox_relay SET stream = 'orders', stream_created = $1, ids = $2", created, ids)
    await insert(connection, "new", "bills.new")
    return connection, ids[0], ids[1]


@pytest.mark.asyncio
@pytest.mark.parametrize("readable", [True, False])
async def test_an_outbox_that_is_led_to_another_stream_looks_in_the_one_before(lab: Lab, readable: bool) -> None:
    """What is there is done, though the new stream has no such subject. Where it may not look, it takes all for missing."""
    connection, there, missing = await _led_elsewhere(lab)
    asked = []
    request = lab.client.request

    async def counted(subject: str, *args: Any, **more: Any) -> Any:
        asked.append(subject)
        return await request(subject, *args, **more)

    lab.client.request = counted  # type: ignore[method-assign]
    async with lab.relaying(stream="bills", readable={"bills", "orders"} if readable else {"bills"}):
        await eventually(lambda: _empty(lab))
    refused = {each["id"] for each in await connection.fetch("SELECT id FROM outbox_refused")}
    assert refused == ({missing} if readable else {there, missing})
    assert (await call(lab.client, "$JS.API.STREAM.INFO.bills"))["state"]["messages"] == 1
    assert ("$JS.API.STREAM.INFO.orders" in asked) == readable
    await connection.close()


@pytest.mark.asyncio
async def test_a_stream_before_that_does_not_answer_is_told_until_no_outbox_has_it_any_more(lab: Lab) -> None:
    connection, *_ = await _led_elsewhere(lab)
    request = lab.client.request

    async def denied(subject: str, *args: Any, **more: Any) -> Any:
        if subject.endswith(".orders"):
            raise TimeoutError
        return await request(subject, *args, **more)

    lab.client.request = denied  # type: ignore[method-assign]
    readable = {"bills", "orders"}
    async with lab.relaying(stream="bills", readable=readable) as status:
        await eventually(lambda: _says(status, "Stream orders, which this outbox published to before, does not answer (TimeoutError)"))
        assert await lab.rows() == 3
        readable.discard("orders")
        await eventually(lambda: _empty(lab))
    await connection.close()


async def _is(lab: Lab, count: int) -> bool:
    return len(await lab.messages()) == count


async def _progresses(status: OutboxStatus) -> bool:
    return status.progress


async def _empty(lab: Lab) -> bool:
    return await lab.rows() == 0


async def _says(status: OutboxStatus, part: str) -> bool:
    return part in status.message
