"""All outboxes of one queue, as one dispatcher relays them: each by itself. Every dispatcher runs a relay for each; an advisory lock in
the database keeps it to one at a time (docs/decisions/outbox.md)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client as Nats

from baas_operator.dispatcher.config import ToldOutbox
from baas_operator.dispatcher.tasks import lasting
from baas_operator.jetstream.tasks import end
from baas_operator.observe.dispatchers import OutboxReport
from baas_operator.outbox.config import OutboxConfig
from baas_operator.outbox.relay import relay
from baas_operator.outbox.status import OutboxStatus, State, forget

_log = logging.getLogger("dispatcher")


@dataclass
class _Slot:
    """A declared outbox, and what runs for it; nothing does where it can not run."""

    told: ToldOutbox
    status: OutboxStatus
    task: asyncio.Task[None] | None = None


class Outboxes:
    """The outboxes of a queue."""

    def __init__(self, connection: Nats) -> None:
        self._connection = connection
        self._slots: dict[str, _Slot] = {}
        self._streams: set[str] = set()
        """All that outboxes publish to: those that a dispatcher may look in (desired/queue/users.py)."""
        self._ending: set[asyncio.Task[None]] = set()

    def apply(self, declared: Iterable[ToldOutbox]) -> None:
        """Relay these from now on. What did not change is not touched; of what did, the old relay ends before the new one begins. Passwords
        need no word of it: each connection reads them anew."""
        wanted = {each.name: each for each in declared}
        self._streams.clear()
        self._streams.update(each.config.stream for each in wanted.values() if each.config)
        for name in self._slots.keys() - wanted.keys():
            _log.info("outbox %s: not declared any more", name)
            ending = asyncio.create_task(self._end(name, self._slots.pop(name)))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        for name, told in wanted.items():
            before = self._slots.get(name)
            if before is None or before.told != told:
                self._slots[name] = self._begin(told, before)

    def _begin(self, told: ToldOutbox, before: _Slot | None) -> _Slot:
        slot = _Slot(told, OutboxStatus(told.name))
        if told.config is None:
            _log.warning("outbox %s: %s", told.name, told.trouble)
            slot.status.now(State.FAILING, told.trouble)
        slot.task = asyncio.create_task(self._run(slot, told.config, before))
        return slot

    async def _run(self, slot: _Slot, config: OutboxConfig | None, before: _Slot | None) -> None:
        if before and before.task:
            await end([before.task])
        if config is not None:
            await lasting(
                f"outbox {config.name}",
                lambda: relay(config, self._connection, slot.status, self._streams),
                lambda said: slot.status.now(State.FAILING, said),
            )

    async def _end(self, name: str, slot: _Slot) -> None:
        if slot.task:
            await end([slot.task])
        if name not in self._slots:
            forget(name)

    async def stop(self) -> None:
        """End all relays. What is under way is in the database's notes, and another goes on with it."""
        await asyncio.gather(
            end([slot.task for slot in self._slots.values() if slot.task]), *self._ending, return_exceptions=True
        )  # fmt: skip

    def status(self) -> list[dict[str, Any]]:
        """What this dispatcher says of each outbox: `OutboxReport`."""
        return [_report(slot.status).model_dump(by_alias=True, mode="json") for _, slot in sorted(self._slots.items())]


def _report(status: OutboxStatus) -> OutboxReport:
    return OutboxReport(
        name=status.name, state=status.state.value, message=status.message, backlog=status.backlog, oldest_seconds=status.oldest_seconds,
        published=status.published, refused=status.refused, uncertain=status.uncertain, progress=status.progress,
        failing_seconds=None if status.failing_since is None else time.monotonic() - status.failing_since,
    )  # fmt: skip
