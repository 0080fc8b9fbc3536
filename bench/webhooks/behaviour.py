"""How the endpoint treats an event: by its number and how often it came, so that every client meets the same. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Answer(StrEnum):
    """What becomes of an attempt."""

    TAKE = "take"
    FAIL = "fail"
    """500."""
    HANG = "hang"
    """No answer for longer than anybody waits."""


@dataclass(frozen=True)
class Behaviour:
    """Parts of the attempts, from 0 to 1. `never`: part of the events that fail whenever they come."""

    fails: float = 0.20
    hangs: float = 0.05
    never: float = 0.001

    def answer(self, event: int, attempt: int) -> Answer:
        """What becomes of an event's attempt of this number, from 1."""
        if self.always_fails(event):
            return Answer.FAIL
        chance = _chance(f"{event}:{attempt}")
        if chance < self.hangs:
            return Answer.HANG
        return Answer.FAIL if chance < self.hangs + self.fails else Answer.TAKE

    def always_fails(self, event: int) -> bool:
        """Whether no attempt at an event succeeds."""
        return _chance(f"never:{event}") < self.never


def _chance(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
