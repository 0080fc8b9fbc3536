"""Dead letters, as each dispatcher takes part in keeping them: what the servers tell of is buried, and what they did not tell of is found.

The stream of advisories keeps what is told, and the dispatchers share it. While that stream has no leader, what is told reaches those that
listen at that moment; that is the second way, and with it only what is told while both are away is missed. The sweeper finds that, but for
`limits` streams.

A stream that is not known here may be one whose `deadLetter` was declared just now, of which this dispatcher has not read yet: what is told
of it waits, and is done with only when it is still not known after minutes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from baas_operator.dead_letters import metrics
from baas_operator.dead_letters.advisory import Advisory, read_advisory
from baas_operator.dead_letters.bury import Buried, Unburied, bury, note_gone
from baas_operator.dead_letters.letter import Reason
from baas_operator.dead_letters.sweep import Sweeper
from baas_operator.desired.queue.dead_letters import ADVISORIES, ADVISORIES_CONSUMER, ADVISORY_SUBJECTS, advisories_consumer_config
from baas_operator.jetstream.requests import CHANGE_SECONDS, JetStreamError, Unreachable, call
from baas_operator.jetstream.tasks import together

SWEEP_SECONDS = 60.0
_BATCH, _AT_ONCE = 100, 16
_FETCH_SECONDS = 10.0
"""A request for messages is lost with the server that had it, and nobody tells: so long what is told then waits."""
_AGAIN_SECONDS = 5.0
_FULL_SECONDS = (30.0, 600.0)
"""How soon a message is tried again that there was no room for, at first and at the most: each further time it takes twice as long."""
_FULL_STILL_SECONDS = 10.0
"""So long after a stream's dead letters had no room they are not asked again for what else waits."""
_GROUP = "baas-dead-letters"
_HEARD_SECONDS = 5.0
"""So much later than the stream of advisories tells it, what was heard is seen to: mostly nothing is left to do by then."""
_MOST_HEARD = 10_000
_UNKNOWN_SECONDS = 600.0
"""For so long what is told of a stream that is not known here waits: a kubelet that is not told takes up to two minutes to bring what is
declared."""
_UNKNOWN_AGAIN_SECONDS = 30.0
_log = logging.getLogger("dead_letters")


class DeadLetterService:
    """Keeps the dead letters of `streams`: name -> retention, of those that are declared with `deadLetter`; they may change meanwhile."""

    def __init__(self, connection: Nats, streams: Mapping[str, str], *, sweep_seconds: float = SWEEP_SECONDS) -> None:
        self._connection = connection
        self._streams = streams
        self._sweep_seconds = sweep_seconds
        self._sweeper = Sweeper(connection)
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._heard: asyncio.Queue[tuple[float, Advisory]] = asyncio.Queue(_MOST_HEARD)
        self._unknown: asyncio.Queue[tuple[float, float, Advisory]] = asyncio.Queue(_MOST_HEARD)
        """When each is looked at again, and until when, all after the same time: so they are in order."""
        self._told_full: set[str] = set()
        self._full_until: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled. Whatever JetStream does meanwhile, it goes on."""
        await together(
            *(self._for_ever(each) for each in (self._read, self._listen, self._see_to_heard, self._see_to_unknown, self._sweep))
        )

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (*Unreachable, JetStreamError, nats.js.errors.Error) as error:
                _log.info("JetStream does not answer: %s", str(error) or type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS * random.uniform(0.5, 1))  # noqa: S311 - dispatchers must not come all at once

    # --- what the stream of advisories has --------------------------------------------------------------------------------

    async def _read(self) -> None:
        config = advisories_consumer_config()
        await call(
            self._connection, f"$JS.API.CONSUMER.CREATE.{ADVISORIES}.{ADVISORIES_CONSUMER}", {"stream_name": ADVISORIES, "config": config},
            seconds=CHANGE_SECONDS,
        )  # fmt: skip
        told = await self._connection.jetstream().pull_subscribe_bind(ADVISORIES_CONSUMER, ADVISORIES)
        try:
            while True:
                try:
                    messages = await told.fetch(_BATCH, timeout=_FETCH_SECONDS)
                except nats.errors.TimeoutError:
                    await told.consumer_info()  # nothing was told, or nobody is there to tell: then this raises
                    continue
                await asyncio.gather(*(self._answered(each) for each in messages))
        finally:
            await told.unsubscribe()

    async def _answered(self, message: Msg) -> None:
        tries = message.metadata.num_delivered or 1
        advisory = read_advisory(message.data)
        later = min(_FULL_SECONDS[0] * 2 ** min(tries - 1, 10), _FULL_SECONDS[1])
        clock = asyncio.get_running_loop().time
        if advisory and advisory.stream not in self._streams:
            age = (datetime.now(UTC) - message.metadata.timestamp).total_seconds()
            await (message.nak(delay=later) if age < _UNKNOWN_SECONDS else message.ack())
            return
        if advisory and clock() < self._full_until.get(advisory.stream, 0.0):
            await message.nak(delay=later)
            return
        try:
            done = advisory is None or await self._bury(advisory, note=tries > 1)
        except Unburied as full:
            stream = advisory.stream if advisory else ""
            self._tell_full(stream, full)
            self._full_until[stream] = clock() + _FULL_STILL_SECONDS
            await message.nak(delay=later)
        except (*Unreachable, JetStreamError) as error:
            _log.info("an advisory waits: %s", str(error) or type(error).__name__)
            await message.nak(delay=_AGAIN_SECONDS)
        else:
            await (message.ack() if done else message.nak(delay=_AGAIN_SECONDS))

    async def _bury(self, advisory: Advisory, *, note: bool) -> bool:
        """See to what was told. False: the message is gone, and another dispatcher may be copying it; next time `note` that it is."""
        retention = self._streams.get(advisory.stream)
        if retention is None:
            return True
        async with self._places:
            came_of_it = await bury(
                self._connection, stream=advisory.stream, consumer=advisory.consumer, sequence=advisory.sequence,
                deliveries=advisory.deliveries, reason=advisory.reason, detail=advisory.detail, retention=retention,
            )  # fmt: skip
            if came_of_it is Buried.BURIED:
                metrics.BURIED.labels(advisory.stream, advisory.reason).inc()
            if came_of_it is not Buried.GONE:
                self._told_full.discard(advisory.stream)
                self._full_until.pop(advisory.stream, None)
            # What is terminated is gone at once, but from a `limits` stream; what was delivered for the last time stays.
            if came_of_it is not Buried.GONE or advisory.reason is not Reason.TERMINATED:
                return True
            if note:
                new = await note_gone(
                    self._connection, stream=advisory.stream, consumer=advisory.consumer, sequence=advisory.sequence,
                    nanoseconds=advisory.nanoseconds, deliveries=advisory.deliveries, reason=advisory.reason, detail=advisory.detail,
                )  # fmt: skip
                metrics.BURIED.labels(advisory.stream, advisory.reason).inc(new)
            return note

    def _tell_full(self, stream: str, full: Unburied) -> None:
        """Once, until there is room again: it may be so for thousands of messages."""
        if stream not in self._told_full:
            self._told_full.add(stream)
            _log.warning("%s", full, extra={"stream": stream})

    # --- what is heard ----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async def hear(message: Msg) -> None:
            advisory = read_advisory(message.data)
            if advisory is None or self._heard.full():
                return
            if advisory.stream not in self._streams:
                self._wait_for(advisory, until=asyncio.get_running_loop().time() + _UNKNOWN_SECONDS)
            elif advisory.reason is Reason.TERMINATED:
                await self._hurry(advisory)
            else:
                self._remember(advisory)

        subscriptions = [await self._connection.subscribe(each, queue=_GROUP, cb=hear) for each in ADVISORY_SUBJECTS]
        try:
            await asyncio.Event().wait()
        finally:
            for each in subscriptions:
                await each.unsubscribe()

    async def _hurry(self, advisory: Advisory) -> None:
        """What is terminated is about to be deleted, but from a `limits` stream: whoever is fast may still copy it."""
        try:
            await self._bury(advisory, note=False)
        except (Unburied, *Unreachable, JetStreamError) as error:
            _log.info("an advisory is left to the stream that keeps it: %s", str(error) or type(error).__name__)

    def _remember(self, advisory: Advisory) -> None:
        if not self._heard.full():
            self._heard.put_nowait((asyncio.get_running_loop().time() + _HEARD_SECONDS, advisory))

    def _wait_for(self, advisory: Advisory, *, until: float) -> None:
        if not self._unknown.full():
            self._unknown.put_nowait((asyncio.get_running_loop().time() + _UNKNOWN_AGAIN_SECONDS, until, advisory))

    async def _see_to_unknown(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            when, until, advisory = await self._unknown.get()
            await asyncio.sleep(max(0.0, when - clock()))
            if advisory.stream in self._streams:
                self._remember(advisory)
            elif clock() < until:
                self._wait_for(advisory, until=until)

    async def _see_to_heard(self) -> None:
        while True:
            when, advisory = await self._heard.get()
            await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
            try:
                await self._bury(advisory, note=False)
            except Unburied as full:
                self._tell_full(advisory.stream, full)

    # --- what nobody told of ----------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds * random.uniform(0.9, 1.1))  # noqa: S311 - as above
            for stream, retention in dict(self._streams).items():
                try:
                    await self._sweeper.sweep(stream, retention)
                except Unburied as full:
                    self._tell_full(stream, full)
