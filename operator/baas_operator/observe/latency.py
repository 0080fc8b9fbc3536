"""Times counted by size, so that several processes' can be put together: a percentile of each says nothing about that of all.

Each bucket ends a tenth above the one before, so what is read back is off by a twentieth at the most (Masson, Rim, Lee: "DDSketch", 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

_GROWTH = 1.1
_LEAST_SECONDS = 0.001


def counted(seconds: Iterable[float]) -> dict[int, int]:
    """Bucket -> how many of these times are in it."""
    made: dict[int, int] = {}
    for each in seconds:
        bucket = math.ceil(math.log(max(each, _LEAST_SECONDS), _GROWTH))
        made[bucket] = made.get(bucket, 0) + 1
    return made


def added(all_counts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The counts of all together."""
    made: dict[int, int] = {}
    for counts in all_counts:
        for bucket, count in counts.items():
            made[bucket] = made.get(bucket, 0) + count
    return made


def percentile(counts: Mapping[int, int], part: float) -> float | None:
    """The time in seconds within which this part, from 0 to 1, came; None where none did."""
    left = math.ceil(part * sum(counts.values()))
    for bucket, count in sorted(counts.items()):
        left -= count
        if left <= 0 < count:
            return float(2 * _GROWTH**bucket / (1 + _GROWTH))
    return None
