"""What `kubectl baas doctor` found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from kubectl_baas.doctor.check import Check, Level
from kubectl_baas.show import printable

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def print_checks(checks: Sequence[Check], on: Console) -> None:
    """A row a check."""
    width = max((len(each.name) for each in checks), default=0)
    if not on.is_terminal:
        # One line a check: a table would be padded to its widest sentence.
        for each in checks:
            on.print(printable(f"{each.level.value:4}  {each.name:{width}}  {each.message}"))
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for each in checks:
        table.add_row(printable(each.level.value, _COLOURS[each.level]), printable(each.name), printable(each.message))
    on.print(table)


def checks_data(checks: Sequence[Check]) -> dict[str, Any]:
    """`{fit: bool, checks: [{name, level: ok|warn|fail, message}]}`; `fit` when no check fails."""
    return {
        "fit": all(each.level is not Level.FAIL for each in checks),
        "checks": [{"name": each.name, "level": each.level.value, "message": each.message} for each in checks],
    }
