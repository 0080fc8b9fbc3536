"""A webhook whose messages are delivered one after another within a key, by whichever dispatcher holds its lease.

Why the order holds: all that JetStream waits to hear of is in the holder's hands (`consumers.MOST_IN_ORDER` at the most) before it begins
anything, sorted by place; what is new has a higher one; and of each key the next is begun once JetStream has confirmed that the one before
is done with.

Messages behind one that failed have to stay in hand, and count for nothing when more are fetched: they would keep all other keys waiting.
Of what is beyond the window (`consumers.window`) the place alone is kept, and the rest read from the stream once it is its turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from baas_operator.dead_letters.bury import fetch
from baas_operator.dispatcher import consumers
from baas_operator.dispatcher.config import Told
from baas_operator.dispatcher.endpoint import Endpoint
from baas_operator.dispatcher.held import Held, Lanes, in_order
from baas_operator.dispatcher.lease import Lease
from baas_operator.dispatcher.shared import Shared
from baas_operator.jetstream.requests import JetStreamError, Unreachable, call

_BURY_AGAIN_SECONDS = 30.0
_ACK_SECONDS = 2.0
_AGAIN_SECONDS = 1.0
_log = logging.getLogger("dispatcher")


class OrderedEndpoint(Endpoint):
    """One webhook with an order."""

    def __init__(self, told: Told, shared: Shared) -> None:
        super().__init__(told, shared)
        self._lanes = Lanes(told.webhook.ordering)
        self._lease = Lease(shared, told.webhook.name, told.webhook.timeout_seconds)
        self._window = consumers.window(told.webhook)
        self._gathering = True
        """Whether what the holder before had in hand is still coming back; nothing is begun meanwhile."""
        self._fetching = False
        self._notes: dict[str, tuple[int, float]] = {}
        """By its place: attempts that were made of a message, and when it is due, in seconds since 1970."""
        self._revision = 0
        self._writing = asyncio.Lock()
        self._changed = self._written = 0
        """How often the notes were to be written, and the last of those times that is in the store."""

    def _more(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self._lease.run(), self._take_turns()

    async def run(self) -> None:
        """Until `stop`; then another may go on at once."""
        try:
            await super().run()
        finally:
            await self._lease.release()

    @property
    def _open(self) -> bool:
        return super()._open and self._lease.valid

    def room(self) -> int:
        """How many more messages may be fetched: those behind another of their key have to wait. Not more than the window at a time, which
        servers and connection hold."""
        if not self._fetching or not self._open:
            return 0
        held = len(self._held)
        room = min(self._window, consumers.MOST_IN_ORDER - held)
        if self._gathering:
            return room
        return min(room, self._window - (held if self._breaker.idle else held - self._lanes.delayed))

    # --- holding the lease --------------------------------------------------------------------------------------------

    async def _take_turns(self) -> None:
        while True:
            await self._lease.taken.wait()
            try:
                await self._begin()
                self.unheard = ""
                await self._lease.lost.wait()
            except (JetStreamError, *Unreachable) as error:
                self.unheard = f"JetStream does not answer: {error}"
                await asyncio.sleep(1)
                continue
            finally:
                self._gathering, self._fetching = True, False
            self._held.clear()  # whoever has the lease gets them
            self._lanes.clear()

    async def _begin(self) -> None:
        """Get back what the holder before us had in hand, and sort it; what is new then comes behind it."""
        self._notes, self._revision = await self._read_notes()
        info = await call(self._shared.connection, f"$JS.API.CONSUMER.INFO.{self._webhook.stream}.{self._consumer}")
        waiting = min(int(info.get("num_ack_pending", 0)), consumers.MOST_IN_ORDER)
        patience = self._ack_wait + self._shared.timing.slack
        back, deadline = 0, time.monotonic() + patience
        self._fetching = True
        self._puller.wake()
        while back < waiting and time.monotonic() < deadline and not self._lease.lost.is_set():
            await asyncio.sleep(0.05)
            # So many may take longer, however fast they come. And none is fetched while the store does not answer, as in an election: to go
            # on without what was to come would let others pass it. That ends once the store answers: the lease is renewed then, or lost.
            if self._back > back or not self._lease.valid:
                back, deadline = self._back, time.monotonic() + patience
        _log.info("webhook %s: %d of %d messages that were in hand came back", self._webhook.name, len(self._held), waiting)
        self._gathering = False
        for held in in_order(self._held.values()):
            self._line_up(held)

    @property
    def _back(self) -> int:
        return sum(each.deliveries > 1 for each in self._held.values())

    def _take_in(self, held: Held) -> None:
        held.key = self._lanes.key(held)
        self._ease(held)
        if not self._gathering:
            self._line_up(held)

    def _ease(self, held: Held) -> None:
        """What has to wait while many do need not be in memory."""
        if len(self._held) > self._window:
            held.shed()

    def _line_up(self, held: Held) -> None:
        held.attempts, due = self._notes.get(held.place, (0, 0.0))
        if self._lanes.add(held):
            self._when_due(held, due - time.time())

    def _when_due(self, held: Held, seconds: float) -> None:
        if seconds <= 0:
            self._ready.put_nowait(held)
            return
        self._lanes.delay(held)
        self._ease(held)
        asyncio.get_running_loop().call_later(seconds, self._ready.put_nowait, held)

    async def _attempt(self, held: Held) -> None:
        if held.whole or await self._filled(held):
            await super()._attempt(held)
        else:
            self._breaker.abandoned()

    async def _filled(self, held: Held) -> bool:
        """Read what a message had; False: it can not be sent now, or nobody waits for it."""
        try:
            found = await fetch(self._shared.connection, self._webhook.stream, held.sequence)
        except (JetStreamError, *Unreachable) as error:
            self.unheard = f"JetStream does not answer: {error}"
            self._when_due(held, _AGAIN_SECONDS)
            return False
        if self._held.get(held.sequence) is not held:
            return False
        if found is None:
            _log.info("webhook %s: message %d is not in the stream any more", self._webhook.name, held.sequence)
            await self._taken(held)
            return False
        if found.nanoseconds != held.source.nanoseconds:
            self._begin_anew()
            return False
        self.unheard = ""
        held.fill(found)
        return True

    # --- what becomes of a message ------------------------------------------------------------------------------------

    async def _taken(self, held: Held) -> None:
        """JetStream has to know before the next of the key is sent."""
        while held.reply:
            try:
                await self._shared.connection.request(held.reply, b"+ACK", timeout=_ACK_SECONDS)
                self.unheard = ""
                break
            except Unreachable as error:
                self.unheard = f"JetStream does not answer: {error}"
                if self._held.get(held.sequence) is not held:
                    return
                if await self._gone(held):
                    break
                await asyncio.sleep(0.1)
        if self._held.get(held.sequence) is not held or not held.reply:
            return
        self._drop(held)
        if self._notes.pop(held.place, None):
            with suppress(*Unreachable):  # one too many says nothing about a message that is gone
                await self._write_notes()
        following = self._lanes.done(held)
        if following:
            self._when_due(following, self._notes.get(following.place, (0, 0.0))[1] - time.time())

    async def _gone(self, held: Held) -> bool:
        """Whether the stream has it no more, so that nobody waits for its acknowledgement; nor may what has its sequence now get that."""
        try:
            found = await fetch(self._shared.connection, self._webhook.stream, held.sequence)
        except (JetStreamError, *Unreachable):
            return False
        return found is None or found.nanoseconds != held.source.nanoseconds

    async def _put_off(self, held: Held, delay: float) -> None:
        self._notes[held.place] = held.attempts, time.time() + delay
        with suppress(*Unreachable):  # then a dispatcher that takes over tries it once more than it should
            await self._write_notes()
        self._when_due(held, delay)

    async def _bury_later(self, held: Held) -> None:
        self._when_due(held, _BURY_AGAIN_SECONDS)

    async def _give_back(self, held: Held) -> None:
        """It waits in our hands: if it went, those behind it would pass. Should the lease be lost meanwhile, it is not ours any more when
        it is due."""
        self._when_due(held, self._shared.timing.look)

    async def _count(self, held: Held) -> None:
        """The notes say it."""

    async def _note_unbegun(self, given_back: list[Held]) -> None:
        """Attempts are noted, and not what was none."""

    async def _read_notes(self) -> tuple[dict[str, tuple[int, float]], int]:
        value, revision = await self._shared.state.get(f"order.{self._webhook.name}")
        return {place: (int(attempts), float(due)) for place, (attempts, due) in value.items()}, revision

    async def _write_notes(self) -> None:
        self._changed += 1
        change = self._changed
        async with self._writing:
            for _ in range(3):
                if self._written >= change:  # it went with another's
                    return
                change = self._changed
                body = {place: list(each) for place, each in self._notes.items()}
                revision = await self._shared.state.put(f"order.{self._webhook.name}", body, self._revision)
                if revision is not None:
                    self._revision, self._written = revision, change
                    return
                if not self._lease.valid:
                    return
                _, self._revision = await self._read_notes()
