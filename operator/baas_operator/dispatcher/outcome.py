"""What an endpoint's answer means (Standard Webhooks 1.0, "Operational considerations"; RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

_HEEDED = (429, 502, 503, 504)
"""Answers whose Retry-After is heeded."""
_THROTTLED = 429


class Verdict(StrEnum):
    """What becomes of the message."""

    TAKEN = "taken"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt."""

    verdict: Verdict
    detail: str
    """For people; nothing of the answer's body is in it, which may hold anything."""
    status: int | None = None
    retry_after: float | None = None
    """Seconds that the endpoint asks for."""

    @property
    def taken(self) -> bool:
        """Whether the endpoint has the message."""
        return self.verdict is Verdict.TAKEN

    @property
    def breaks(self) -> bool:
        """Whether it counts for the circuit breaker."""
        return self.verdict in (Verdict.TIMEOUT, Verdict.UNREACHABLE) or (self.status or 0) >= 500

    @property
    def throttles(self) -> bool:
        """Whether the endpoint wants nothing else meanwhile either."""
        return self.status == _THROTTLED and self.retry_after is not None


def of_answer(status: int, retry_after: str | None, now: float) -> Outcome:
    """What an answer means; `now` is in seconds since 1970."""
    if 200 <= status < 300:
        return Outcome(Verdict.TAKEN, f"answered {status}", status)
    if status == 410:
        return Outcome(Verdict.GONE, "answered 410 (Gone): it wants nothing more", status)
    if 300 <= status < 400:
        return Outcome(Verdict.FAILED, f"answered {status}: redirects are not followed, give the URL that it leads to", status)
    heeded = seconds_of(retry_after, now) if status in _HEEDED else None
    return Outcome(Verdict.FAILED, f"answered {status}", status, heeded)


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """Seconds that a Retry-After asks for, in either form; None if it asks for nothing that can be understood."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (at - datetime.fromtimestamp(now, UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
