"""The database's side of a relay: one connection to the primary, the lock, and one transaction for each batch.

What this connection committed is on a standby, where the database has synchronous ones, and with it all that was in the log before: the
rows that it read, too. Only then may they be published. A primary that has lost its standbys can show rows that no failover would keep
(a commit whose wait was ended is done locally, and visible). So a commit counts only if it came back without the warning that says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import asyncpg

from baas_operator.outbox.config import OutboxConfig
from baas_operator.outbox.rows import MOST_SUBJECT, MOST_TEXT, Limits, Message, Refusal, Row, check, first_of
from baas_operator.outbox.tables import Tables

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 15.0
_MOST_BYTES = 4 * 1024 * 1024
"""Payload that is held at a time."""
_LOCK_CLASS = 0x6F626F78
"""First half of the advisory lock's key ("obox"); the second is a hash of the table's name."""
_COUNTED = 100_000
_SESSION = {
    "application_name": "baas-outbox", "synchronous_commit": "on", "default_transaction_isolation": "read committed",
    "statement_timeout": "0", "lock_timeout": "0", "search_path": "pg_catalog",
    # A relay whose node is gone, or that was stopped in its tracks, must not keep the lock: PostgreSQL's defaults are hours, and never.
    "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "11000",
    "idle_session_timeout": "60000", "idle_in_transaction_session_timeout": "30000",
}  # fmt: skip


class LedgerError(Exception):
    """The database does not do what the relay needs; the message is a sentence."""


class Mode(StrEnum):
    """How messages are published, which says where they can be."""

    BATCH = "batch"
    """All or none, and only if the stream's last sequence is `base`: the nth is at `base + n`, or nowhere."""
    SINGLE = "single"
    """One after another, each only if the last sequence is that of the one before: they are in the same places, up to one of them."""
    OPEN = "open"
    """One at a time, whatever the last sequence is."""


@dataclass(frozen=True)
class Intent:
    """What was to be published, in this order, onto a stream whose last sequence was `base`. `created` tells a stream from a later one of
    the same name."""

    stream: str
    created: str
    base: int
    ids: tuple[str, ...]
    mode: Mode


class Ledger:
    """One connection; whatever fails, it is given up, and another one begins with what is in the database."""

    def __init__(self, connection: Any, config: OutboxConfig) -> None:
        self._connection = connection
        self.tables = Tables(config.schema, config.table)
        self._batch_size = config.batch_size
        self._warned: str | None = None
        self._turn = asyncio.Lock()
        self.wake = asyncio.Event()
        """Set when rows were inserted, or the connection has ended."""
        connection.add_log_listener(self._log)
        connection.add_termination_listener(lambda _: self.wake.set())

    @classmethod
    async def connect(cls, config: OutboxConfig) -> Ledger:
        """Connect to the primary.

        Raises:
            ConfigError, asyncpg.PostgresError, OSError, TimeoutError.
        """
        connection = await asyncpg.connect(
            host=config.host, port=config.port, database=config.database, user=config.user, password=config.password(),
            ssl=config.tls_context() or "disable", target_session_attrs="read-write", server_settings=_SESSION,
            timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS,
        )  # fmt: skip
        return cls(connection, config)

    @property
    def _columns(self) -> str:
        # What is too long for a message is not fetched whole: a hundred rows with a hundred megabytes each would not fit into any pod.
        return (
            f"SELECT id::text, left(coalesce(subject, ''), {MOST_SUBJECT + 1}), left(headers::text, {MOST_TEXT + 1}), "  # noqa: S608
            f"coalesce(octet_length(payload), 0) FROM {self.tables.rows}"
        )

    def close(self) -> None:
        """End the connection, and with it the lock; does not wait for anybody."""
        self._connection.terminate()

    async def lock(self) -> bool:
        """Whether this connection now is the only one that relays. Waiting in the database would hold its vacuum up."""
        key = f"{self.tables.schema}.{self.tables.table}"
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", _LOCK_CLASS, key))

    async def begin(self) -> tuple[Intent, str | None]:
        """Make the tables, listen, and read what was under way; and what could not be done, if the relay can do without.

        Raises:
            TableError.
        """
        missing = await self.tables.make(self._connection)
        await self._connection.add_listener(self.tables.channel, lambda *_: self.wake.set())
        found = await self._connection.fetchrow(f"SELECT * FROM {self.tables.relay}")  # noqa: S608
        return (
            Intent(found["stream"], found["stream_created"], found["base"], tuple(found["ids"]), Mode(found["mode"])),
            missing,
        )

    async def rows(self, ids: tuple[str, ...], limits: Limits) -> tuple[list[Row], list[Refusal]]:
        """Of these ids the rows that are there, in this order; and which of them can not be published (the stream may have changed)."""
        found = {each[0]: each for each in await self._connection.fetch(
            f"{self._columns} WHERE id = ANY ($1::text[]::{self.tables.id_type}[])", list(ids),
        )}  # fmt: skip
        return _sorted(tuple(found[each] for each in ids if each in found), limits)

    async def next(
        self, *, done: list[str], refused: list[Refusal], keep: list[Row], stream: str, created: str, base: int, mode: Mode, limits: Limits,
    ) -> tuple[list[Message], list[Refusal]]:  # fmt: skip
        """In one transaction: delete what is in the stream, put aside what was refused, and write down what comes now: `keep`, or where
        that is empty the next rows. Those, with their payloads; and all rows that were refused.

        Raises:
            LedgerError: the commit may not outlive this primary.
        """
        async with self._turn:
            refusals = list(refused)
            transaction = self._connection.transaction()
            await transaction.start()
            try:
                if done:
                    await self._connection.execute(
                        f"DELETE FROM {self.tables.rows} WHERE id = ANY ($1::text[]::{self.tables.id_type}[])", done  # noqa: S608
                    )  # fmt: skip
                await self._put_aside(refused)
                chosen = keep
                if not chosen:  # and no further, if all are refused: a million of them are not put aside in one transaction
                    found, wrong = await self._look(limits)
                    chosen = first_of(found, _MOST_BYTES)
                    await self._put_aside(wrong)
                    refusals += wrong
                messages = await self._payloads(chosen)
                await self._connection.execute(
                    f"UPDATE {self.tables.relay} SET stream = $1, stream_created = $2, base = $3, ids = $4, mode = $5, "  # noqa: S608
                    "asleep = $6, since = now()",
                    stream, created, base, [each.row.id for each in messages], mode.value, not messages,
                )  # fmt: skip
            except BaseException:
                self.close()
                raise
            self._warned = None
            await transaction.commit()
            await asyncio.sleep(0)  # what PostgreSQL says is handed over in a call of its own
            if self._warned:
                raise LedgerError(f"What was committed may not outlive this primary, so nothing is published: {self._warned}.")
            return messages, refusals

    async def _look(self, limits: Limits) -> tuple[list[Row], list[Refusal]]:
        return _sorted(tuple(await self._connection.fetch(f"{self._columns} ORDER BY seq LIMIT $1", self._batch_size)), limits)

    async def _payloads(self, rows: list[Row]) -> list[Message]:
        if not rows:
            return []
        found = dict(await self._connection.fetch(
            f"SELECT id::text, payload FROM {self.tables.rows} WHERE id = ANY ($1::text[]::{self.tables.id_type}[])",  # noqa: S608
            [each.id for each in rows],
        ))  # fmt: skip
        return [Message(each, found[each.id] or b"") for each in rows if each.id in found]

    async def _put_aside(self, refused: list[Refusal]) -> None:
        for each in refused:
            await self._connection.execute(
                f"WITH gone AS (DELETE FROM {self.tables.rows} WHERE id = $1::text::{self.tables.id_type} RETURNING *) "  # noqa: S608
                f"INSERT INTO {self.tables.refused} (id, seq, subject, payload, headers, created_at, reason) "
                "SELECT id::text, seq, subject, payload, headers, created_at, $2 FROM gone",
                each.id, each.reason,
            )  # fmt: skip

    async def any(self) -> bool:
        """Whether there are rows."""
        async with self._turn:
            return bool(await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {self.tables.rows})"))  # noqa: S608

    async def waiting(self) -> tuple[int, float]:
        """Rows that wait, counted up to 100,000, and the age of the next one in seconds."""
        async with self._turn:
            found = await self._connection.fetchrow(
                f"SELECT (SELECT count(*) FROM (SELECT FROM {self.tables.rows} LIMIT {_COUNTED}) AS counted), "  # noqa: S608
                f"(SELECT CASE WHEN isfinite(created_at) THEN extract(epoch FROM clock_timestamp() - created_at)::float END "
                f"FROM {self.tables.rows} ORDER BY seq LIMIT 1)"
            )
        return int(found[0]), max(0.0, found[1] or 0.0)

    def _log(self, _: Any, message: Any) -> None:
        if getattr(message, "severity_en", "") == "WARNING":
            self._warned = message.message


def _sorted(found: tuple[Any, ...], limits: Limits) -> tuple[list[Row], list[Refusal]]:
    checked = [check(each[0], each[1], each[2], each[3], limits) for each in found]
    return [each for each in checked if isinstance(each, Row)], [each for each in checked if isinstance(each, Refusal)]


Broken = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the connection raises when it, or the database, fails; InternalClientError where it is about to notice that it has ended."""
