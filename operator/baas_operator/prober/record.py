"""What came of one transaction so far, as the operator is told. A run of failures keeps its beginning, and its sentence while the cause is
the same: what is told then changes when something does, and not with every round."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from baas_operator.prober.failure import Failure


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass
class Record:
    """Of one transaction. Times of this process (`monotonic`) are given; `every` is the seconds between two attempts when all is well."""

    name: str
    every: float
    attempts: int = 0
    failures: int = 0
    """In a row."""
    attempted: float | None = None
    succeeded: float | None = None
    seconds: float | None = None
    """How long the last one took that succeeded."""
    failure_at: str | None = None
    """When the last run of failures began (RFC 3339)."""
    failure: str | None = None
    """Its sentence, also once it is over."""
    trouble: str | None = None
    """Why it can not be tried, which is no fault of the backend."""
    _kind: str = ""

    def kept(self, trouble: str) -> bool:
        """It can not be tried; whether that is news."""
        news = trouble != self.trouble
        self.trouble = trouble
        return news

    def well(self, now: float, seconds: float) -> None:
        """It succeeded."""
        self.attempts += 1
        self.trouble = None
        self.failures, self.attempted, self.succeeded, self.seconds, self._kind = 0, now, now, seconds, ""

    def failed(self, now: float, failure: Failure) -> bool:
        """It failed; whether that is news."""
        self.attempts += 1
        self.failures += 1
        self.trouble = None
        self.attempted = now
        if self.failures == 1:
            self.failure_at = _now()
        news = failure.kind != self._kind
        if news:
            self._kind, self.failure = failure.kind, str(failure)
        return news

    def report(self, now: float) -> dict[str, Any]:
        """As observe/probes.py reads it."""

        def ago(moment: float | None) -> float | None:
            return None if moment is None else round(now - moment, 1)

        return {
            "name": self.name, "everySeconds": self.every, "attempts": self.attempts, "failures": self.failures,
            "attemptedSecondsAgo": ago(self.attempted), "succeededSecondsAgo": ago(self.succeeded),
            "seconds": None if self.seconds is None else round(self.seconds, 4),
            "failureAt": self.failure_at, "failure": self.failure, "trouble": self.trouble,
        }  # fmt: skip
