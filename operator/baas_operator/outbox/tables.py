"""The tables of an outbox, and the trigger that wakes its relay: made where they are not there, and never changed where they are.

- `TABLE` has the rows. An application may bring its own, with more columns, if it has these ones.
- `TABLE_relay` has one row: what the relay is about to publish, written down before it is (`Intent`).
- `TABLE_refused` has the rows that can not become messages, each with the reason.

The trigger notifies only while the relay sleeps. NOTIFY takes a lock of the whole server until its transaction has committed (PostgreSQL's
source, async.c, `PreCommit_Notify`), and a commit waits for a standby: were each transaction to notify, they would commit one by one.
"""

from __future__ import annotations

from typing import Any

import asyncpg

_COLUMNS = {
    "id": ("uuid", "text"), "seq": ("bigint",), "subject": ("text",), "payload": ("bytea",), "headers": ("jsonb",),
    "created_at": ("timestamp with time zone",),
}  # fmt: skip
_MOST_NAME = 63
_LOCK_SECONDS = 2
_FOUND = """
SELECT attname::text AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
 WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""
_UNIQUE = """
SELECT bool_or(indisunique AND indnkeyatts = 1 AND indpred IS NULL AND attname = 'id' AND attnotnull), bool_or(attname = 'seq')
  FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] WHERE indrelid = $1::regclass AND indisvalid
"""


class TableError(Exception):
    """The tables are not as they have to be; the message is a sentence that says what to do."""


class Tables:
    """Names and statements of one outbox. `schema` and `table` are identifiers that need no quotes (`SqlName`)."""

    def __init__(self, schema: str, table: str) -> None:
        self.schema, self.table = schema, table
        self.rows = f'"{schema}"."{table}"'
        self.relay = f'"{schema}"."{self._beside("_relay")}"'
        self.refused = f'"{schema}"."{self._beside("_refused")}"'
        self.function = f'"{schema}"."{self._beside("_wake")}"'
        self.trigger = self._beside("_wake")
        self.channel = self._beside("_wake")
        """What the relay listens to."""
        self.id_type = "uuid"
        self.index_missing = False
        """Whether there is no index to read the rows in their order by, which makes a long backlog slow."""

    def _beside(self, suffix: str) -> str:
        return self.table[: _MOST_NAME - len(suffix)] + suffix

    async def make(self, connection: Any) -> str | None:
        """Make what is not there. What could not be done, if it is something that the relay can do without.

        Raises:
            TableError: the table does not fit, or may not be made.
        """
        try:
            if await connection.fetchval("SELECT to_regclass($1)", self.rows) is None:
                await connection.execute(self._made_rows())
            await self._fit(connection)
            await connection.execute(self._made_bookkeeping())
        except asyncpg.InsufficientPrivilegeError as error:
            raise TableError(
                f"The relay's role may not make or read the tables of {self.rows} ({error}): grant it USAGE and CREATE on schema "
                f"{self.schema}, and SELECT, DELETE and TRIGGER on the table."
            ) from error
        except asyncpg.InvalidSchemaNameError as error:
            raise TableError(f"There is no schema {self.schema}: declare it in the database.") from error
        return await self._make_trigger(connection)

    async def _fit(self, connection: Any) -> None:
        found = {each["name"]: each["type"] for each in await connection.fetch(_FOUND, self.rows)}
        wrong = [
            f"{name} {types[0]}" + (f" (it is {found[name]})" if name in found else "")
            for name, types in _COLUMNS.items() if found.get(name) not in types
        ]  # fmt: skip
        if wrong:
            raise TableError(f"The table {self.rows} lacks {', '.join(wrong)}: add what is missing, or let the relay make the table.")
        unique, ordered = await connection.fetchrow(_UNIQUE, self.rows)
        if not unique:
            raise TableError(f"The table {self.rows} has no primary key, or unique index on id alone with id NOT NULL: add one.")
        self.id_type, self.index_missing = found["id"], not ordered

    def _made_rows(self) -> str:
        # Every row is deleted soon: vacuum by the number of dead ones, not by a share of a table that is empty most of the time.
        return f"""
            CREATE TABLE IF NOT EXISTS {self.rows} (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
                subject text NOT NULL,
                payload bytea NOT NULL,
                headers jsonb NOT NULL DEFAULT '{{}}',
                created_at timestamptz NOT NULL DEFAULT now()
            ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0)
        """

    def _made_bookkeeping(self) -> str:
        return f"""
            CREATE TABLE IF NOT EXISTS {self.relay} (
                only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
                stream text NOT NULL DEFAULT '',
                stream_created text NOT NULL DEFAULT '',
                base bigint NOT NULL DEFAULT 0,
                ids text[] NOT NULL DEFAULT '{{}}',
                mode text NOT NULL DEFAULT 'single',
                asleep boolean NOT NULL DEFAULT false,
                since timestamptz NOT NULL DEFAULT now()
            ) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
            CREATE TABLE IF NOT EXISTS {self.refused} (
                id text NOT NULL, seq bigint, subject text, payload bytea, headers jsonb, created_at timestamptz,
                reason text NOT NULL, refused_at timestamptz NOT NULL DEFAULT now()
            );
            INSERT INTO {self.relay} DEFAULT VALUES ON CONFLICT DO NOTHING;
        """  # noqa: S608

    async def _make_trigger(self, connection: Any) -> str | None:
        """What could not be done: the rows are then found by looking every few seconds."""
        there = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname = $2)", self.rows, self.trigger
        )
        if there:
            return None
        # With the definer's rights: who inserts need not be able to read the relay's row. And whatever becomes of that row or of its table
        # must not keep anybody from inserting.
        made = f"""
            SET LOCAL lock_timeout = '{_LOCK_SECONDS}s';
            CREATE OR REPLACE FUNCTION {self.function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
            AS $$ BEGIN
                IF EXISTS (SELECT FROM {self.relay} WHERE asleep) THEN
                    PERFORM pg_notify('{self.channel}', '');
                END IF;
                RETURN NULL;
            EXCEPTION WHEN undefined_table OR undefined_column OR insufficient_privilege THEN
                RETURN NULL;
            END $$;
            CREATE TRIGGER "{self.trigger}" AFTER INSERT ON {self.rows} FOR EACH STATEMENT EXECUTE FUNCTION {self.function}();
        """
        try:
            async with connection.transaction():
                await connection.execute(made)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.LockNotAvailableError) as error:
            return f"The trigger that wakes the relay could not be made ({error}): new rows are seen after 5 s at the most."
        return None
