"""What an agent tells of its member in an annotation of its pod: how full the volume is, and whether the primary lets the member in.

The agent writes it and the operator reads it, so that the operator needs neither the kubelet's figures nor a password of PostgreSQL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from baas_operator.desired.meta import Manifest

REPORT = "baas-operator.io/report"
"""Annotation: the report, as JSON."""
_GIB = 2**30


class Room(IntEnum):
    """How much room a volume has, from none to plenty."""

    FULL = 0
    """So little that PostgreSQL should write no more: it stops, and may not start, once there is none."""
    SCARCE = 1
    """Too little to trust that PostgreSQL may go on once it has been stopped for want of room."""
    NEARLY_FULL = 2
    """Somebody should know."""
    DUE = 3
    """Time to grow, where that is allowed."""
    AMPLE = 4


_BOUNDS: tuple[tuple[Room, float, int], ...] = (
    (Room.FULL, 0.05, 5 * _GIB), (Room.SCARCE, 0.10, 10 * _GIB), (Room.NEARLY_FULL, 0.15, 50 * _GIB), (Room.DUE, 0.20, 1 << 62),
)  # fmt: skip
"""Less is free than this share of the volume, and than so many bytes: 5 % of a large volume are days of writing, not minutes."""


@dataclass(frozen=True)
class Volume:
    """A volume as its file system has it; both in bytes, `free` as far as PostgreSQL's user may use it."""

    size: int
    free: int

    @property
    def room(self) -> Room:
        """How much room there is."""
        return next((room for room, share, most in _BOUNDS if self.free < min(self.size * share, most)), Room.AMPLE)

    def as_good_as(self, other: Volume) -> bool:
        """Whether the difference is not worth telling: less than a twentieth, and of no consequence."""
        return (self.size, self.room) == (other.size, other.room) and abs(self.free - other.free) < self.size / 20


@dataclass(frozen=True)
class Report:
    """`admitted`: whether the primary let this member log in to stream; None while it streams, or nobody tried."""

    volume: Volume | None = None
    admitted: bool | None = None

    def as_good_as(self, other: Report) -> bool:
        """Whether the difference is not worth telling."""
        alike = self.volume.as_good_as(other.volume) if self.volume and other.volume else self.volume == other.volume
        return alike and self.admitted == other.admitted

    def text(self) -> str:
        """As it stands in the annotation."""
        made: dict[str, Any] = {}
        if self.volume:
            made["volume"] = {"size": self.volume.size, "free": self.volume.free}
        if self.admitted is not None:
            made["admitted"] = self.admitted
        return json.dumps(made, sort_keys=True)


def read_report(pod: Manifest) -> Report:
    """What a member's agent last told; an empty report where it told nothing, or a hand made it something else."""
    try:
        told = json.loads((pod["metadata"].get("annotations") or {}).get(REPORT, "{}"))
        volume, admitted = told.get("volume"), told.get("admitted")
        found = Volume(int(volume["size"]), int(volume["free"])) if volume else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return Report()
    return Report(found if found and found.size > 0 else None, admitted if isinstance(admitted, bool) else None)
