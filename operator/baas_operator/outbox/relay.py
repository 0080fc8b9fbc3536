"""The relay of one outbox: look at the stream, write down what is to be published, publish it, delete it, and so on.

Each step may be the last one of this process, of the primary or of a server. What is under way is in `TABLE_relay` before it is sent, so
whoever goes on looks first which of it is in the stream. Nothing else is remembered.

Why two relays at once (one at an old primary and one at a new one, or one that was frozen) do no harm: what a relay publishes has the
stream's last sequence with it, as it was seen *before* a commit that the real primary alone can make. If another relay has published since,
the sequence has moved, and the message is refused; if none has, it is the only one. A relay that is refused looks what is there, commits,
and only then publishes again; one that is deposed can not commit any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Coroutine
from contextlib import suppress

from nats.aio.client import Client as Nats

from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.outbox.config import ConfigError, OutboxConfig
from baas_operator.outbox.ledger import Broken, Intent, Ledger, LedgerError, Mode
from baas_operator.outbox.rows import Refusal, Row
from baas_operator.outbox.status import OutboxStatus, State
from baas_operator.outbox.stream import Outcome, Round, Stream, StreamUnavailableError, View
from baas_operator.outbox.tables import TableError

_LOCK_SECONDS = 1.0
"""How often a relay that waits asks whether the outbox is free."""
_POLL_SECONDS = 5.0
_FIRST_POLL_SECONDS = 0.05
"""After the last row, how long until the table is looked at again without being woken: a transaction that inserted while the relay was
awake does not wake it, and commits soon. From then on twice as long each time."""
_AGAIN_SECONDS = 0.2
_GIVE_UP_SECONDS = 30.0
"""For so long nothing may be taken by the stream before the outbox is let go of: another pod may reach what this one does not."""
_OPEN_AFTER = 10
"""Refusals in a row, by a stream that others publish to all the time, before the last sequence is left out."""
_TELL_SECONDS = 10.0
_MOST_DELAY_SECONDS = 5.0
_log = logging.getLogger("outbox")


async def relay(config: OutboxConfig, client: Nats, status: OutboxStatus, readable: Collection[str] | None = None) -> None:
    """Relay one outbox until cancelled, whatever fails; `status` tells how it goes. `client` has to reconnect by itself and for ever, and
    needs to publish to the stream's subjects, and `$JS.API.STREAM.INFO.STREAM` and `$JS.API.STREAM.MSG.GET.STREAM` of all that are
    `readable`, where the outbox may have published to before. They may change meanwhile; None: any may be asked.

    Any number may run for the same outbox: one relays, the others wait for it to go."""
    delay = _AGAIN_SECONDS
    while True:
        began = time.monotonic()
        try:
            await _connected(config, client, status, readable)
        except (ConfigError, TableError, LedgerError, StreamUnavailableError, JetStreamError) as error:
            said = str(error)
        except (*Broken, *Unreachable) as error:
            said = f"{type(error).__name__}: {error}".rstrip(": ")
        if status.message != said or status.state is not State.FAILING:
            _log.warning("outbox %s: %s", config.name, said)
        status.now(State.FAILING, said)
        delay = _AGAIN_SECONDS if time.monotonic() - began > _GIVE_UP_SECONDS / 2 else min(delay * 2, _MOST_DELAY_SECONDS)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - relays that were turned away together do not come back together


async def _connected(config: OutboxConfig, client: Nats, status: OutboxStatus, readable: Collection[str] | None) -> None:
    ledger = await Ledger.connect(config)
    try:
        while not await ledger.lock():
            status.now(State.WAITING)
            await asyncio.sleep(_LOCK_SECONDS)
        session = _Session(config, client, ledger, status, readable)
        try:
            await session.run()
        finally:
            await session.close()
    finally:
        ledger.close()
        if status.state is State.RELAYING:
            status.now(State.STARTING)


class _Session:
    """What one connection that has the lock does, until something fails. `_done`, `_refused` and `_keep` are what the next transaction has
    to write down: rows that are in the stream, that never will be, and that are still to be published."""

    def __init__(self, config: OutboxConfig, client: Nats, ledger: Ledger, status: OutboxStatus, readable: Collection[str] | None) -> None:
        self._client, self._ledger, self._status, self._readable = client, ledger, status, readable
        self._name = config.name
        self._stream = Stream(client, config.stream)
        self._done: list[str] = []
        self._refused: list[Refusal] = []
        self._keep: list[Row] = []
        self._uncertain: set[str] = set()
        """Ids whose place in the stream was taken by a message that is gone: theirs, or another's."""
        self._one_by_one = False
        self._conflicts = 0
        self._fruitless_since: float | None = None
        self._told = 0.0

    async def run(self) -> None:
        """Until something fails."""
        intent, missing = await self._ledger.begin()
        if missing:
            _log.warning("outbox %s: %s", self._name, missing)
        if self._ledger.tables.index_missing:
            _log.warning("outbox %s: %s has no index on seq: make one, or a long backlog is slow", self._name, self._ledger.tables.rows)
        view = await self._view()
        if intent.ids:
            await self._take_up(intent, view)
        while True:
            # What was looked for and not found was looked for up to `view.last`, and is published onto that and nothing else.
            view = await self._batch(view) or await self._view()

    async def close(self) -> None:
        """Let go of what it holds of the client."""
        with suppress(*Unreachable):
            await self._stream.close()

    async def _view(self) -> View:
        view = await self._stream.view()
        if view is None:
            raise StreamUnavailableError(f"There is no stream {self._stream.name}: rows wait until there is.")
        return view

    async def _take_up(self, intent: Intent, view: View) -> None:
        """Find out what became of what was under way."""
        rows, wrong = await self._ledger.rows(intent.ids, view.limits)
        if intent.stream != self._stream.name:
            found = await self._in_former(intent)
        elif intent.mode is Mode.OPEN or intent.created != view.created:
            found = await self._walked(self._stream, intent, view, rows)
        else:
            found, self._uncertain = await self._stream.positions(intent.base, intent.ids, view.last)
        self._done = [each for each in intent.ids if each in found]
        self._refused = [each for each in wrong if each.id not in found]
        self._keep = [each for each in rows if each.id not in found]
        _log.info("outbox %s: of %d messages that were under way, %d are in the stream", self._name, len(intent.ids), len(self._done))

    async def _in_former(self, intent: Intent) -> set[str]:
        """Which of what was under way is in the stream that the outbox was led away from. None of it, where that stream is gone, or is no
        outbox's any more, as then a dispatcher may not look in it: what was under way is in both at worst, and in one at least."""
        if self._readable is not None and intent.stream not in self._readable:
            _log.warning("outbox %s: %d messages were under way to %s, where no outbox may look any more: they go to %s, too", self._name,
                         len(intent.ids), intent.stream, self._stream.name)  # fmt: skip
            return set()
        former = Stream(self._client, intent.stream)
        try:
            view = await former.view()
        except (JetStreamError, *Unreachable) as error:
            raise StreamUnavailableError(
                f"Stream {intent.stream}, which this outbox published to before, does not answer ({str(error) or type(error).__name__}): "
                "rows that were under way may be in it, so all wait until it does, or no outbox publishes to it any more."
            ) from error
        if view is None:
            return set()
        rows, _ = await self._ledger.rows(intent.ids, view.limits)  # the stream of now may not have their subjects
        return await self._walked(former, intent, view, rows)

    async def _walked(self, stream: Stream, intent: Intent, view: View, rows: list[Row]) -> set[str]:
        base = intent.base if intent.created == view.created else 0
        return await self._held(stream.walk(base, [(each.subject, each.id) for each in rows]))

    async def _batch(self, view: View) -> View | None:
        """One transaction, and what it says is to be published; the stream as it then was, if something of that is left."""
        mode = self._mode(view)
        messages, refusals = await self._ledger.next(
            done=self._done, refused=self._refused, keep=self._keep, stream=self._stream.name, created=view.created, base=view.last,
            mode=mode, limits=view.limits,
        )  # fmt: skip
        self._account(refusals)
        vanished = bool(self._keep) and not messages
        self._done, self._refused, self._keep = [], [], []
        await self._tell()
        if not messages:
            self._status.progressed(well=True)
            if not vanished:
                await self._idle()
            return None
        if mode is Mode.BATCH:
            sent = await self._stream.batch(messages, view.last)
        else:
            sent = await self._stream.single(messages, None if mode is Mode.OPEN else view.last)
        return await self._settle(sent, [each.row for each in messages], view, mode)

    def _mode(self, view: View) -> Mode:
        if self._conflicts >= _OPEN_AFTER:
            return Mode.OPEN
        return Mode.BATCH if view.atomic and not self._uncertain and not self._one_by_one else Mode.SINGLE

    async def _settle(self, sent: Round, rows: list[Row], view: View, mode: Mode) -> View | None:
        """From what was answered, and where that is not all from what is there, what the next transaction has to write down."""
        found = set(sent.of(Outcome.STORED, Outcome.DUPLICATE))
        again = self._uncertain & set(sent.of(Outcome.STORED))
        if again:
            self._status.count(uncertain=len(again))
            _log.warning("outbox %s: %d messages may be in the stream twice: what was at their place was removed before",
                         self._name, len(again))  # fmt: skip
        refused = {each.id for each in sent.refused}
        left = [each for each in rows if each.id not in found | refused]
        now = None
        if left:
            now = await self._view()
            found |= await self._look(now, left, sent, rows, view, mode)
        self._uncertain -= found
        self._done = [each.id for each in rows if each.id in found]
        self._refused = [each for each in sent.refused if each.id not in found]
        self._keep = [each for each in left if each.id not in found]
        self._one_by_one = bool(self._keep) and (self._one_by_one or sent.one_by_one)
        await self._patience(sent, progress=bool(self._done or self._refused))
        return now

    async def _look(self, now: View, left: list[Row], sent: Round, rows: list[Row], before: View, mode: Mode) -> set[str]:
        """Which of those that nobody answered for, or that came too late, are in the stream: another relay may have brought them there."""
        if now.created != before.created:
            return await self._held(self._stream.walk(0, [(each.subject, each.id) for each in left]))
        if mode is Mode.OPEN:
            return await self._held(self._stream.walk(before.last, [(each.subject, each.id) for each in left]))
        found, gone = await self._stream.positions(before.last, [each.id for each in rows], now.last)
        self._uncertain |= gone & set(sent.of(Outcome.UNKNOWN))
        return found & {each.id for each in left}

    async def _held(self, work: Coroutine[None, None, set[str]]) -> set[str]:
        """What `work` finds, however long it takes; PostgreSQL ends sessions that say nothing for a minute, and the lock with them."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=_TELL_SECONDS)
                await self._tell()
            return task.result()
        finally:
            task.cancel()

    async def _patience(self, sent: Round, *, progress: bool) -> None:
        if progress:
            self._conflicts, self._fruitless_since = 0, None
            self._status.progressed(well=True)
            return
        if not sent.of(Outcome.UNKNOWN, Outcome.BUSY):
            self._conflicts += 1
            return
        now = time.monotonic()
        self._fruitless_since = self._fruitless_since or now
        if now - self._fruitless_since > _GIVE_UP_SECONDS:
            raise StreamUnavailableError(f"Stream {self._stream.name} takes no messages: {sent.said or 'no answer'}.")
        self._status.progressed(well=False)
        self._status.now(State.RELAYING, f"Stream {self._stream.name} takes no messages just now: {sent.said or 'no answer'}.")
        await asyncio.sleep(_AGAIN_SECONDS)

    # --- between batches ----------------------------------------------------------------------------------------------

    async def _idle(self) -> None:
        """Until there are rows."""
        wait = _FIRST_POLL_SECONDS
        while True:
            self._ledger.wake.clear()
            if await self._ledger.any():
                return
            await self._tell()
            try:
                async with asyncio.timeout(wait):
                    await self._ledger.wake.wait()
            except TimeoutError:
                wait = min(wait * 2, _POLL_SECONDS)

    def _account(self, refusals: list[Refusal]) -> None:
        self._status.count(published=len(self._done), refused=len(refusals))
        for each in refusals:
            _log.warning("outbox %s: row %s was put aside: %s", self._name, each.id[:200], each.reason)
        said = f"Row {refusals[-1].id[:200]} was put aside: {refusals[-1].reason}" if refusals else ""
        if said or self._done or self._status.state is not State.RELAYING:
            self._status.now(State.RELAYING, said or (self._status.message if self._status.message.startswith("Row ") else ""))

    async def _tell(self) -> None:
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            self._status.waiting_rows(*await self._ledger.waiting())
