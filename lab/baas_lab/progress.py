"""What the lab is doing, and for how long: a live display on a terminal, plain lines elsewhere (CI, pytest)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Progress:
    """Nested steps with elapsed time, on stderr so that stdout stays for results.

    `durations` keeps (title, seconds) of every finished step, in order, for those who want to report them.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.durations: list[tuple[str, float]] = []
        self._live: RichProgress | None = None
        self._depth = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` as running until the block ends, then as done, or as failed when it raised."""
        started = time.monotonic()
        indent = "  " * self._depth
        task = self._begin(f"{indent}{title}")
        self._depth += 1
        mark = "[red]✗[/red]"
        try:
            yield
            mark = "[green]✓[/green]"
        finally:
            self._depth -= 1
            seconds = time.monotonic() - started
            self.durations.append((title, seconds))
            self._end(task)
            self.console.print(f"{indent}{mark} {title} [dim]{elapsed(seconds)}[/dim]")

    def note(self, text: str) -> None:
        """One line that stays: a fact worth knowing that is no step."""
        self.console.print(f"{'  ' * self._depth}[dim]·[/dim] {text}", soft_wrap=True)

    def _begin(self, title: str) -> TaskID | None:
        if not self.console.is_terminal:
            self.console.print(f"… {title}")
            return None
        if self._live is None:
            self._live = RichProgress(
                SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=self.console, transient=True
            )
            self._live.start()
        return self._live.add_task(title, total=None)

    def _end(self, task: TaskID | None) -> None:
        if self._live is None or task is None:
            return
        self._live.remove_task(task)
        if self._depth == 0:
            self._live.stop()
            self._live = None


def elapsed(seconds: float) -> str:
    """Durations as people say them: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
