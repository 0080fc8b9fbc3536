"""Entry point: `python -m baas_operator COMMAND`. One image, one program, one command a process of ours.

Imports happen inside the commands: the agent beside each database member must not pay for the operator's libraries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run() -> None:
    """Run the operator: wait for the Lease, then reconcile until it is lost or the process is asked to stop."""
    from baas_operator.handlers.operator import run_operator

    run_operator()


@app.command()
def agent() -> None:
    """Run beside a database member: route `-rw` to this one while it leads."""
    from baas_operator.agent.main import run_agent

    run_agent()


@app.command()
def pooler_agent() -> None:
    """Run beside a PgBouncer: lead it to the primary."""
    from baas_operator.pooler.main import run_pooler_agent

    run_pooler_agent()


@app.command()
def crds(
    directory: Annotated[list[Path], typer.Argument(help="Folders to write the CustomResourceDefinitions to.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not what it would be.")] = False,
) -> None:
    """Write the CustomResourceDefinitions that the models stand for."""
    import yaml

    from baas_operator.api.crd import all_crds

    stale = []
    for folder in directory:
        for name, crd in all_crds().items():
            text = "# Made by `make generate` from operator/baas_operator/api; do not edit.\n" + yaml.safe_dump(
                crd, sort_keys=False, width=120, allow_unicode=True
            )
            path = folder / name
            if path.exists() and path.read_text() == text:
                continue
            stale.append(str(path))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if check and stale:
        typer.echo(f"not up to date, run `make generate`: {', '.join(stale)}", err=True)
        raise typer.Exit(1)


@app.command()
def reference(
    path: Annotated[Path, typer.Argument(help="File to write the reference to.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file is not what it would be.")] = False,
) -> None:
    """Write the reference of the API, the conditions' reasons and the metrics."""
    from prometheus_client import REGISTRY

    from baas_operator.api.reference import reference as build
    from baas_operator.observe.reasons import REASONS
    from baas_operator.telemetry import metrics

    assert metrics  # its import is what registers them
    table = [
        (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
        for family in REGISTRY.collect()
        if family.name.startswith("baas_")
    ]
    text = build(REASONS, table)
    if check and (not path.exists() or path.read_text() != text):
        typer.echo(f"not up to date, run `make generate`: {path}", err=True)
        raise typer.Exit(1)
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main() -> None:
    """Console script."""
    app()


if __name__ == "__main__":
    main()
