"""How a webhook's endpoint stands: since when it fails, and whether it is disabled. All dispatchers share that by way of the store
(state.py): each notes there what the others should know, and reads what they noted."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace

from baas_operator.api.webhooks import Webhook
from baas_operator.dispatcher.outcome import Outcome
from baas_operator.dispatcher.schedule import longest_seconds
from baas_operator.dispatcher.state import Record, State
from baas_operator.jetstream.requests import Unreachable

_HOUR = 3600.0
_NOTE_SECONDS = 600.0
"""While it fails, that is noted about as often."""
_log = logging.getLogger("dispatcher")


class Standing:
    """Of one endpoint. `patience`: for how many seconds this dispatcher sees nothing succeed before it tells the others. Times are in
    seconds since 1970."""

    def __init__(self, state: State, webhook: Webhook, patience: float) -> None:
        self._state, self._webhook, self._patience = state, webhook, patience
        self.record = Record(webhook.url)
        self._noted = False
        """Whether the store knows that it is disabled."""
        self.last = ""
        """What was wrong last."""
        self.succeeded_at = 0.0
        self.failing_since: float | None = None
        """Since when this dispatcher saw nothing succeed."""
        self.failed_at = 0.0
        self._failing_until = 0.0
        """By when another attempt follows the last failure, with an hour to spare: one that fails later does so by itself."""

    def saw(self, outcome: Outcome) -> None:
        """What came of an attempt."""
        if outcome.taken:
            self.succeeded_at, self.failing_since, self.last = time.time(), None, ""
            return
        self.last, self.failed_at = outcome.detail, time.time()
        if not self.failing_since or self.failed_at > self._failing_until:
            self.failing_since = self.failed_at
        follows = longest_seconds(self._webhook.retry_seconds, outcome.retry_after) + self._webhook.circuit_breaker.open_seconds
        self._failing_until = max(self._failing_until, self.failed_at + follows + _HOUR)

    async def disable(self, reason: str) -> None:
        """Nothing more is sent, by any dispatcher, until somebody enables it; where the store can not be told, the next look tells it."""
        if self.record.disabled:
            return
        _log.warning("webhook %s: disabled: %s", self._webhook.name, reason)
        self.record = replace(self.record, disabled=reason, disabled_at=time.time(), failing_until=None)
        with suppress(*Unreachable):
            await self._note_disabled()

    async def look(self) -> None:
        """Read what others noted, and note what they should know.

        Raises:
            One of jetstream.requests.Unreachable.
        """
        name, url = self._webhook.name, self._webhook.url
        if self.record.disabled and not self._noted:
            await self._note_disabled()
            return
        noted = self._noted
        known = await self._state.record(name, url)
        if self.record.disabled and not known.disabled:
            if not noted:  # it was disabled while we read
                return
            _log.info("webhook %s: enabled again", name)
            self.failing_since = None
        if self.record.failing_since and not known.failing_since:
            self.failing_since = None  # somebody saw it succeed, or enabled it
        self.record, self._noted = known, bool(known.disabled)
        since, until, now = known.failing_since, known.failing_until, time.time()
        if since and self.succeeded_at > since:
            self.record = await self._state.note(name, url, lambda old: replace(old, failing_since=None, failing_until=None))
        elif known.disabled:
            return
        elif not since:
            if self.failing_since and now > self.failing_since + self._patience:
                await self._note_failing(known, self.failing_since)
        elif until and self.failed_at > until:  # it was paused, or there was nothing to send
            await self._note_failing(known, self.failing_since or self.failed_at)
        elif self.failed_at > since + self._webhook.disable_after_hours * _HOUR:  # where nothing is tried, nothing fails
            await self.disable(f"nothing was taken for {self._webhook.disable_after_hours} hours; last, {self.last or 'it failed'}")
        elif self._failing_until > (until or 0.0) + _NOTE_SECONDS:
            await self._note_failing(known, since)

    async def _note_failing(self, known: Record, since: float) -> None:
        """Where others noted something meanwhile, the next look decides anew."""
        noted = replace(known, failing_since=since, failing_until=max(known.failing_until or 0.0, self._failing_until))
        self.record = await self._state.note(self._webhook.name, self._webhook.url, lambda old: noted if old == known else old)

    async def _note_disabled(self) -> None:
        reason, at = self.record.disabled, self.record.disabled_at
        self.record = await self._state.note(
            self._webhook.name,
            self._webhook.url,
            lambda known: known if known.disabled else replace(known, disabled=reason, disabled_at=at, failing_until=None),
        )
        self._noted = True
