"""How fast an endpoint is asked: its circuit breaker, and its share of the rate."""

from __future__ import annotations

import math

from baas_operator.api.queue import EndpointState
from baas_operator.api.webhooks import CircuitBreaker

_LOOK_SECONDS = 0.2
_BURST_SECONDS = 0.05
"""How much of the rate may come at once."""


class Breaker:
    """Closed, until so many attempts in a row failed; then open for a while; then one attempt at a time, until one is taken. All times are
    handed in, in seconds of one clock."""

    def __init__(self, rules: CircuitBreaker) -> None:
        self._rules = rules
        self.state = EndpointState.CLOSED
        self._failures = 0
        self._until = 0.0
        self._probing = False

    def closed_for(self, now: float) -> float:
        """How long no attempt may begin, as far as can be told without beginning one."""
        if self.state is EndpointState.OPEN:
            return max(0.0, self._until - now)
        return _LOOK_SECONDS if self.state is EndpointState.HALF_OPEN and self._probing else 0.0

    def wait_seconds(self, now: float) -> float:
        """0: an attempt may begin, and `done` has to follow. Otherwise ask again after so long."""
        if self.state is EndpointState.OPEN:
            if now < self._until:
                return self._until - now
            self.state = EndpointState.HALF_OPEN
        if self.state is EndpointState.HALF_OPEN:
            if self._probing:
                return _LOOK_SECONDS
            self._probing = True
        return 0.0

    @property
    def idle(self) -> bool:
        """Whether more messages need not be fetched now."""
        return self.state is not EndpointState.CLOSED

    def rests(self, now: float) -> bool:
        """Whether it is open, for a while yet."""
        return self.state is EndpointState.OPEN and now < self._until

    def done(self, now: float, *, taken: bool, failed: bool) -> None:
        """What came of an attempt. `failed` is what counts: no connection, no answer in time, or a 5xx; an endpoint that answers otherwise
        is there, and breaks the row, though only one that takes a message closes the breaker."""
        self._probing = False
        if taken:
            self.state, self._failures = EndpointState.CLOSED, 0
        elif not failed:
            self._failures = 0
        else:
            self._failures += 1
            if self.state is EndpointState.HALF_OPEN or (self.state is EndpointState.CLOSED and self._failures >= self._rules.failures):
                self.state, self._until = EndpointState.OPEN, now + self._rules.open_seconds

    def abandoned(self) -> None:
        """The attempt was not made after all."""
        self._probing = False


class Rate:
    """Attempts a second, spread evenly (the generic cell rate algorithm); `per_second` is None for as many as come."""

    def __init__(self, per_second: float | None) -> None:
        self._step = 1 / per_second if per_second else 0.0
        self._burst = max(0.0, math.floor(_BURST_SECONDS * per_second) - 1) * self._step if per_second else 0.0
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """Take the next free moment; how long until then."""
        at = max(self._next, now - self._burst)
        self._next = at + self._step
        return max(0.0, at - now)
