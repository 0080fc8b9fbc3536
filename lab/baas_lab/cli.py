"""The `lab` command: a thin layer over the package's functions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from baas_lab import bases, binaries, cluster, daemon, images, lifecycle, status
from baas_lab.cache import Cache
from baas_lab.cli_faults import fault
from baas_lab.cli_options import Name
from baas_lab.errors import LabError
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress

INTERRUPTED = 130  # what shells use for a program that SIGINT ended
STATE_EXIT_CODES = {"ready": 0, "degraded": 1, "stopped": 4, "incomplete": 4, "absent": 4}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A real Kubernetes cluster with three zones, on this machine, and the faults to try on it.",
)
app.add_typer(fault, name="fault")


@app.command()
def up(name: Name = DEFAULT_NAME) -> None:
    """Make the cluster, or bring it back to work."""
    lifecycle.up(name, progress=Progress())


@app.command()
def down(name: Name = DEFAULT_NAME) -> None:
    """Remove the cluster, and stop the lab's own Docker daemon. What was built stays in the cache."""
    lifecycle.down(name, progress=Progress())


@app.command("status")
def show_status(
    name: Name = DEFAULT_NAME,
    output: Annotated[str, typer.Option("--output", "-o", help="`json`, or `text`.")] = "text",
) -> None:
    """Show the cluster, its nodes, and what is broken on purpose. Exit code: 0 ready, 1 degraded, 4 no running cluster."""
    if output not in ("text", "json"):
        raise LabError(f"There is no output format {output}.", hint="Use json or text.")
    state = status.collect(name, Cache())
    if output == "json":
        print(json.dumps(state, indent=2))
    else:
        status.show(state, Console())
    raise typer.Exit(STATE_EXIT_CODES[state["state"]])


@app.command()
def load(references: Annotated[list[str], typer.Argument(metavar="IMAGE...")], name: Name = DEFAULT_NAME) -> None:
    """Copy images from the Docker daemon into the workers."""
    loaded = images.load(cluster.running(name), references, Progress())
    print("\n".join(loaded) if loaded else "The nodes have them already.")


@app.command("images")
def build_images(
    only: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE...]", help="Only these.")] = None,
    load_too: Annotated[bool, typer.Option("--load", help="Copy them into the workers, too.")] = False,
    name: Name = DEFAULT_NAME,
) -> None:
    """Build the project's images and those of its operands."""
    from baas_lab import operands  # it imports this package's modules, and other commands do without it

    cache, progress = Cache(), Progress()
    docker = daemon.connect(cache, progress)
    bases.ensure_all(docker, cache, progress)
    built = operands.build_all(docker, cache, progress, only or None)
    if load_too:
        images.load(cluster.running(name), built, progress)
    print("\n".join(built))


@app.command()
def install(name: Name = DEFAULT_NAME) -> None:
    """Build the images, load them, and install the operator from its chart."""
    from baas_lab.install import install as install_operator

    install_operator(cluster.running(name), Progress())


@app.command()
def tools(every: Annotated[bool, typer.Option("--all", help="Those of the lab's nodes, too.")] = False) -> None:
    """Build the programs that tests without nodes need; print the folder that has them."""
    print(binaries.ensure(Cache(), Progress(), binaries.BY_PROGRAM if every else binaries.HOST_TOOLS))


@app.command()
def env(name: Name = DEFAULT_NAME) -> None:
    """Print shell lines that select this cluster, and find `kubectl baas`: eval "$(lab env)"."""
    selected = cluster.running(name)
    # The plugin is installed beside this program; last, so that its Python does not stand before the user's.
    beside = Path(sys.executable).parent
    for key, value in selected.environment.items():
        shown = f"{selected.bin}:$PATH:{beside}" if key == "PATH" else value
        print(f'export {key}="{shown}"')


def main() -> None:
    """Run the command; errors of the lab become sentences and exit codes, not tracebacks."""
    try:
        app()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
