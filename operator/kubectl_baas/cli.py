"""`kubectl baas COMMAND`: what a user types; each command asks, shows, and sets the exit code."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from kubectl_baas import dlq_cli, rotate_cli, webhook_cli
from kubectl_baas.errors import ERROR, NOT_READY, PluginError
from kubectl_baas.show import Format, console, print_data, print_trees, printable, sentences

app = typer.Typer(
    name="kubectl baas",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(dlq_cli.app, name="dlq")
app.add_typer(rotate_cli.app, name="rotate")
app.add_typer(webhook_cli.app, name="webhook")

Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig; its current one by default.")]
Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Namespace; the context's by default.")]


def _format(text: str) -> Format:
    try:
        return Format(text)
    except ValueError:
        raise typer.BadParameter(f"there is no format {text!r}: give one of {', '.join(Format)}.") from None


Output = Annotated[
    Format, typer.Option("-o", "--output", parser=_format, metavar=f"[{'|'.join(Format)}]", help="How the answer is written.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"kubectl-baas {version('baas-operator')}\n")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the plugin's version and exit.")
    ] = False,
) -> None:
    """Highly available backends: see them, move them, check the cluster that they are on."""


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="A BaasInstance, DatabaseReplica or EventQueue; all when left out.")] = None,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("-A", "--all-namespaces", help="In all namespaces.")] = False,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """Show backends, and what they stand on, as one tree.

    BaasInstance, its components, its database with members, its queue with servers and streams; then databases and queues
    that no instance uses. Lines with "!" say what is not as it should be. `-o wide` adds all conditions, ages and past
    Operations; `-o json` and `-o yaml` print {ready, operator, instances, databases, queues};
    fields are only ever added to it.

    Exit code: 0 when all that is shown is Ready, 1 when something is not or no operator runs that could tell, 2 when there is
    no answer.
    """
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.status import gather
    from kubectl_baas.tree import build_trees

    with sentences():
        if everywhere and namespace:
            raise PluginError("-n and -A exclude each other: give one of them.")
        api = Cluster(context)
        chosen = None if everywhere else namespace or api.namespace
        fleet = gather(api, namespace=chosen, name=name)
    if output in (Format.JSON, Format.YAML):
        print_data(fleet.model_dump(by_alias=True, mode="json"), output)
    elif fleet.empty:
        where = f"namespace {chosen}" if chosen else "any namespace"
        console(stderr=True).print(printable(f"There is no BaasInstance, DatabaseReplica or EventQueue in {where}."))
    else:
        now = api.server_time or datetime.now(UTC)
        print_trees(build_trees(fleet, now=now, wide=output is Format.WIDE, namespaces=everywhere), console())
    if not fleet.ready:
        raise typer.Exit(NOT_READY)


@app.command()
def switchover(
    database: Annotated[str, typer.Argument(help="The DatabaseReplica.")],
    to: Annotated[str | None, typer.Option("--to", help="Member that becomes the primary; the one with the least lag by default.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end and show it.")] = True,
    timeout: Annotated[int, typer.Option("--timeout", min=5, max=3600, help="Seconds after which it is given up.")] = 120,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Make another member of a database the primary.

    Planned work, as before a drain. Creates an Operation; the operator does it if it is safe, and else says why not.

    Exit code: 0 when it succeeded (with --no-wait: when the Operation was created), 1 when it was refused or failed, 2 when
    there is no answer.
    """
    from kubectl_baas import switchover as moves
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.watched import watched

    with sentences():
        api = Cluster(context)
        watched(api, moves.create(api, namespace or api.namespace, database, to=to, timeout_seconds=timeout), wait=wait)


@app.command()
def doctor(
    namespace: Namespace = None,
    operator_namespace: Annotated[
        str | None, typer.Option("--operator-namespace", help="Where the operator runs; looked for everywhere by default.")
    ] = None,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """Check this cluster, and whether the operator is up.

    Is it fit for highly available backends? Each check is ok, warn (it works, with less than it could) or fail, with a sentence
    that says what to do.

    Exit code: 0 when no check fails, 1 when one does, 2 when there is no answer.
    """
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.doctor import Level, examine
    from kubectl_baas.report import checks_data, print_checks

    with sentences():
        api = Cluster(context)
        checks = examine(api, namespace=namespace or api.namespace, operator_namespace=operator_namespace, here=datetime.now(UTC))
    if output in (Format.JSON, Format.YAML):
        print_data(checks_data(checks), output)
    else:
        print_checks(checks, console())
    if any(each.level is Level.FAIL for each in checks):
        raise typer.Exit(NOT_READY)


@app.command()
def render(
    files: Annotated[list[str], typer.Option("-f", "--filename", help="File with custom resources; - for standard input.")],
    namespace: Annotated[str | None, typer.Option("-n", "--namespace", help="Namespace of those that name none.")] = None,
) -> None:
    """Print the manifests that would be made, without a cluster.

    Generated secrets are comments with their name and keys; nothing secret is drawn or shown. Rules that span fields are
    the API server's to check: `kubectl apply --dry-run=server` does.

    Exit code: 0, or 2 when a file can not be read or a custom resource is not valid.
    """
    from kubectl_baas.offline import load, streams

    with sentences():
        resources = [each for name in files for each in load(_read(name), name, namespace)]
        if not resources:
            raise PluginError("nothing to render: no BaasInstance, DatabaseReplica or EventQueue in these files.")
        text = streams(resources)
    sys.stdout.write(text)


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"can not read {name}: {error}") from error


def main() -> None:
    """Console script; kubectl finds it as `kubectl baas` when it is on PATH."""
    try:
        app(prog_name="kubectl baas")
    except BrokenPipeError:
        sys.exit(ERROR)


if __name__ == "__main__":
    main()
