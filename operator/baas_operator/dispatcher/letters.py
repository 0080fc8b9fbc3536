"""Dead letters of the queue's own consumers, kept while any stream asks for it; those of webhooks are kept by who delivers them. All are
counted here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from nats.aio.client import Client as Nats

from baas_operator.dead_letters.count import Census
from baas_operator.dead_letters.service import DeadLetterService
from baas_operator.dispatcher.shared import Timing
from baas_operator.dispatcher.tasks import lasting
from baas_operator.jetstream.tasks import end


class Letters:
    """Runs the service; which streams it is for may change while it does."""

    def __init__(self, connection: Nats, timing: Timing) -> None:
        self._streams: dict[str, str] = {}
        self._service = DeadLetterService(connection, self._streams, sweep_seconds=timing.sweep)
        self._census = Census(connection, seconds=timing.count)
        self._task: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def apply(self, streams: Mapping[str, str], delivered: Iterable[str] = ()) -> None:
        """Keep those of these streams from now on: name -> retention. Where there are none, there is no stream of advisories to read.
        `delivered`: streams that webhooks are delivered from, whose dead letters are counted as well."""
        self._streams.clear()
        self._streams.update(streams)
        if streams and self._task is None:
            self._task = asyncio.create_task(lasting("dead letters", self._service.run))
        elif not streams and self._task is not None:
            ending = asyncio.create_task(end([self._task]))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._task = None
        self._census.apply({*streams, *delivered}, advisories=bool(streams))
        if self._counting is None:
            self._counting = asyncio.create_task(lasting("counting dead letters", self._census.run))

    async def stop(self) -> None:
        """End it. What was told and not seen to is told again."""
        await asyncio.gather(end([each for each in (self._task, self._counting) if each]), *self._ending)
