"""Rounds of transactions. None is tried again within a round, whatever came of it, and rounds do not come closer to each other when
something is wrong: what is down is not helped by being asked."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from baas_operator.prober import metrics
from baas_operator.prober.client import Client
from baas_operator.prober.config import Config, ConfigError, Secrets, Wanted, read
from baas_operator.prober.failure import Failure
from baas_operator.prober.record import Record
from baas_operator.prober.standby_schema import StandbySchema
from baas_operator.prober.transactions import ENGINES, Result, Transactions
from baas_operator.prober.transactions.publish import NAME as PUBLISH
from baas_operator.prober.transactions.publish import Publish

_FIRST_SECONDS = 5.0
"""Within which the first round begins: pods that start together do not probe together."""
_REST_SECONDS = 30.0
"""How often it is read what there is to do, between two rounds that may be an hour apart."""
_LEAST_SECONDS = 1.0
"""Between two rounds, however long one took."""
_CLEAN_UP_SECONDS = 2.0
_log = logging.getLogger("prober")


class Prober:
    """One prober. `slot`: the number of what it writes, which no other uses at the same time (transactions/__init__.py)."""

    def __init__(self, config: Path, secrets: Path, slot: int, *, first_seconds: float = _FIRST_SECONDS) -> None:
        self._path, self._secrets, self._slot = config, Secrets(secrets), slot
        self._first_seconds = first_seconds
        self._config: Config | None = None
        self._engine: Transactions | None = None
        self._records: dict[str, Record] = {}
        self._schema = StandbySchema(self._secrets)
        self.publish = Publish(self._secrets)
        self._broken = ""
        self.rounds = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is under way then is finished, and what was written is removed.

        Raises:
            ConfigError: there is no configuration to begin with.
        """
        self._load(first=True)
        wait = random.uniform(0, min(self._first_seconds, self._told.interval))  # noqa: S311 - see _FIRST_SECONDS
        stopped = await _stopped(stop, wait)
        while not stopped:
            began = time.monotonic()
            await self.round()
            stopped = await self._rest(stop, began)
        await self._clean_up()

    async def _rest(self, stop: asyncio.Event, began: float) -> bool:
        """Wait for the round after the one that began then; whether all ends instead. By then another interval may be told."""
        spread = random.uniform(0.8, 1.2)  # noqa: S311 - pods that began together come apart
        least = time.monotonic() + _LEAST_SECONDS
        while (left := max(began + self._told.interval * spread, least) - time.monotonic()) > 0:
            if await _stopped(stop, min(left, _REST_SECONDS)):
                return True
            self._load()
        return False

    def report(self) -> dict[str, Any]:
        """What came of transactions, for the operator (observe/probes.py)."""
        now = time.monotonic()
        told = [each.report(now) for each in self._records.values()]
        return {"rounds": self.rounds, "transactions": told, "standbySchema": self._schema.report(now)}

    async def round(self) -> None:
        """One round. A transaction that failed is part of the next one, however seldom it is asked for."""
        due = [each for each in self._told.transactions if self._is_due(each)]
        await asyncio.gather(self._schema.look(self._told), *(self._one(each) for each in due))
        self.rounds += 1

    def _is_due(self, wanted: Wanted) -> bool:
        since = self.rounds - wanted.after
        return (since >= 0 and since % wanted.every == 0) or self._records[wanted.name].failures > 0

    @property
    def _told(self) -> Config:
        assert self._config is not None, "it was read before anything else"
        return self._config

    def _load(self, *, first: bool = False) -> None:
        """Read what there is to do. What was told before goes on where it can not be read."""
        try:
            found = read(self._path)
            if found.engine not in ENGINES:
                raise ConfigError(f"there is no engine {found.engine!r}")
            self._broken = ""
        except ConfigError as error:
            if first:
                raise
            if str(error) != self._broken:
                _log.error("what was told before goes on: %s", error)
            self._broken = str(error)
            return
        finally:
            metrics.CONFIG_BROKEN.set(bool(self._broken))
        if self._engine is None or found.engine != self._told.engine or found.settings != self._told.settings:
            self._engine = ENGINES[found.engine](self._secrets, self._slot, found.settings)
        self._config = found
        for gone in self._records.keys() - {each.name for each in found.transactions}:
            del self._records[gone]
            metrics.forget(gone)
        for each in found.transactions:
            record = self._records.setdefault(each.name, Record(each.name, 0.0))
            record.every = each.every * found.interval

    async def _one(self, wanted: Wanted) -> None:
        assert self._engine is not None
        client, record, began = Client(self._told.gateway), self._records[wanted.name], time.monotonic()
        try:
            async with asyncio.timeout(self._told.deadline):
                result = await self._do(self._engine, wanted.name, client)
        except TimeoutError:
            failure = client.failure(client.late, f"no answer within {self._told.deadline:g} s")
        except ConfigError as error:
            if record.kept(str(error)):
                _log.warning("%s can not be tried: %s", wanted.name, error)
            return
        except Failure as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a mistake in one transaction must not end the others
            _log.exception("%s: the prober itself failed", wanted.name)
            record.kept(f"the prober itself failed: {type(error).__name__}")
            return
        else:
            self._well(record, result, time.monotonic() - began)
            return
        metrics.RESULTS.labels(wanted.name, "failed").inc()
        if record.failed(time.monotonic(), failure):
            _log.warning("%s fails: %s", wanted.name, failure)
        metrics.FAILURES.labels(wanted.name).set(record.failures)

    def _well(self, record: Record, result: Result, seconds: float) -> None:
        if record.failures:
            _log.info("%s succeeds again", record.name)
        record.well(time.monotonic(), seconds)
        metrics.RESULTS.labels(record.name, result.value).inc()
        metrics.SECONDS.labels(record.name).observe(seconds)
        metrics.SUCCESS_TIME.labels(record.name).set_to_current_time()
        metrics.FAILURES.labels(record.name).set(0)

    async def _do(self, engine: Transactions, name: str, client: Client) -> Result:
        if name == PUBLISH:  # of no engine's
            await self.publish.run(client, self._told.queue, self._slot)
            return Result.OK
        try:
            transaction: Callable[[Client], Any] = engine.all()[name]
        except KeyError:
            raise ConfigError(f"this prober's image is older than the operator's: it knows no transaction {name!r}") from None
        made: Result | None = await transaction(client)
        return made or Result.OK

    async def _clean_up(self) -> None:
        """Remove what was written; what is left where that fails is one row, which the next prober removes (supabase.py)."""
        assert self._engine is not None
        with suppress(TimeoutError, Failure, ConfigError):
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                await self._engine.clean_up(Client(self._told.gateway))


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
