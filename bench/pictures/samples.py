"""What was asked and came: the file beside the pictures. Pure.

    {"scene", "told", "result", "began": "2026-01-01T00:00:00+00:00", "from", "step", "ended", "marks", "machine",
     "boards": {"on-call": [{"title", "asked": ["rate(…)"], "series": [{"target", "name", "values": [1.5, null, …]}]}]}}

Times are seconds from the fault (`from` is before it, `ended` is when it was taken back, null where nothing was to be), one value each
`step`, null where there was none. Values have five digits, of which a picture shows four.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.pictures.boards import Board

DIGITS = 5


@dataclass(frozen=True)
class Series:
    """One line of a panel; `target` is the number of the query that it came of."""

    target: int
    name: str
    values: tuple[float | None, ...]

    @property
    def seen(self) -> list[float]:
        """Values that there were."""
        return [each for each in self.values if each is not None]


@dataclass(frozen=True)
class Asked:
    """What came of a panel: the queries as the dashboard's file has them."""

    title: str
    asked: tuple[str, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Samples:
    """A whole run. `told`: what was done, `result`: what clients saw, empty where that was not counted."""

    scene: str
    told: str
    result: str
    began: str
    start: float
    step: float
    ended: float | None
    marks: tuple[tuple[float, str], ...]
    machine: Mapping[str, Any]
    boards: Mapping[str, tuple[Asked, ...]] = field(default_factory=dict)


def rounded(value: float) -> float:
    """As the file has it."""
    made = float(f"{value:.{DIGITS}g}")
    return int(made) if made == int(made) and abs(made) < 1e15 else made


def written(samples: Samples) -> str:
    """The file's text: a line a series, so that what changed can be read."""
    head = {key: value for key, value in asdict(samples).items() if key != "boards"}
    lines = [f"{json.dumps(head, ensure_ascii=False)[:-1]},", '"boards": {']
    lines += _joined(f"{json.dumps(name)}: [\n{_panels(panels)}\n]" for name, panels in samples.boards.items())
    return "\n".join([*lines, "}}", ""])


def stale(board: Board, found: Iterable[Asked]) -> list[str]:
    """Titles of the panels that are not there any more, or ask for something else by now."""
    now = {each.title: tuple(each.asked) for each in board.panels}
    return [each.title for each in found if now.get(each.title) != each.asked]


def _panels(panels: Iterable[Asked]) -> str:
    return "\n".join(
        _joined(
            f'{{"title": {json.dumps(each.title)}, "asked": {json.dumps(each.asked)}, "series": [\n'
            + "\n".join(_joined(json.dumps(asdict(one), ensure_ascii=False, separators=(",", ":")) for one in each.series))
            + "\n]}"
            for each in panels
        )
    )


def _joined(parts: Iterable[str]) -> list[str]:
    made = list(parts)
    return [f"{each}," for each in made[:-1]] + made[-1:]


def read(text: str) -> Samples:
    """A file's.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(text)
        boards = {
            name: tuple(
                Asked(
                    each["title"],
                    tuple(each["asked"]),
                    tuple(Series(one["target"], one["name"], tuple(one["values"])) for one in each["series"]),
                )
                for each in panels
            )
            for name, panels in found.pop("boards").items()
        }
        marks = tuple((float(at), str(words)) for at, words in found.pop("marks"))
        return Samples(**found, marks=marks, boards=boards)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"This is no file of samples: {error!r}") from error
