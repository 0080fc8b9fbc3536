"""One image, one program, one command a process of ours.

Imports happen inside the commands: no process pays for the libraries of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


dlq = typer.Typer(no_args_is_help=True, help="Dead letters of the queue whose dispatcher this pod is; `kubectl baas dlq` runs it here.")
app.add_typer(dlq, name="dlq")


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
def dispatcher(
    config: Annotated[Path, typer.Argument(help="File that says what there is to do.")] = Path("/etc/dispatcher/dispatcher.json"),
    secrets: Annotated[Path, typer.Argument(help="Folder of the Secrets.")] = Path("/etc/dispatcher-secrets"),
    port: Annotated[int, typer.Option(help="Port of probes, metrics and status.")] = 8080,
) -> None:
    """Deliver messages of an EventQueue to its webhooks, keep its dead letters, and relay its outboxes."""
    from baas_operator.dispatcher.main import run_dispatcher

    run_dispatcher(config, secrets, port)


@app.command()
def probe(
    config: Annotated[Path, typer.Argument(help="File that says what there is to do.")] = Path("/etc/baas/probe-config/probe.json"),
    secrets: Annotated[Path, typer.Argument(help="Folder with a folder for each Secret.")] = Path("/etc/baas/probe"),
    port: Annotated[int, typer.Option(help="Port of probes, metrics and the report.")] = 8080,
    host: Annotated[str | None, typer.Option(help="Address to listen on; all when left out.")] = None,
) -> None:
    """Do what clients do through a backend's gateway, again and again, and tell what came of it."""
    from baas_operator.prober.main import run_prober

    run_prober(config, secrets, port, host)


@app.command()
def queue_agent() -> None:
    """Run beside a NATS server: load what is new, move away what it leads before it ends."""
    from baas_operator.queue_agent.main import run_queue_agent

    run_queue_agent()


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
    from prometheus_client import Counter, Gauge, Histogram

    from baas_operator.api.reference import reference as build
    from baas_operator.dead_letters import metrics as of_letters
    from baas_operator.dispatcher import metrics as of_webhooks
    from baas_operator.observe.reasons import REASONS
    from baas_operator.outbox import status as of_outboxes
    from baas_operator.prober import metrics as of_probes
    from baas_operator.telemetry import metrics

    whose = {"operator": [metrics], "dispatchers": [of_webhooks, of_letters, of_outboxes], "probers": [of_probes]}
    table = {
        name: [
            (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
            for module in modules
            for each in vars(module).values()
            if isinstance(each, (Counter, Gauge, Histogram))
            for family in each.collect()
        ]
        for name, modules in whose.items()
    }
    text = build(REASONS, table)
    if check and (not path.exists() or path.read_text() != text):
        typer.echo(f"not up to date, run `make generate`: {path}", err=True)
        raise typer.Exit(1)
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@dlq.command("list")
def dlq_list(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    wanted: Annotated[str, typer.Option("--filter", help="Which of them, as `parameters.letters` of an Operation has it, in JSON.")] = "{}",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Accepted for clarity: it is always JSON, an object a line.")] = True,
) -> None:
    """Write dead letters, the oldest first and without their payload, a JSON object a line."""
    _write_letters(stream, wanted=wanted, limit=limit)


@dlq.command("show")
def dlq_show(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    sequence: Annotated[int, typer.Argument(min=1, help="Sequence of the dead letter, as `list` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Accepted for clarity: it is always JSON.")] = True,
) -> None:
    """Write one dead letter with its payload in base64; nothing if there is none."""
    _write_letters(stream, sequence=sequence)


def _write_letters(stream: str, *, wanted: str = "{}", sequence: int | None = None, limit: int | None = None) -> None:
    import asyncio

    from pydantic import ValidationError

    from baas_operator.api.operation import LetterFilter
    from baas_operator.dead_letters.command import CommandError, Place, write

    try:
        chosen = LetterFilter.model_validate_json(wanted)
        asyncio.run(write(Place(), stream, typer.echo, wanted=chosen, sequence=sequence, limit=limit))
    except ValidationError as error:
        typer.echo(f"the filter is not valid: {error.errors()[0]['msg']}.", err=True)
        raise typer.Exit(2) from error
    except CommandError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
