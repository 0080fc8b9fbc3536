"""Rows that no message can be made of, however they came into the table: they are put aside, and harm nothing that is behind or beside."""

from __future__ import annotations

import pytest

from baas_operator.outbox.config import OutboxConfig
from baas_operator.outbox.ledger import Ledger
from tests.jetstream.outbox.conftest import Lab, eventually, insert


async def empty(lab: Lab) -> bool:
    return await lab.rows() == 0


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ("(repeat('[', 3000) || repeat(']', 3000))::jsonb", "object of texts"),
        ("jsonb_build_object('a(b)', '1')", "signs that HTTP has in names"),
        ("jsonb_build_object(E'a\\n', '1')", "signs that HTTP has in names"),
        ("jsonb_build_object('a', repeat('x', 50000000))", "The headers have more than"),
    ],
)
async def test_headers_that_nothing_can_send_keep_nobody_waiting(lab: Lab, headers: str, why: str) -> None:
    await _put_aside(lab, f"INSERT INTO outbox (subject, payload, headers) VALUES ('orders.new', 'p', {headers})", why)  # noqa: S608


async def test_a_subject_that_would_end_the_connection_ends_nothing(lab: Lab) -> None:
    """All webhooks of a dispatcher are on the same connection, which the client never opened again."""
    await _put_aside(lab, "INSERT INTO outbox (subject, payload) VALUES ('orders.' || repeat('a', 5000), 'p')", "more than 2048 bytes")
    assert lab.client.is_connected


async def _put_aside(lab: Lab, statement: str, why: str) -> None:
    await lab.stream()
    await lab.table()
    connection = await lab.postgres.connect()
    await connection.execute(statement)
    good = await insert(connection, "behind it")
    async with lab.relaying() as status:
        await eventually(lambda: empty(lab), seconds=15)
        assert status.refused == 1
    assert [each[0] for each in await lab.messages()] == [good]
    assert why in await connection.fetchval("SELECT reason FROM outbox_refused")
    await connection.close()


@pytest.mark.parametrize("moment", ["infinity", "-infinity"])
async def test_a_row_of_no_time_is_published_and_its_age_is_a_number(lab: Lab, moment: str) -> None:
    await lab.table()
    connection = await lab.postgres.connect()
    await connection.execute(f"INSERT INTO outbox (subject, payload, created_at) VALUES ('orders.new', 'p', '{moment}')")  # noqa: S608
    ledger = await Ledger.connect(OutboxConfig.of(lab.given(), lab.secrets))
    try:
        await ledger.begin()
        assert await ledger.waiting() == (1, 0.0)
    finally:
        ledger.close()
    await connection.close()


async def test_more_rows_than_a_batch_that_are_refused_are_put_aside_a_batch_at_a_time(lab: Lab) -> None:
    await lab.stream()
    await lab.table()
    connection = await lab.postgres.connect()
    await connection.execute("INSERT INTO outbox (subject, payload) SELECT 'elsewhere', 'p' FROM generate_series(1, 50)")
    good = await insert(connection, "behind them")
    async with lab.relaying(batchSize=20):
        await eventually(lambda: empty(lab), seconds=15)
    assert [each[0] for each in await lab.messages()] == [good]
    counts = await connection.fetch("SELECT count(*) FROM outbox_refused GROUP BY refused_at")
    assert max(each[0] for each in counts) <= 20, "in transactions of their own"
    await connection.close()


async def test_a_table_whose_rows_may_have_no_id_is_told(lab: Lab) -> None:
    """Such a row can neither be published nor put aside: nothing tells it from another."""
    await lab.stream()
    connection = await lab.postgres.connect()
    await connection.execute("""
        CREATE TABLE outbox
            (id text UNIQUE, seq bigserial, subject text, payload bytea, headers jsonb, created_at timestamptz DEFAULT now());
        INSERT INTO outbox (subject, payload) VALUES ('orders.new', 'p')
    """)

    async def told() -> bool:
        return "id NOT NULL" in status.message

    async with lab.relaying() as status:
        await eventually(told, seconds=15)
    await connection.close()
