"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`fail`: it will not work; `warn`: it will, with less than it could; `ok`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """The answer of one check; the message says what to do where something is to be done."""

    name: str
    level: Level
    message: str


def ok(name: str, message: str) -> Check:
    """All well."""
    return Check(name, Level.OK, message)


def warn(name: str, message: str) -> Check:
    """It works, with less than it could."""
    return Check(name, Level.WARN, message)


def fail(name: str, message: str) -> Check:
    """It will not work."""
    return Check(name, Level.FAIL, message)
