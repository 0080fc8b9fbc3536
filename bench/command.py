"""What the command line of every bench does in the end."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import typer
from rich.console import Console
from rich.markup import escape

from baas_lab import lifecycle
from baas_lab.cluster import Cluster, running
from baas_lab.install import install
from baas_lab.progress import Progress


def conclude(console: Console, bad: Iterable[str]) -> None:
    """Say what is not as promised, a sentence each. Raises typer.Exit: 1 if there is any, or else 0."""
    sentences = list(bad)
    for each in sentences:
        console.print(f"[red]Not as promised:[/red] {escape(each)}", soft_wrap=True)
    raise typer.Exit(1 if sentences else 0)


def lab(name: str, progress: Progress, *, as_is: bool) -> Cluster:
    """The lab with the operator of this checkout in it or, `as_is`, the running one with the operator that is there. Raises LabError."""
    if as_is:
        return running(name)
    cluster = lifecycle.up(name, progress=progress)
    install(cluster, progress)
    return cluster


def run(app: typer.Typer, *errors: type[Exception]) -> None:
    """Run it; `errors` become sentences, not tracebacks, and code 2. 130: interrupted."""
    try:
        app()
    except errors as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
