"""A pool of connections to a PostgreSQL that may move to another server at any moment."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

LOG = logging.getLogger("standin")
_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 10.0
_RETRY_SECONDS = 0.5
_WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
_LIBPQ_ONLY = ("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "uselibpqcompat")
_Result = TypeVar("_Result")
Work = Callable[[Any], Awaitable[_Result]]


class AwayError(Exception):
    """The database can not be had, or takes no writes."""


_GONE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
         asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.ReadOnlySQLTransactionError,
         asyncpg.TooManyConnectionsError)  # fmt: skip


def dsn(url: str) -> str:
    """A connection URL as asyncpg takes it: without what only libpq knows, and `no-verify` (node-postgres) named as libpq has it."""
    parts = urlsplit(url)
    options = [(key, value) for key, value in parse_qsl(parts.query) if key not in _LIBPQ_ONLY]
    options = [(key, "require" if (key, value) == ("sslmode", "no-verify") else value) for key, value in options]
    return urlunsplit(parts._replace(query=urlencode(options)))


class Database:
    """Connections of one role. `migrate` makes its tables, and may run as often as it likes; until it has, nothing else is done."""

    def __init__(self, url: str, *, name: str, size: int, migrate: Work[None]) -> None:
        self._url, self._name, self._size, self._migrate = dsn(url), name, size, migrate
        self._pool: asyncpg.Pool | None = None
        self._migrated = False
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. The database need not be there yet: it is waited for in the background."""
        self._pool = await asyncpg.create_pool(
            self._url, min_size=0, max_size=self._size, max_inactive_connection_lifetime=30, timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS, init=_codecs, server_settings={"application_name": self._name},
        )  # fmt: skip
        self._starting = asyncio.create_task(self._start())

    async def stop(self) -> None:
        """End; what runs may finish."""
        if self._starting:
            self._starting.cancel()
        if self._pool:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._pool.close(), 5)

    async def writable(self) -> bool:
        """Whether the tables are there and can be written to, now."""
        if not self._migrated:
            return False
        try:
            return bool(await self.run(lambda connection: connection.fetchval(_WRITABLE)))
        except (AwayError, asyncpg.PostgresError):
            return False

    async def run(self, work: Work[_Result]) -> _Result:
        """Do `work` in a transaction. Done once more where the connection was dead before the end: what did not commit was not done.

        Raises:
            AwayError: the database can not be had, or takes no writes.
        """
        if not self._migrated:
            raise AwayError("the tables are not there yet")
        for attempt in (1, 2):
            try:
                return await self._once(work)
            except _CommitLostError as error:
                raise AwayError(str(error)) from error
            except _GONE as error:
                await self._forget()
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise AwayError(f"{type(error).__name__}: {error}") from error
        raise AssertionError("unreachable")

    async def _once(self, work: Work[_Result]) -> _Result:
        assert self._pool
        async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                result = await work(connection)
            except BaseException:
                with suppress(*_GONE):
                    await transaction.rollback()
                raise
            try:
                await transaction.commit()
            except _GONE as error:
                raise _CommitLostError(f"nobody knows whether it was committed: {error}") from error
            return result

    async def _forget(self) -> None:
        """Connections lead to a server that may not be the primary any more: the next ones are new."""
        assert self._pool
        await self._pool.expire_connections()

    async def _start(self) -> None:
        while True:
            try:
                await self._once(self._migrate)
            except (*_GONE, _CommitLostError, asyncpg.PostgresError) as error:
                # InsufficientPrivilege and the like too: the operator's bootstrap may come later than this.
                LOG.warning("waiting for the database: %s: %s", type(error).__name__, error)
                await self._forget()
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._migrated = True
                return


class _CommitLostError(Exception):
    """The connection was lost while it committed."""


async def _codecs(connection: Any) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
