"""Seconds and ratios as the tables of all benches have them. Pure."""

from __future__ import annotations

from math import inf

from bench.records import median
from tests.chaos.outcome import OVER_SECONDS


def seconds(value: float) -> str:
    """Seconds as the table has them."""
    return f"> {OVER_SECONDS:.0f}" if value == inf else f"{value:.2f}"


def ratio(gaps: list[float], ours: list[float]) -> str:
    """Median against median of ours; `>` where theirs has no end that was seen."""
    if not ours or median(ours) in (0, inf):
        return "–"
    theirs = median(gaps)
    return f"> {OVER_SECONDS / median(ours):.0f} ×" if theirs == inf else f"{theirs / median(ours):.1f} ×"
