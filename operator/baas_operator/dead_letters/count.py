"""Counts dead letters, for who looks after a queue: how many there are, how soon the oldest is deleted, how much room is left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from nats.aio.client import Client as Nats

from baas_operator.dead_letters import metrics
from baas_operator.dead_letters.bury import STREAM_NOT_FOUND
from baas_operator.dead_letters.inspect import Inventory, inventory
from baas_operator.dead_letters.letter import to_nanoseconds
from baas_operator.desired.queue.dead_letters import ADVISORIES, ADVISORIES_CONSUMER
from baas_operator.desired.queue.streams import NANOSECONDS
from baas_operator.jetstream.requests import JetStreamError, Unreachable, call

COUNT_SECONDS = 30.0
"""A request for each stream, and each dispatcher makes them. Prometheus mostly scrapes as often."""
_log = logging.getLogger("dead_letters")


class Census:
    """What is told of dead letters. While JetStream does not answer, what it told last stays."""

    def __init__(self, connection: Nats, *, seconds: float = COUNT_SECONDS) -> None:
        self._connection = connection
        self._seconds = seconds
        self._streams: frozenset[str] = frozenset()
        self._advisories = False

    def apply(self, streams: Iterable[str], *, advisories: bool) -> None:
        """Count those of these streams from now on. `advisories`: whether there is a stream of them."""
        before, self._streams, self._advisories = self._streams, frozenset(streams), advisories
        for each in before - self._streams:
            metrics.forget(each)
        for each in self._streams - before:
            metrics.begin(each)
        if not advisories:
            metrics.WAITING.set(0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for each in sorted(self._streams):
                await self._count(each)
            if self._advisories:
                await self._count_advisories()
            await asyncio.sleep(self._seconds)

    async def _count(self, stream: str) -> None:
        try:
            found = await inventory(self._connection, stream)
        except JetStreamError as error:
            if error.code == STREAM_NOT_FOUND:
                metrics.unknown(stream)
            _log.info("dead letters of %s are not counted: %s", stream, error)
        except Unreachable as error:
            _log.info("dead letters of %s are not counted: %s", stream, str(error) or type(error).__name__)
        else:
            if stream in self._streams:  # it may have been taken out meanwhile
                _tell(stream, found, time.time())

    async def _count_advisories(self) -> None:
        try:
            info = await call(self._connection, f"$JS.API.CONSUMER.INFO.{ADVISORIES}.{ADVISORIES_CONSUMER}")
            metrics.WAITING.set(int(info["num_pending"]) + int(info["num_ack_pending"]))
        except (KeyError, TypeError, ValueError, JetStreamError, *Unreachable) as error:
            _log.info("advisories are not counted: %s", str(error) or type(error).__name__)


def _tell(stream: str, found: Inventory, now: float) -> None:
    """`now` in seconds since 1970."""
    age = max(0.0, now - to_nanoseconds(found.oldest) / NANOSECONDS) if found.oldest else None
    left = None if age is None or found.max_age_seconds is None else max(0.0, found.max_age_seconds - age)
    metrics.kept(stream, count=found.count, oldest_seconds=age or 0.0, expire_seconds=left, size=found.bytes, most=found.max_bytes)
