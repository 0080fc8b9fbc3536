"""The member's own PostgreSQL, over the socket that the two containers share, as the superuser that `peer` lets in."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import asyncpg

from baas_operator.agent.postmaster import Postmaster
from baas_operator.policy.failover import Reach

SESSION = {
    "statement_timeout": "0", "lock_timeout": "0", "transaction_timeout": "0", "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed", "session_preload_libraries": "", "local_preload_libraries": "",
}  # fmt: skip
"""Settings of an agent's sessions, whatever the spec's parameters are, or somebody's ALTER SYSTEM: agents have deadlines of their own, and
a library that is not there keeps everybody out who would load it."""
BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a connection raises when it, or PostgreSQL, fails; InternalClientError where it is about to notice that it has ended."""
_SECONDS = 2.0
_POLL_SECONDS = 0.02
_GONE_SECONDS = 3.0
_CHECKPOINT_SECONDS = 30.0
_CONFIRMED_SECONDS = 3.0
_STOPPED_SECONDS = 5.0
"""Who still receives may hold it up for longer, such as a logical consumer that lags."""
_EASED_SECONDS = 0.25
"""So long a transaction that is under way may take to its end before a shutdown breaks it off."""
_COMMITTED_SECONDS = 1.5
"""So long, if it is done but for being told so: with a busy disk or processor, standbys confirm later."""
_EASED_LOOK_SECONDS = 0.005
_SILENT_SECONDS = 0.2
"""So long whoever connects during a shutdown may take to say who it is, and to be told of it."""
# pg_stat_wal_receiver shows a receiver only once it is connected; pg_stat_activity from its first moment, before it reads its key.
_LOOK = """
SELECT pg_is_in_recovery(),
       (SELECT extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float FROM pg_stat_wal_receiver),
       ARRAY(SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'),
       pg_is_in_recovery() AND coalesce(pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn(), false),
       current_setting('primary_conninfo')
"""
# After a start PostgreSQL answers as soon as its data is consistent, and may have read only a part of the log that it has. It has read all
# once it asks for more: then a receiver was started, and something counts as received; or, with nobody to receive from, it waits for that
# (PostgreSQL's source, xlogrecovery.c, `WaitForWALToBecomeAvailable`). What was received stays known when the receiver is ended, so that a
# standby that streamed has nothing to wait for.
#
# The log's end is in a file that is named by its timeline. Of files for the same segment the newest timeline's counts: a standby turns to a
# timeline at the start of the segment in which that began, and only if it has nothing from beyond there. (What the control file says of the
# timeline lags, and what the receiver says goes with it.)
_REACH = """
WITH log AS (SELECT (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn)::bigint AS position,
                    pg_size_bytes(current_setting('wal_segment_size')) AS size),
     segment AS (SELECT position, (position - 1) / size AS number, 4294967296 / size AS round FROM log)
SELECT position,
       (SELECT max(('x' || left(name, 8))::bit(32)::bigint) FROM pg_ls_waldir()
         WHERE name ~ '^[0-9A-F]{24}$'
           AND right(name, 16) = upper(lpad(to_hex(number / round), 8, '0') || lpad(to_hex(number % round), 8, '0'))) AS timeline
  FROM segment
 WHERE pg_last_wal_receive_lsn() IS NOT NULL
    OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                  AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval'))
"""
# A list without a count before it stands for one standby (PostgreSQL manual, "synchronous_standby_names").
_TAKES_WRITES = r"""
SELECT NOT pg_is_in_recovery()
   AND (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))
       >= CASE WHEN wanted = '' THEN 0 ELSE coalesce(substring(wanted FROM '^(?:ANY\s+|FIRST\s+)?(\d+)\s*\(')::int, 1) END
  FROM current_setting('synchronous_standby_names') AS wanted
"""
_CONFIRMED = """
SELECT application_name FROM pg_stat_replication
 WHERE CASE WHEN application_name = $2 THEN replay_lsn >= $1::pg_lsn ELSE flush_lsn >= $1::pg_lsn END
"""


_SYNCHRONOUS = """
SELECT DISTINCT ON (automatic) sourcefile LIKE '%/postgresql.auto.conf' AS automatic, setting FROM pg_file_settings
 WHERE name = 'synchronous_standby_names' ORDER BY automatic, seqno DESC
"""


_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE pg_is_in_recovery() AND backend_type = 'client backend' AND client_addr IS NOT NULL
   AND backend_start < clock_timestamp() - make_interval(secs => {:.3f})
"""


class UnavailableError(Exception):
    """PostgreSQL gave no answer."""


@dataclass(frozen=True)
class Look:
    """A standby's replication. `silence`: seconds since the last word, None without a connected receiver; `replayed`: whether a query sees
    all that was received."""

    standby: bool
    silence: float | None
    receivers: tuple[int, ...]
    upstream: str | None
    """Address that it would receive from."""
    replayed: bool = False


def _host(conninfo: str) -> str | None:
    found = re.search(r"\bhost=(\S+)", conninfo)
    return found[1] if found else None


class Postgres:
    """One connection, made anew when it breaks."""

    def __init__(self, socket: str, postmaster: Postmaster) -> None:
        self._socket = socket
        self._postmaster = postmaster
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self.heard: float | None = None
        """When this member, as a standby, last heard from its primary (monotonic seconds); None: not in this agent's life."""

    @property
    def runs(self) -> bool:
        """Whether there is a PostgreSQL, whether or not it answers."""
        return self._postmaster.process is not None

    async def look(self) -> Look:
        """How replication stands.

        Raises:
            UnavailableError: PostgreSQL is not running, starting, or hangs.
        """
        async with self._turn:
            return await self._look()

    async def _look(self) -> Look:
        standby, silence, receivers, replayed, conninfo = await self._row(_LOOK)
        if silence is not None:
            silence = max(0.0, silence)
            self.heard = max(self.heard or 0.0, time.monotonic() - silence)
        return Look(standby, silence, tuple(receivers), _host(conninfo), replayed)

    async def reach(self) -> Reach | None:
        """How far a standby has the log; None while it has not read all of it since its start, as it does not know itself then.

        Raises:
            UnavailableError: as `look`.
        """
        async with self._turn:
            found = await self._row(_REACH)
        return Reach(found["timeline"], found["position"]) if found and found["position"] and found["timeline"] else None

    async def takes_writes(self) -> bool:
        """Whether a commit would be acknowledged: it is the primary, and as many standbys as it waits for stream.

        Raises:
            UnavailableError: as `look`.
        """
        async with self._turn:
            (takes,) = await self._row(_TAKES_WRITES)
            return bool(takes)

    async def _row(self, query: str) -> Any:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    host=self._socket, user="postgres", database="postgres", timeout=_SECONDS, command_timeout=_SECONDS,
                    server_settings={"application_name": "baas-agent"} | SESSION, statement_cache_size=2,
                )  # fmt: skip
            return await self._connection.fetchrow(query)
        except BROKEN as error:
            self.close()
            raise UnavailableError(str(error) or type(error).__name__) from error

    async def end_receivers(self) -> Look:
        """Make sure that no WAL receiver is left that was there when this was called; how replication stands then.

        Receivers that start later are no matter: they can not have read a key that was taken away before. PostgreSQL's own function ends
        no receiver (it is no backend), so that the process gets its signal, in the process namespace that the containers share.

        Raises:
            UnavailableError: PostgreSQL does not answer, or a receiver does not end.
        """
        first = await self.look()
        until = time.monotonic() + _GONE_SECONDS
        now = first
        while left := set(first.receivers) & set(now.receivers):
            if time.monotonic() > until:
                raise UnavailableError(f"the WAL receiver {min(left)} does not end")
            for pid in left:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    continue
            await asyncio.sleep(_POLL_SECONDS)
            now = await self.look()
        return now

    async def checkpoint(self, *, confirmed_by: Collection[str], replayed_by: str) -> set[str]:
        """Write what is not written yet, so that the checkpoint of a shutdown is a short one; which of the standbys have not confirmed it,
        or not replayed it (a query there may hold replay up, and a promotion waits for that).

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        try:
            connection = await asyncpg.connect(
                host=self._socket, user="postgres", database="postgres", timeout=_SECONDS, server_settings=SESSION,
            )  # fmt: skip
            try:
                await connection.execute("CHECKPOINT", timeout=_CHECKPOINT_SECONDS)
                wanted = set(confirmed_by) | {replayed_by}
                missing, until = wanted, time.monotonic() + _CONFIRMED_SECONDS
                position = await connection.fetchval("SELECT pg_current_wal_flush_lsn()")
                while missing and time.monotonic() < until:
                    found = await connection.fetch(_CONFIRMED, position, replayed_by)
                    if missing := wanted - {each["application_name"] for each in found}:
                        await asyncio.sleep(_POLL_SECONDS)
                return missing
            finally:
                connection.terminate()
        except BROKEN as error:
            raise UnavailableError(f"no checkpoint: {str(error) or type(error).__name__}") from error

    async def synchronous(self) -> tuple[str | None, str]:
        """`synchronous_standby_names` as ALTER SYSTEM has it, if it does, and as Patroni's file has it.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        rows = await self._once(_SYNCHRONOUS)
        found = {row["automatic"]: row["setting"] or "" for row in rows}
        return found.get(True), found.get(False, "")

    async def override_synchronous(self, names: str | None) -> None:
        """Set `synchronous_standby_names` by ALTER SYSTEM, or take that back, and have it loaded. Raises as `synchronous`."""
        change = (
            "RESET synchronous_standby_names" if names is None else "SET synchronous_standby_names = '{}'".format(names.replace("'", "''"))
        )
        await self._once(f"ALTER SYSTEM {change}", "SELECT pg_reload_conf()")

    async def _once(self, *statements: str) -> list[asyncpg.Record]:
        """Statements of a connection of their own, none in a transaction; what the last one answers."""
        try:
            connection = await asyncpg.connect(
                host=self._socket, user="postgres", database="postgres", timeout=_SECONDS, command_timeout=_SECONDS,
                server_settings=SESSION, statement_cache_size=0,
            )  # fmt: skip
            try:
                answers = [await connection.fetch(each) for each in statements]
                return list(answers[-1])
            finally:
                connection.terminate()
        except BROKEN as error:
            raise UnavailableError(str(error) or type(error).__name__) from error

    async def end_sessions(self, *, older_than_seconds: float) -> int:
        """End clients' sessions over the network that began so long ago, if this is a standby; how many. Raises as `synchronous`."""
        return int((await self._once(_END_SESSIONS.format(older_than_seconds)))[0][0])

    async def stop(self, *, committed_seconds: float = _COMMITTED_SECONDS) -> None:
        """Shut PostgreSQL down: nobody new is taken in ("smart" shutdown), sessions are ended as they come to the end of what they do,
        and soon whatever they do; standbys get all of the log, then it goes ("fast" shutdown).

        A commit that a fast shutdown finds waiting for its standbys ends without a word: nobody knows then whether it was done, although it
        would have been within milliseconds. So those that wait, or are at their COMMIT, have `committed_seconds`; all others have a quarter
        of one. (At a COMMIT, deferred triggers run: whoever writes one can have each stop take that long, and no longer.)

        Raises:
            UnavailableError: it does not go. It may do so yet.
        """
        self._postmaster.signal(signal.SIGTERM)
        try:
            began = time.monotonic()
            while self._postmaster.end_idle():
                eased = time.monotonic() - began
                if eased > _EASED_SECONDS and (eased > committed_seconds or not self._postmaster.commits()):
                    break
                await asyncio.sleep(_EASED_LOOK_SECONDS)  # PostgreSQL tells nobody
        finally:
            process = self._postmaster.signal(signal.SIGINT)
        since = time.monotonic()
        silent: dict[int, float] = {}
        while process is not None and self._postmaster.process == process:
            if time.monotonic() > since + _STOPPED_SECONDS:
                raise UnavailableError("PostgreSQL does not shut down")
            silent = {each: silent.get(each, time.monotonic()) for each in self._postmaster.silent()}
            self._postmaster.end(each for each, first in silent.items() if time.monotonic() > first + _SILENT_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
