"""Where the panels of a picture are. Pure; lengths are inches, from the top left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.pictures.boards import Panel

WIDTH = 12.0
COLUMNS = 24
"""Of a dashboard, as Grafana has it."""
GAP = 0.12
HEAD = 0.62
"""Title and what the dashboard is for."""
ROW_HEAD = 0.26
CAPTION_LINE = 0.165
HEIGHTS = {"stat": 1.08, "timeseries": 2.15}
CHARACTER = 0.058
"""Of the legend's font, on average; programs that show a picture have fonts of their own, so it is generous."""


@dataclass(frozen=True)
class Place:
    """A panel's."""

    panel: Panel
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Sheet:
    """A whole picture: panels, headings of rows at their (heading, y), and where the caption begins."""

    places: tuple[Place, ...]
    headings: tuple[tuple[str, float], ...]
    caption: float
    height: float


def sheet(panels: Sequence[Panel], caption_lines: int) -> Sheet:
    """Panels one after another, each as wide as on its dashboard, a new line where the row of the dashboard or the kind is another."""
    places: list[Place] = []
    headings: list[tuple[str, float]] = []
    column, y, height, before = 0, HEAD, 0.0, None
    unit = (WIDTH - GAP) / COLUMNS
    for panel in panels:
        if before is None or panel.row != before.row or panel.kind != before.kind or column + panel.width > COLUMNS:
            y, column, height = y + height, 0, HEIGHTS[panel.kind] + GAP
        if before is None or panel.row != before.row:
            headings.append((panel.row, y))
            y += ROW_HEAD
        places.append(Place(panel, GAP + column * unit, y, panel.width * unit - GAP, HEIGHTS[panel.kind]))
        column, before = column + panel.width, panel
    caption = y + height
    return Sheet(tuple(places), tuple(headings), caption, caption + CAPTION_LINE * caption_lines + GAP)


def legend_lines(names: Sequence[str], width: float, most: int) -> list[list[int]]:
    """Numbers of the names on each line of a legend, at most so many lines; what there is no room for is left out."""
    lines: list[list[int]] = [[]]
    left = width
    for number, name in enumerate(names):
        need = entry_width(name)
        last = len(lines) == most
        if lines[-1] and need > left - (entry_width("and 10 more") if last and number + 1 < len(names) else 0):
            if last:
                break
            lines.append([])
            left = width
        lines[-1].append(number)
        left -= need
    return lines


def entry_width(name: str) -> float:
    """What a name takes in a legend, with its mark and the space after it."""
    return (len(name) + 4) * CHARACTER
