"""Grafana's units, as far as the dashboards have them: an axis' factor and words, and a single value's text. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Scale(NamedTuple):
    """Values are multiplied by `factor`; `words` is the unit of what comes out, empty for plain numbers."""

    factor: float
    words: str


_FIXED: Mapping[str, Scale] = {
    "short": Scale(1, ""),
    "percentunit": Scale(100, "%"),
    "reqps": Scale(1, "requests/s"),
    "ops": Scale(1, "per second"),
}
_STEPS: Mapping[str, tuple[tuple[float, Scale], ...]] = {
    "s": ((0.001, Scale(1e6, "µs")), (1.0, Scale(1e3, "ms")), (600.0, Scale(1, "s")), (float("inf"), Scale(1 / 60, "min"))),
    "bytes": (
        (2.0**10, Scale(1, "B")),
        (2.0**20, Scale(2.0**-10, "KiB")),
        (2.0**30, Scale(2.0**-20, "MiB")),
        (float("inf"), Scale(2.0**-30, "GiB")),
    ),
}
"""Unit -> (greatest value that is below this, its scale), the smallest first."""


def scale(unit: str, greatest: float) -> Scale:
    """How values up to `greatest` are told.

    Raises:
        ValueError: a unit that is not known here.
    """
    if unit in _FIXED:
        return _FIXED[unit]
    if unit not in _STEPS:
        raise ValueError(f"{unit} is no unit that pictures know: add it to bench/pictures/units.py.")
    return next(found for below, found in _STEPS[unit] if greatest < below)


def text(unit: str, value: float, texts: Mapping[float, str]) -> str:
    """A single value as a stat panel shows it."""
    if value in texts:
        return texts[value]
    factor, words = scale(unit, abs(value))
    if unit == "percentunit":
        value = math.floor(value * 1e4 + 1e-6) / 1e4  # 99.998 % is not all
    digits = f"{value * factor:.4g}"
    return f"{digits} {words}".strip()
