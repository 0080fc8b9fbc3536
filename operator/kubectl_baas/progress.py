"""Progress of an Operation: a spinner with the step at work on a terminal, a line a finished step everywhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.status import Status

from kubectl_baas.following import phase, steps
from kubectl_baas.show import printable


class Progress:
    """Tell of an Operation while it runs; on standard error, as standard output is for the result."""

    def __init__(self, on: Console, title: str) -> None:
        self._on = on
        self._title = title
        self._told: set[str] = set()
        # Without a terminal rich would print each state of a spinner; ASCII where braille has no letters.
        spinner = "line" if on.options.ascii_only else "dots"
        self._spinner = Status(printable(title), console=on, spinner=spinner) if on.is_terminal else None

    def __enter__(self) -> Progress:
        self._on.print(printable(self._title))
        if self._spinner:
            self._spinner.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._spinner:
            self._spinner.stop()

    def tell(self, operation: dict[str, Any]) -> None:
        """Show how far it is."""
        at_work = ""
        for name, finished in steps(operation):
            if not finished:
                at_work = name
            elif name not in self._told:
                self._told.add(name)
                self._on.print(printable(f"  {name}: done", "dim"))
        if self._spinner:
            self._spinner.update(printable(f"{phase(operation)} {at_work}".rstrip()))
