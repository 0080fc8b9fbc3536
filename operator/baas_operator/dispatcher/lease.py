"""Who delivers an ordered webhook: one dispatcher at a time, for what follows a message may be in another's hands.

The holder renews its lease; another takes it when it has seen it unchanged for `Timing.silence`, by its own clock, so no two clocks have
to agree. The holder begins nothing once it could not renew for `Timing.lease`, which is less. A process that is stopped between that look
and its request, and goes on a minute later, could still send one message late: no lease can keep that from happening, and the endpoint
sees it by `webhook-timestamp`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from baas_operator.dispatcher.shared import Shared
from baas_operator.jetstream.requests import Unreachable

_log = logging.getLogger("dispatcher")


class Lease:
    """The lease of one webhook."""

    def __init__(self, shared: Shared, webhook: str, timeout_seconds: float) -> None:
        self._shared, self._webhook = shared, webhook
        self._key = f"lease.{webhook}"
        self._silence = shared.timing.silence(timeout_seconds)
        self._revision = 0
        self._mine = False
        self._renewed = 0.0
        self._seen: tuple[int, float] = (0, 0.0)
        self.taken = asyncio.Event()
        """Set once it is ours, until it is lost."""
        self.lost = asyncio.Event()
        """Set while it is not ours."""
        self.lost.set()

    @property
    def valid(self) -> bool:
        """Whether something may be begun now."""
        return self._mine and time.monotonic() < self._renewed + self._shared.timing.lease

    async def run(self) -> None:
        """Take it and hold it, until cancelled."""
        while True:
            with suppress(*Unreachable):
                await (self._renew() if self._mine else self._try())
            await asyncio.sleep(self._shared.timing.renew)

    async def release(self) -> None:
        """Let another have it at once. Nothing that was delivered to us may be under way or unanswered any more."""
        if self._mine:
            self._mine = False
            self._turn()
            with suppress(*Unreachable):
                await self._shared.state.delete(self._key, self._revision)

    async def _try(self) -> None:
        value, revision = await self._shared.state.get(self._key)
        now = time.monotonic()
        if revision != self._seen[0]:
            self._seen = (revision, now)
        if revision and value.get("holder") != self._shared.holder and now < self._seen[1] + self._silence:
            return
        if (mine := await self._shared.state.put(self._key, {"holder": self._shared.holder}, revision)) is not None:
            _log.info("webhook %s: the lease is ours", self._webhook)
            self._revision, self._renewed, self._mine = mine, now, True
            self._turn()

    async def _renew(self) -> None:
        now = time.monotonic()
        revision = await self._shared.state.put(self._key, {"holder": self._shared.holder}, self._revision)
        if revision is None:
            # An answer that was lost leaves us with an old revision: then it is ours all the same.
            value, found = await self._shared.state.get(self._key)
            if value.get("holder") != self._shared.holder:
                _log.warning("webhook %s: the lease was lost", self._webhook)
                self._mine = False
                self._turn()
                return
            revision = found
        self._revision, self._renewed = revision, now

    def _turn(self) -> None:
        for event, on in ((self.taken, self._mine), (self.lost, not self._mine)):
            event.set() if on else event.clear()
