"""All webhooks of one queue, as one dispatcher delivers them: each by itself, so that what is wrong with one harms no other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from baas_operator.api.queue import EndpointState
from baas_operator.api.webhooks import OrderBy
from baas_operator.dispatcher import consumers, metrics
from baas_operator.dispatcher.config import Told
from baas_operator.dispatcher.consumers import Backlog
from baas_operator.dispatcher.endpoint import Endpoint
from baas_operator.dispatcher.ordered import OrderedEndpoint
from baas_operator.dispatcher.shared import Shared
from baas_operator.dispatcher.tally import Tally
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.jetstream.tasks import together
from baas_operator.observe.dispatchers import WebhookReport
from baas_operator.observe.moments import to_text

_AGAIN_SECONDS = 5.0
_BACKLOG_SECONDS = 10.0
_STRAYS_SECONDS = 60.0
_STRAY_SECONDS = 180.0
"""How long a webhook must not have been declared, and nobody have asked its consumer for messages, before that goes: a kubelet may take a
minute and a half to bring others the same news, and one that has not heard of it would make the consumer again, from the stream's
beginning. It may never hear of it, as where its kubelet is cut off and it runs on."""
_log = logging.getLogger("dispatcher")


@dataclass
class _Slot:
    """A declared webhook, and what runs for it."""

    told: Told
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    endpoint: Endpoint | None = None
    task: asyncio.Task[None] | None = None
    backlog: Backlog | None = None
    asked_at: float = 0.0
    """When that was so, by the monotonic clock."""
    trouble: str = ""

    def stop(self) -> None:
        self.stopping.set()
        if self.endpoint:
            self.endpoint.stop()

    async def stopped(self) -> None:
        self.stop()
        if self.task:
            await self.task

    async def pause(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()


class Dispatcher:
    """The webhooks of a queue."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._slots: dict[str, _Slot] = {}
        self._streams: tuple[str, ...] = ()
        self._known: set[tuple[str, str]] = set()
        """Streams and consumers of all webhooks that this process was told of."""
        self._strays: dict[tuple[str, str], float] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def apply(self, declared: Iterable[Told], streams: Iterable[str] = ()) -> None:
        """Deliver these webhooks from now on; `streams` are all that are declared. What did not change is not touched, new secrets sign
        from the next attempt on, and of what else changed the old finishes what is under way before the new begins."""
        self._streams = tuple(streams)
        wanted = {each.webhook.name: each for each in declared}
        self._known |= {_consumer(each) for each in wanted.values()}
        for name in self._slots.keys() - wanted.keys():
            _log.info("webhook %s: not declared any more", name)
            self._replace(name, None)
        for name, told in wanted.items():
            slot = self._slots.get(name)
            if slot is None or not _taken_in_place(slot, told):
                self._replace(name, told)

    def _replace(self, name: str, told: Told | None) -> None:
        before = self._slots.pop(name, None)
        if before:
            before.stop()
        if told is None:
            assert before, "only what is there can be taken out"
            ending = asyncio.create_task(self._end(name, before))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            return
        slot = _Slot(told)
        slot.task = asyncio.create_task(self._run(slot, before))
        self._slots[name] = slot

    async def run(self) -> None:
        """Watch over what waits, until cancelled; `stop` ends the deliveries."""
        await together(self._watch_backlogs(), self._sweep())

    async def stop(self) -> None:
        """Stop all: nothing more is fetched, what is under way is finished, the rest is given back."""
        for slot in self._slots.values():
            slot.stop()
        await asyncio.gather(*(slot.stopped() for slot in self._slots.values()), *self._ending, return_exceptions=True)

    # --- one webhook --------------------------------------------------------------------------------------------------

    async def _run(self, slot: _Slot, before: _Slot | None) -> None:
        if before:
            await before.stopped()
        while not slot.stopping.is_set():
            try:
                if slot.told.trouble or not slot.told.webhook.enabled:
                    await self._keep_place(slot)
                else:
                    slot.endpoint = _endpoint(slot.told, self._shared)
                    await slot.endpoint.run()
            except Exception as error:  # noqa: BLE001 - a mistake of ours with one webhook must not end the others
                _log.exception("webhook %s: begins again after an error of the dispatcher's own", slot.told.webhook.name)
                slot.trouble = f"the dispatcher itself failed: {type(error).__name__}"
                await slot.pause(_AGAIN_SECONDS)
            finally:
                slot.endpoint = None

    async def _keep_place(self, slot: _Slot) -> None:
        """Nothing is sent, but the consumer is there, also where somebody deletes it, or its stream is made anew: a stream that keeps what
        somebody is interested in keeps it."""
        webhook, place = slot.told.webhook, consumers.ensure
        while not slot.stopping.is_set():
            try:
                await place(self._shared.connection, webhook, self._shared.timing.ack_wait(webhook.timeout_seconds))
                place = consumers.restore  # what it should be others may have heard since
                await slot.pause(self._shared.timing.place)
            except (JetStreamError, *Unreachable) as error:
                slot.trouble = f"JetStream refuses the webhook's consumer, or does not answer: {error}"
                await slot.pause(_AGAIN_SECONDS)

    async def _end(self, name: str, slot: _Slot) -> None:
        await slot.stopped()
        if name not in self._slots:
            metrics.forget(name)

    # --- what is seen -------------------------------------------------------------------------------------------------

    async def _watch_backlogs(self) -> None:
        while True:
            for name, slot in list(self._slots.items()):
                found: Backlog | None = None
                with suppress(JetStreamError, *Unreachable):
                    found = await consumers.backlog(self._shared.connection, slot.told.webhook, datetime.now(UTC))
                if self._slots.get(name) is not slot:
                    continue  # it was taken out meanwhile, and nothing would take its series away again
                if found:
                    slot.backlog, slot.asked_at = found, time.monotonic()
                    metrics.PENDING.labels(name).set(found.pending)
                    metrics.OLDEST.labels(name).set(found.oldest_seconds or 0)
                state, _ = _state(slot)
                metrics.FAILURES.labels(name).set(slot.endpoint.tally.failures if slot.endpoint else 0)
                for each in EndpointState:
                    metrics.STATE.labels(name, each).set(each is state)
            await asyncio.sleep(_BACKLOG_SECONDS)

    async def _sweep(self) -> None:
        """Delete consumers of webhooks that are not declared any more."""
        while True:
            await asyncio.sleep(_STRAYS_SECONDS)
            await self.sweep_once(time.monotonic())

    async def sweep_once(self, now: float) -> None:
        """Delete what has been a stray for long enough; `now` is by the monotonic clock. Only what this process was told of can be one, as
        what it never heard of may be of a webhook that was declared since its news ended. What was taken out before it began is the
        operator's (policy/queue/streams.py, `left_behind`)."""
        gone = self._known - {_consumer(slot.told) for slot in self._slots.values()}
        self._strays = {each: self._strays.get(each, now) for each in gone if each[0] in self._streams}
        for each in sorted(self._strays):
            with suppress(*Unreachable):
                try:
                    await self._sweep_one(each, now)
                except JetStreamError as refused:
                    if refused.code in consumers.MISSING:
                        self._known.discard(each)

    async def _sweep_one(self, stray: tuple[str, str], now: float) -> None:
        stream, name = stray
        idle = await consumers.idle(self._shared.connection, stream, name)
        if idle is None:  # by another, which has not heard of it
            self._strays[stray] = now
        elif min(idle, now - self._strays[stray]) >= _STRAY_SECONDS:
            _log.info("consumer %s of stream %s goes: its webhook is not declared any more", name, stream)
            await consumers.delete(self._shared.connection, stream, name)
            self._known.discard(stray)  # who makes it again knows better

    def status(self) -> list[dict[str, Any]]:
        """What this dispatcher says of each webhook: `WebhookReport`."""
        now = time.monotonic()
        return [_status(name, slot, now) for name, slot in sorted(self._slots.items())]


def _consumer(told: Told) -> tuple[str, str]:
    return told.webhook.stream, consumers.consumer_name(told.webhook.name)


def _endpoint(told: Told, shared: Shared) -> Endpoint:
    return (Endpoint if told.webhook.ordering.by is OrderBy.NOTHING else OrderedEndpoint)(told, shared)


def _taken_in_place(slot: _Slot, told: Told) -> bool:
    """Whether a webhook is as before, or only its secrets are others."""
    if told == slot.told:
        return True
    if told.trouble or slot.told.trouble or replace(told, keys=()) != replace(slot.told, keys=()):
        return False
    slot.told = told
    if slot.endpoint:
        slot.endpoint.told = told
    _log.info("webhook %s: %d secrets sign from now on", told.webhook.name, len(told.keys))
    return True


def _state(slot: _Slot) -> tuple[EndpointState, str | None]:
    if not slot.told.webhook.enabled:
        return EndpointState.PAUSED, None
    if slot.told.trouble:
        return EndpointState.DISABLED, slot.told.trouble
    if slot.endpoint is None:
        return EndpointState.CLOSED, slot.trouble or None
    return slot.endpoint.state, slot.endpoint.reason


def _status(name: str, slot: _Slot, now: float) -> dict[str, Any]:
    state, reason = _state(slot)
    tally = slot.endpoint.tally if slot.endpoint else Tally()
    recent = tally.recent(now)
    backlog = slot.backlog
    oldest = backlog.oldest_seconds if backlog else None
    record = slot.endpoint.standing.record if slot.endpoint else None
    report = WebhookReport(
        name=name, state=state, reason=reason, success_rate=recent.taken / recent.attempts if recent.attempts else None,
        p95_milliseconds=None if recent.p95_seconds is None else round(recent.p95_seconds * 1000),
        consecutive_failures=tally.failures if slot.endpoint else None,
        pending=backlog.pending if backlog else None, oldest_pending_seconds=None if oldest is None else int(oldest),
        attempts=tally.attempts, recent_attempts=recent.attempts, recent_taken=recent.taken, latencies=dict(recent.latencies),
        held=slot.endpoint.held if slot.endpoint else 0, retrying=backlog.retrying if backlog else None,
        asked_seconds_ago=round(now - slot.asked_at, 1) if backlog else None,
        disabled_at=_moment(record.disabled_at) if record and record.disabled else None,
        failing_since=_moment(record.failing_since) if record else None,
        unheard_seconds=slot.endpoint.unheard_seconds if slot.endpoint else None,
    )  # fmt: skip
    return report.model_dump(by_alias=True, mode="json")


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else to_text(datetime.fromtimestamp(seconds, UTC))
