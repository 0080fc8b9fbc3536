"""One webhook, delivered: what is fetched, attempted, put off, buried.

Nothing is acknowledged to JetStream before the endpoint has taken it or the dead letters have a copy. The acknowledgement itself is sent
without waiting for an answer: should it be lost, the message comes again, with the same `webhook-id`. Only an ordered webhook waits for
it, for there the next message of the key must not be sent while the one before may come back.

Retries of an ordered webhook are timed here, as its messages have to stay in hand; how often each was tried, and when it is due, is noted
in the store before it waits. Whoever takes the lease over gets back all that was in hand, sorts it, and goes on from the notes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg

from baas_operator.api.queue import EndpointState
from baas_operator.dead_letters.bury import Unburied, keep
from baas_operator.dead_letters.letter import Reason
from baas_operator.dead_letters.metrics import BURIED
from baas_operator.dispatcher import consumers, metrics, schedule
from baas_operator.dispatcher.breaker import Breaker, Rate
from baas_operator.dispatcher.config import Told
from baas_operator.dispatcher.held import Held, in_order, parse
from baas_operator.dispatcher.outcome import Outcome, Verdict
from baas_operator.dispatcher.puller import Puller
from baas_operator.dispatcher.sender import Sender
from baas_operator.dispatcher.shared import Shared
from baas_operator.dispatcher.standing import Standing
from baas_operator.dispatcher.tally import Sample, Tally
from baas_operator.dispatcher.unbegun import Unbegun
from baas_operator.jetstream.requests import JetStreamError, Unreachable, call
from baas_operator.jetstream.tasks import end

_LONGEST_THROTTLE = 60.0
_BURY_AGAIN_SECONDS = 30.0
_ENSURE_SECONDS = 2.0
_log = logging.getLogger("dispatcher")


class Endpoint:
    """One webhook that can be delivered. It runs once: until it is told to stop, or has to begin anew."""

    def __init__(self, told: Told, shared: Shared) -> None:
        self.told = told
        self._shared, self._webhook = shared, told.webhook
        self._ack_wait = shared.timing.ack_wait(told.webhook.timeout_seconds)
        self._steps = schedule.backoff(told.webhook.retry_seconds, self._ack_wait)
        self._consumer = consumers.consumer_name(told.webhook.name)
        self._breaker = Breaker(told.webhook.circuit_breaker)
        self._rate = Rate(told.rate)
        self._counters = {each: metrics.ATTEMPTS.labels(told.webhook.name, each) for each in Verdict}
        self._seconds = metrics.SECONDS.labels(told.webhook.name)
        self.tally = Tally()
        self.standing = Standing(shared.state, told.webhook, shared.timing.failing)
        self._unheard, self._unheard_since = "", 0.0
        self._unbegun = Unbegun(shared.state, told.webhook.name)
        self._held: dict[int, Held] = {}
        self._ready: asyncio.Queue[Held] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._paused_until = 0.0
        self._puller = Puller(
            shared.connection, told.webhook.stream, self._consumer, arrived=self._arrived, room=self.room, lost=self._restore,
            expires=shared.timing.expires, heartbeat=shared.timing.heartbeat,
        )  # fmt: skip
        self._sender: Sender

    # --- what others see ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> EndpointState:
        """State of the endpoint, as this dispatcher sees it."""
        return EndpointState.DISABLED if self.standing.record.disabled else self._breaker.state

    @property
    def reason(self) -> str | None:
        """Why it is not closed, or what was wrong last."""
        return self.standing.record.disabled or self.unheard or self.standing.last or None

    @property
    def unheard(self) -> str:
        """What is wrong with JetStream, until it answers again."""
        return self._unheard

    @unheard.setter
    def unheard(self, said: str) -> None:
        if said and not self._unheard:
            self._unheard_since = time.monotonic()
        self._unheard = said

    @property
    def unheard_seconds(self) -> float | None:
        """For how long that has been so."""
        return time.monotonic() - self._unheard_since if self._unheard else None

    @property
    def held(self) -> int:
        """Messages in hand."""
        return len(self._held)

    # --- life ---------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Fetch nothing more, finish what is under way, give back the rest; `run` returns then."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`, or until the stream is another one. An error of our own making is raised, with everything given back."""
        self._sender = Sender(self.told, where=self._shared.where, make_guard=self._shared.guard, resolver=self._shared.resolver())
        workers = [asyncio.create_task(self._work()) for _ in range(self._webhook.concurrency)]
        keepers = [asyncio.create_task(each) for each in (self._keep(), *self._more())]
        tasks = [asyncio.create_task(each) for each in (self._look(), self._keep_place())]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await self._ensure()
            tasks.append(asyncio.create_task(self._puller.run()))
            await asyncio.wait((stopping, *keepers, *tasks, *workers), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            await self._wind_up(workers + keepers, [*tasks, stopping])
        for each in (*workers, *keepers, *tasks):
            if each.done() and not each.cancelled():
                each.result()

    def _more(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What else has to run until nothing is in hand any more."""
        return ()

    async def _wind_up(self, lasting: list[asyncio.Task[None]], others: list[asyncio.Task[Any]]) -> None:
        await end(others)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ack_wait):
                await self._until_none_under_way()
        await self._note_unbegun([each for each in self._held.values() if not each.under_way])
        await end(lasting)
        for held in in_order(self._held.values()):
            self._drop(held)
            await self._tell(held, b"-NAK")
        with suppress(*Unreachable):
            await self._shared.connection.flush()
        await self._sender.close()

    async def _until_none_under_way(self) -> None:
        while any(held.under_way for held in self._held.values()):  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.02)

    async def _restore(self) -> None:
        """Make the consumer again if it is not there any more; that nobody leads it for a moment is no reason."""
        try:
            await call(self._shared.connection, f"$JS.API.CONSUMER.INFO.{self._webhook.stream}.{self._consumer}")
            self.unheard = ""
        except JetStreamError as refused:
            if refused.code in consumers.MISSING:
                await self._ensure()
        except Unreachable as error:
            self.unheard = f"JetStream does not answer: {error}"

    async def _keep_place(self) -> None:
        """Who asks for messages is told when the consumer goes. While none are asked for, as by one that is disabled, somebody has to look:
        a stream that keeps what somebody is interested in would keep nothing."""
        while not self._stopping.is_set():
            await self._sleep(_ENSURE_SECONDS if self.unheard else self._shared.timing.place)
            if self.room() <= 0 and not self._stopping.is_set():
                await self._restore()

    async def _ensure(self) -> None:
        """The consumer, however long it takes: its stream may come later."""
        while not self._stopping.is_set():
            try:
                await consumers.ensure(self._shared.connection, self._webhook, self._ack_wait)
                self.unheard = ""
                return
            except JetStreamError as refused:
                self.unheard = f"JetStream refuses the webhook's consumer: {refused}"
            except Unreachable as error:
                self.unheard = f"JetStream does not answer: {error}"
            await self._sleep(_ENSURE_SECONDS)

    # --- fetching -----------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more messages may be fetched. While the breaker is not closed, one to try it with."""
        if not self._open or time.monotonic() < self._paused_until:
            return 0
        if self._breaker.idle:
            return 0 if self._held or self._breaker.rests(time.monotonic()) else 1
        return 2 * self._webhook.concurrency - len(self._held)

    @property
    def _open(self) -> bool:
        return not self._stopping.is_set() and not self.standing.record.disabled

    def _arrived(self, raw: Msg) -> None:
        held = parse(raw, time.monotonic())
        known = self._held.get(held.sequence)
        if known and known.place != held.place:
            self._begin_anew()
            return
        if known:  # JetStream gave it up while it was in hand, or forgot the delivery with a leader
            known.reply, known.deliveries, known.touched = held.reply, held.deliveries, held.touched
            return
        self._held[held.sequence] = held
        self._take_in(held)

    def _begin_anew(self) -> None:
        """The stream was deleted and made again. What is in hand is of the old one, and to acknowledge it would be to acknowledge what has
        its sequence now, which nobody was sent."""
        _log.warning("webhook %s: stream %s was made again; what was in hand is let go of", self._webhook.name, self._webhook.stream)
        for held in self._held.values():
            held.reply = ""
        self.stop()

    def _take_in(self, held: Held) -> None:
        held.attempts = held.deliveries - 1
        self._ready.put_nowait(held)

    async def _keep(self) -> None:
        """Tell JetStream what is still in hand."""
        while True:
            await asyncio.sleep(self._ack_wait / 10)
            now = time.monotonic()
            for held in list(self._held.values()):
                if now > held.touched + self._ack_wait / 3:
                    held.touched = now
                    await self._tell(held, b"+WPI")

    # --- attempts -----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            held = await self._ready.get()
            if self._held.get(held.sequence) is not held:
                continue
            held.under_way = True
            try:
                if await self._may_begin():
                    await self._attempt(held)
                elif not self._stopping.is_set():  # else all are given back together, once nothing more is fetched
                    await self._give_back(held)
            finally:
                held.under_way = False
                self._puller.wake()

    async def _may_begin(self) -> bool:
        """Wait until an attempt may begin; False: none may."""
        while self._open:
            wait = self._left_alone_for(time.monotonic())
            if wait <= 0:
                await self._sleep(self._rate.reserve(time.monotonic()))
                # Its turn may have been long in coming, and what came of others meanwhile counts.
                now = time.monotonic()
                wait = self._left_alone_for(now) or self._breaker.wait_seconds(now)
                if wait <= 0:
                    if self._open:
                        return True
                    self._breaker.abandoned()
                    return False
            await self._sleep(min(wait, 1.0))
        return False

    def _left_alone_for(self, now: float) -> float:
        return max(0.0, self._paused_until - now, self._breaker.closed_for(now))

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()

    async def _attempt(self, held: Held) -> None:
        await self._count(held)
        if not held.buried_for:
            held.buried_for = self._lost_cause(held)
        if held.buried_for:
            self._breaker.abandoned()
            await self._bury(held)
            return
        started = time.monotonic()
        outcome = Outcome(Verdict.UNREACHABLE, "was cut off")
        try:
            outcome = await self._sender.post(held.message, self.told.keys, held.attempts + 1)
        finally:
            self._note(outcome, started)
        if outcome.taken:
            await self._taken(held)
        elif outcome.verdict is Verdict.GONE:
            await self.standing.disable(f"the endpoint {outcome.detail}")
            held.buried_for = (Reason.ENDPOINT_GONE, outcome.detail)
            await self._bury(held)
        elif held.attempts >= len(self._webhook.retry_seconds):
            held.buried_for = (Reason.RETRIES_EXHAUSTED, f"attempt {held.attempts + 1}, the last: {outcome.detail}")
            await self._bury(held)
        else:
            held.attempts += 1
            delay = schedule.delay_seconds(held.attempts, self._webhook.retry_seconds, outcome.retry_after, random.random())  # noqa: S311
            await self._put_off(held, delay)

    async def _count(self, held: Held) -> None:
        """How many attempts there were before, where there may have been some."""
        if held.deliveries > 1:
            with suppress(*Unreachable):  # then all deliveries count
                held.attempts = max(0, held.deliveries - 1 - await self._unbegun.of(held))

    async def _note_unbegun(self, given_back: list[Held]) -> None:
        """Before they are given back: whoever gets them next looks."""
        if not given_back:
            return
        with suppress(JetStreamError, *Unreachable):
            info = await call(self._shared.connection, f"$JS.API.CONSUMER.INFO.{self._webhook.stream}.{self._consumer}")
            await self._unbegun.note(given_back, floor=int(info.get("ack_floor", {}).get("stream_seq", 0)))

    def _lost_cause(self, held: Held) -> tuple[str, str] | None:
        if len(held.message.payload) > self.told.max_payload:
            return Reason.PAYLOAD_TOO_LARGE, f"{len(held.message.payload)} bytes, where maxPayload is {self._webhook.max_payload}"
        if held.attempts > len(self._webhook.retry_seconds):
            return (
                Reason.RETRIES_EXHAUSTED,
                f"was delivered {held.deliveries} times; the last attempts were cut off, or it could not be kept here",
            )
        return None

    def _note(self, outcome: Outcome, started: float) -> None:
        now = time.monotonic()
        answered = outcome.status is not None
        self.tally.add(Sample(now, outcome.taken, now - started, answered))
        self._counters[outcome.verdict].inc()
        self._seconds.observe(now - started)
        self._breaker.done(now, taken=outcome.taken, failed=outcome.breaks)
        if outcome.throttles:
            self._paused_until = now + min(outcome.retry_after or 0.0, _LONGEST_THROTTLE)
        self.standing.saw(outcome)
        if outcome.taken:
            self.unheard = ""

    # --- what becomes of a message ------------------------------------------------------------------------------------

    async def _taken(self, held: Held) -> None:
        await self._tell(held, b"+ACK")
        self._drop(held)

    async def _put_off(self, held: Held, delay: float) -> None:
        told = schedule.nak_seconds(delay, held.deliveries, self._steps)
        await self._tell(held, b'-NAK {"delay": %d}' % int(told * 10**9))
        self._drop(held)

    async def _give_back(self, held: Held) -> None:
        """Later than our last request for messages ends: it would else come back to us at once, and again."""
        await self._note_unbegun([held])
        await self._put_off(held, self._shared.timing.expires + 1)

    async def _bury(self, held: Held) -> None:
        assert held.buried_for, "who is buried has a reason"
        reason, detail = held.buried_for
        message = held.message
        try:
            new = await keep(
                self._shared.connection, held.source, stream=message.stream, consumer=self._consumer, deliveries=held.attempts + 1,
                reason=reason, detail=detail,
            )  # fmt: skip
        except (Unburied, JetStreamError, *Unreachable) as error:
            self.standing.last = f"a dead letter can not be kept: {str(error) or type(error).__name__}"
            _log.warning("webhook %s: message %d can not be made a dead letter yet: %s", self._webhook.name, message.sequence, error)
            await self._bury_later(held)
            return
        metrics.DEAD.labels(self._webhook.name, reason).inc(new)
        BURIED.labels(message.stream, reason).inc(new)
        _log.info("webhook %s: message %d is a dead letter: %s, %s", self._webhook.name, message.sequence, reason, detail)
        await self._taken(held)

    async def _bury_later(self, held: Held) -> None:
        await self._put_off(held, _BURY_AGAIN_SECONDS)

    def _drop(self, held: Held) -> None:
        if self._held.get(held.sequence) is held:
            del self._held[held.sequence]

    async def _tell(self, held: Held, word: bytes) -> None:
        if not held.reply:  # nobody waits to hear of it any more
            return
        with suppress(*Unreachable):  # it comes again then
            await self._shared.connection.publish(held.reply, word)

    # --- how it stands ------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while not self._stopping.is_set():
            with suppress(*Unreachable):
                await self.standing.look()
            await self._sleep(self._shared.timing.look)
