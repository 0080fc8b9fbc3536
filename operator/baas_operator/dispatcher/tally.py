"""What came of the attempts of the last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from baas_operator.observe.latency import counted, percentile

_WINDOW_SECONDS = 300.0
_MOST = 5000
"""Attempts that are remembered: enough for a rate and a percentile, however busy the endpoint is."""


@dataclass(frozen=True)
class Sample:
    """One attempt."""

    at: float
    taken: bool
    seconds: float
    answered: bool


@dataclass(frozen=True)
class Recent:
    """Attempts of the last minutes. `latencies`: how long answers took (observe/latency.py); `p95_seconds`: 95 of 100 came within it, None
    where there was none."""

    attempts: int
    taken: int
    latencies: Mapping[int, int]
    p95_seconds: float | None


class Tally:
    """Attempts at one endpoint; times are in seconds of one clock."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_MOST)
        self.attempts = 0
        self.failures = 0
        """In a row."""

    def add(self, sample: Sample) -> None:
        """Note an attempt."""
        self.attempts += 1
        self.failures = 0 if sample.taken else self.failures + 1
        self._samples.append(sample)

    def recent(self, now: float) -> Recent:
        """What came of those of the last minutes."""
        recent = [each for each in self._samples if each.at > now - _WINDOW_SECONDS]
        answers = counted(each.seconds for each in recent if each.answered)
        return Recent(len(recent), sum(each.taken for each in recent), answers, percentile(answers, 0.95))
