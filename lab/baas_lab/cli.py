"""The `lab` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from baas_lab import cluster as clusters
from baas_lab import lifecycle
from baas_lab.errors import LabError
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A real Kubernetes cluster with three zones, on this machine.")
Name = Annotated[str, typer.Option("--name", help="The cluster's name.")]


@app.command()
def up(name: Name = DEFAULT_NAME) -> None:
    """Make the cluster, or bring it back."""
    lifecycle.up(name, progress=Progress())


@app.command()
def down(name: Name = DEFAULT_NAME) -> None:
    """Remove the cluster; stop the private Docker daemon if there is one."""
    lifecycle.down(name, progress=Progress())


@app.command()
def env(name: Name = DEFAULT_NAME) -> None:
    """Print shell lines for this cluster: eval "$(lab env)"."""
    cluster = clusters.running(name)
    for key, value in cluster.environment.items():
        if key == "PATH":
            value = f"{cluster.bin}:$PATH"
        print(f'export {key}="{value}"')


def main() -> None:
    """Run the command; errors of the lab become sentences and exit codes, not tracebacks."""
    try:
        app()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
