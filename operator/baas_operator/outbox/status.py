"""What there is to tell of a relay: metrics, and a status for the operator."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client import Counter, Gauge

BACKLOG = Gauge("baas_outbox_backlog_rows", "Rows of an outbox that wait to be published, counted up to 100,000.", ["outbox"])
OLDEST = Gauge("baas_outbox_oldest_seconds", "Age of the row that is published next, 0 without one.", ["outbox"])
PUBLISHED = Counter("baas_outbox_published_total", "Rows of an outbox that became messages.", ["outbox"])
REFUSED = Counter("baas_outbox_refused_total", "Rows that can not be published and were put aside.", ["outbox"])
UNCERTAIN = Counter(
    "baas_outbox_uncertain_total",
    "Messages that were published again although the first may have been in the stream, and removed from it, before.", ["outbox"],
)  # fmt: skip
ACTIVE = Gauge("baas_outbox_active", "1 while this process relays the outbox; another one does while it is 0.", ["outbox"])


def forget(outbox: str) -> None:
    """Show nothing more of an outbox that is not declared any more."""
    for each in (BACKLOG, OLDEST, PUBLISHED, REFUSED, UNCERTAIN, ACTIVE):
        each.remove_by_labels({"outbox": outbox})


_HELD_SECONDS = 10.0
"""Once a relay has waited for so long another one has the outbox, and does not just fail at it in turn with others."""


class State(StrEnum):
    """What a relay is about."""

    STARTING = "starting"
    RELAYING = "relaying"
    WAITING = "waiting"
    """Another relay has the outbox."""
    FAILING = "failing"


@dataclass
class OutboxStatus:
    """How one relay stands; the relay keeps it up to date. `backlog` is counted up to 100,000; `oldest_seconds` is 0 without a row."""

    name: str
    state: State = State.STARTING
    message: str = ""
    """Why it is failing, or what was refused last; a sentence."""
    backlog: int = 0
    oldest_seconds: float = 0.0
    published: int = 0
    refused: int = 0
    uncertain: int = 0
    progress: bool = False
    """Of one that relays: whether rows become messages, or there are none."""
    failing_since: float | None = None
    """By the monotonic clock."""
    _waiting_since: float | None = field(default=None, repr=False)

    def now(self, state: State, message: str = "") -> None:
        """Set the state, and why."""
        at = time.monotonic()
        self.state, self.message = state, message
        self._waiting_since = (self._waiting_since or at) if state is State.WAITING else None
        if state is not State.RELAYING:
            self.progress = False
        if state is State.FAILING:
            self.failing_since = self.failing_since or at
        elif self._waiting_since and at > self._waiting_since + _HELD_SECONDS:
            self.failing_since = None
        ACTIVE.labels(self.name).set(state is State.RELAYING)

    def progressed(self, *, well: bool) -> None:
        """Whether rows just became messages, or there were none; not where the stream took none of them."""
        self.progress = well
        if well:
            self.failing_since = None

    def waiting_rows(self, backlog: int, oldest_seconds: float) -> None:
        """Note what waits."""
        self.backlog, self.oldest_seconds = backlog, oldest_seconds
        BACKLOG.labels(self.name).set(backlog)
        OLDEST.labels(self.name).set(oldest_seconds)

    def count(self, *, published: int = 0, refused: int = 0, uncertain: int = 0) -> None:
        """Add to what was done."""
        self.published += published
        self.refused += refused
        self.uncertain += uncertain
        PUBLISHED.labels(self.name).inc(published)
        REFUSED.labels(self.name).inc(refused)
        UNCERTAIN.labels(self.name).inc(uncertain)
