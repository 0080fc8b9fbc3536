"""What `kubectl baas doctor` found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kubectl_baas.doctor.check import Check, Level

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def checks_table(checks: Sequence[Check]) -> Table:
    """A row a check."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for each in checks:
        made.add_row(Text(each.level.value, _COLOURS[each.level]), Text(each.name), Text(each.message))
    return made


def checks_data(checks: Sequence[Check]) -> dict[str, Any]:
    """`{fit: bool, checks: [{name, level: ok|warn|fail, message}]}`; `fit` when no check fails."""
    return {
        "fit": all(each.level is not Level.FAIL for each in checks),
        "checks": [{"name": each.name, "level": each.level.value, "message": each.message} for each in checks],
    }
