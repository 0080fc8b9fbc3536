"""Asking a Prometheus what the panels ask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.pictures.boards import Board, Panel, called, label_values, substituted
from bench.pictures.chosen import may_be_empty
from bench.pictures.prometheus import Prometheus
from bench.pictures.samples import Asked, Series, rounded


@dataclass(frozen=True)
class Window:
    """Seconds since 1970, and of a step."""

    start: float
    end: float
    step: int

    @property
    def steps(self) -> int:
        return int((self.end - self.start) // self.step) + 1


def unoffered(prometheus: Prometheus, board: Board, values: Mapping[str, str], window: Window) -> Iterator[str]:
    """A sentence for each of the dashboard's own variables that does not offer its value."""
    for name, definition in board.variables.items():
        selector, label = label_values(definition)
        found = prometheus.label_values(substituted(selector, values), label, window.start, window.end)
        if values[name] not in found:
            yield f"{board.title}: ${name} offers {found}, and not {values[name]}: {definition}"


def ask(prometheus: Prometheus, panel: Panel, values: Mapping[str, str], window: Window) -> Asked:
    """What a panel shows of that time. Raises LabError."""
    made = [
        Series(number, called(target.legend, found["metric"]) or panel.title, _values(found["values"], window))
        for number, target in enumerate(panel.targets)
        for found in prometheus.range(substituted(target.expression, values), window.start, window.end, window.step)
    ]
    return Asked(
        panel.title, tuple(panel.asked), tuple(sorted((each for each in made if each.seen), key=lambda one: (one.target, one.name)))
    )


def _values(found: Sequence[Sequence[Any]], window: Window) -> tuple[float | None, ...]:
    """One value each step; what is no number (nothing of nothing asked) is none."""
    values: list[float | None] = [None] * window.steps
    for at, text in found:
        if math.isfinite(value := float(text)):
            values[round((float(at) - window.start) / window.step)] = rounded(value)
    return tuple(values)


def missing(name: str, board: Board, found: Iterable[Asked], values: Mapping[str, str], scene: str) -> Iterator[str]:
    """A sentence for each panel that has nothing to show, and is not one of those that may."""
    panels = {each.title: each for each in board.panels}
    for asked in found:
        if not asked.series and not may_be_empty(name, asked.title, scene):
            for target in panels[asked.title].targets:
                yield f"{name}, “{asked.title}” shows nothing: {substituted(target.expression, values)}"
