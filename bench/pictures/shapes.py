"""Values as they are drawn. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.pictures.samples import Series


def or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def stacked(series: Sequence[Series]) -> list[list[float]]:
    """One upon the other; what there is not counts as nothing, where there is any other."""
    if not series:
        return []
    sums: list[list[float]] = []
    under = [
        0.0 if any(value is not None for value in values) else float("nan") for values in zip(*(one.values for one in series), strict=True)
    ]
    for each in series:
        under = [below + (value or 0.0) for below, value in zip(under, each.values, strict=True)]
        sums.append(under)
    return sums


def runs(at: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float, float]]:
    """(from, until, value) of each stretch of one value."""
    made: list[tuple[float, float, float]] = []
    step = at[1] - at[0] if len(at) > 1 else 1.0
    for time, value in zip(at, values, strict=True):
        if value is None:
            continue
        if made and made[-1][2] == value and made[-1][1] >= time:
            made[-1] = (made[-1][0], time + step, value)
        else:
            made.append((time, time + step, value))
    return made
