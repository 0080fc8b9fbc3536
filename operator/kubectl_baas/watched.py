"""An Operation that was just created, watched to its end."""

from __future__ import annotations

from typing import Any

import typer

from kubectl_baas.cluster import Api
from kubectl_baas.errors import NOT_READY
from kubectl_baas.following import follow, outcome
from kubectl_baas.progress import Progress
from kubectl_baas.show import console, printable


def watched(api: Api, made: dict[str, Any], *, wait: bool) -> None:
    """Show how it goes and what came of it; without `wait`, that it is there.

    Raises:
        PluginError: it was not over in time. typer.Exit: it did not succeed, or nobody watches it any more.
    """
    called = f"{made['metadata']['namespace']}/{made['metadata']['name']}"
    if not wait:
        console().print(printable(f"operation {called} created"))
        return
    try:
        with Progress(console(stderr=True), f"operation {called}") as progress:
            over = follow(api, made, progress.tell)
    except KeyboardInterrupt:
        console(stderr=True).print(printable(f"Operation {called} goes on without being watched."))
        raise typer.Exit(130) from None
    succeeded, sentence = outcome(over)
    console().print(printable(sentence.removeprefix("Succeeded: "), "green" if succeeded else "bold red"))
    if not succeeded:
        raise typer.Exit(NOT_READY)
