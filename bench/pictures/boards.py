"""Dashboards as files have them: panels, what each asks, and what Grafana puts in the place of variables. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCRAPES_OF_A_RATE = 4
"""`$__rate_interval` is so many scrapes at least, so that one that fails leaves a rate (Grafana's documentation of the data source)."""
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+),\s*(?P<label>\w+)\)")


@dataclass(frozen=True)
class Target:
    """One query of a panel, and how its series are called: `{{label}}` stands for a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel. `steps`: (from this value on, colour), `texts`: what is shown for a value; `low`, `high`: the axis' ends, None where the
    values say; `width`: of 24."""

    title: str
    row: str
    kind: str
    unit: str
    width: int
    targets: tuple[Target, ...]
    stacked: bool = False
    low: float | None = None
    high: float | None = None
    steps: tuple[tuple[float | None, str], ...] = ()
    texts: Mapping[float, str] = field(default_factory=dict)

    @property
    def asked(self) -> list[str]:
        """What it asks, as the file has it."""
        return [each.expression for each in self.targets]

    def colour(self, value: float) -> str:
        """Name of the colour that its thresholds give a value; empty without any."""
        return next((colour for step, colour in reversed(self.steps) if step is None or value >= step), "")


@dataclass(frozen=True)
class Board:
    """One dashboard. `variables`: name -> the query for what there is to choose from."""

    title: str
    description: str
    variables: Mapping[str, str]
    panels: tuple[Panel, ...]


def parse(text: str) -> Board:
    """A dashboard of its file's text."""
    found = json.loads(text)
    variables = {each["name"]: each["definition"] for each in found["templating"]["list"] if each["type"] == "query"}
    panels: list[Panel] = []
    row = ""
    for each in sorted(found["panels"], key=lambda one: (one["gridPos"]["y"], one["gridPos"]["x"])):
        if each["type"] == "row":
            row = each["title"]
        else:
            panels.append(_panel(each, row))
    return Board(found["title"], found.get("description", ""), variables, tuple(panels))


def _panel(found: Mapping[str, Any], row: str) -> Panel:
    given = found["fieldConfig"]["defaults"]
    texts = [each["options"] for each in given.get("mappings", []) if each["type"] == "value"]
    return Panel(
        title=found["title"], row=row, kind=found["type"], unit=given.get("unit", "short"), width=found["gridPos"]["w"],
        targets=tuple(Target(each["expr"], each.get("legendFormat", "")) for each in found["targets"]),
        stacked=given.get("custom", {}).get("stacking", {}).get("mode") == "normal", low=given.get("min"), high=given.get("max"),
        steps=tuple((each["value"], each["color"]) for each in given.get("thresholds", {}).get("steps", [])),
        texts={float(value): one["text"] for options in texts for value, one in options.items()},
    )  # fmt: skip


def substituted(expression: str, values: Mapping[str, str]) -> str:
    """With the values in the place of `$name` and `${name}`.

    Raises:
        ValueError: it names one that has none.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in values:
            raise ValueError(f"${name} has no value in: {expression}")
        return values[name]

    return _VARIABLE.sub(value, expression)


def rate_interval(step_seconds: int, scrape_seconds: int) -> str:
    """What Grafana makes of `$__rate_interval`."""
    return f"{max(step_seconds + scrape_seconds, SCRAPES_OF_A_RATE * scrape_seconds)}s"


def label_values(definition: str) -> tuple[str, str]:
    """(selector of series, label) of a variable's `label_values(…)`.

    Raises:
        ValueError: it is something else.
    """
    found = _LABEL_VALUES.fullmatch(definition.strip())
    if not found:
        raise ValueError(f"A variable's query that is no label_values(SELECTOR, LABEL): {definition}")
    return found["selector"], found["label"]


def called(legend: str, labels: Mapping[str, str]) -> str:
    """What a series is called."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend).strip()
