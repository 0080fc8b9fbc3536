"""The verbs of `kubectl baas dlq`, as a user types them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from baas_operator.api.operation import Action, LetterFilter
from kubectl_baas.errors import NOT_READY, PluginError
from kubectl_baas.show import Format, console, print_data, printable, sentences

_COLUMNS = {
    "sequence": "SEQUENCE", "buriedAt": "BURIED", "consumer": "CONSUMER", "reason": "REASON", "deliveries": "TRIES", "subject": "SUBJECT",
    "detail": "DETAIL",
}  # fmt: skip
app = typer.Typer(name="dlq", no_args_is_help=True, help="See, replay and purge dead letters.")

Queue = Annotated[str, typer.Argument(help="The EventQueue.")]
Stream = Annotated[str, typer.Argument(help="The stream whose dead letters they are.")]
Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig; its current one by default.")]
Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Namespace; the context's by default.")]
Consumer = Annotated[str | None, typer.Option("--consumer", help="Those that this consumer failed at.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Those with this reason, such as MaxDeliveries.")]
Subject = Annotated[str | None, typer.Option("--subject", help="Those of this subject; * stands for one token, > for the rest.")]
Since = Annotated[str | None, typer.Option("--since", help="Those buried then or later, as 2026-05-01T12:00:00Z.")]
Until = Annotated[str | None, typer.Option("--until", help="Those buried before.")]
Sequence = Annotated[str | None, typer.Option("--sequence", help="Those with these sequences, as `list` shows them: 5, 5-9, 5- or -9.")]
Header = Annotated[list[str] | None, typer.Option("--header", help="Those that have this header, NAME=VALUE; may be given several times.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end and show it.")]
Timeout = Annotated[int, typer.Option("--timeout", min=5, max=3600, help="Seconds after which it is given up; the rest stays.")]


def _format(text: str) -> Format:
    if text not in (Format.TABLE, Format.JSON, Format.YAML):
        raise typer.BadParameter(f"there is no format {text!r}: give one of table, json, yaml.")
    return Format(text)


Output = Annotated[Format, typer.Option("-o", "--output", parser=_format, metavar="[table|json|yaml]", help="How the answer is written.")]


@app.command("list")
def list_(
    queue: Queue, stream: Stream, consumer: Consumer = None, reason: Reason = None, subject: Subject = None, since: Since = None,
    until: Until = None, sequence: Sequence = None, header: Header = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most of them, the oldest first.")] = 1000,
    namespace: Namespace = None, context: Context = None, output: Output = Format.TABLE,
) -> None:  # fmt: skip
    """List dead letters, the oldest first.

    Exit code: 0, or 2 when there is no answer.
    """
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.dlq import check_queue, dispatcher_pod, letter_filter, read

    with sentences():
        wanted = letter_filter(
            consumer=consumer, reason=reason, subject=subject, since=since, until=until, sequences=sequence, headers=header or ()
        )
        api = Cluster(context)
        where = namespace or api.namespace
        check_queue(api, where, queue, stream)
        chosen = wanted.model_dump_json(by_alias=True, exclude_defaults=True)
        arguments = ["list", stream, "--json", "--filter", chosen, "--limit", str(limit)]
        letters = list(read(where, dispatcher_pod(api, where, queue), context, arguments))
    if output is not Format.TABLE:
        print_data({"letters": letters}, output)
        return
    if not letters:
        console(stderr=True).print(printable(f"No dead letter of {stream}{' fits' if wanted != LetterFilter() else ''}."))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in _COLUMNS.values():
        table.add_column(title, no_wrap=title != "DETAIL")
    for each in letters:
        cells = (
            each["sequence"],
            each["buriedAt"],
            each["consumer"],
            each["reason"],
            each["deliveries"] or "",
            each["subject"],
            each["detail"],
        )
        table.add_row(*(printable(cell) for cell in cells))
    console().print(table)
    if len(letters) == limit:
        console(stderr=True).print(
            printable(f"There may be more than these {limit}: give --limit, or --sequence {letters[-1]['sequence'] + 1}-.")
        )


@app.command()
def show(
    queue: Queue, stream: Stream, sequence: Annotated[int, typer.Argument(min=1, help="Its sequence, as `list` shows it.")],
    namespace: Namespace = None, context: Context = None, output: Output = Format.TABLE,
) -> None:  # fmt: skip
    """Show one dead letter with its headers and payload.

    The payload is text or hex, its first 4 KiB; -o json has all of it in base64.

    Exit code: 0, 1 when there is no such letter, 2 when there is no answer.
    """
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.dlq import check_queue, dispatcher_pod, payload_text, read

    with sentences():
        api = Cluster(context)
        where = namespace or api.namespace
        check_queue(api, where, queue, stream)
        found = list(read(where, dispatcher_pod(api, where, queue), context, ["show", stream, str(sequence), "--json"]))
    if not found:
        console(stderr=True).print(printable(f"There is no dead letter {sequence} of {stream}."))
        raise typer.Exit(NOT_READY)
    (letter,) = found
    if output is not Format.TABLE:
        print_data(letter, output)
        return
    on = console()
    named = {
        "Subject": letter["subject"], "Consumer": letter["consumer"], "Reason": letter["reason"], "Detail": letter["detail"],
        "Tries": letter["deliveries"], "Stored": f"{letter['storedAt']}, sequence {letter['sourceSequence']} of {stream}",
        "Buried": letter["buriedAt"],
    }  # fmt: skip
    for name, value in named.items():
        if value:
            on.print(printable(f"{name + ':':10}{value}"))
    for name, value in letter["headers"]:
        on.print(printable(f"{name}: {value}", "dim"))
    on.print()
    on.print(printable(payload_text(letter), keep="\n\t\r"))


@app.command()
def replay(
    queue: Queue, stream: Stream, consumer: Consumer = None, reason: Reason = None, subject: Subject = None, since: Since = None,
    until: Until = None, sequence: Sequence = None, header: Header = None,
    rate: Annotated[int | None, typer.Option("--rate", min=1, max=10_000, help="Most messages a second.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most of them, the oldest first.")] = None,
    wait: Wait = True, timeout: Timeout = 3600, namespace: Namespace = None, context: Context = None,
) -> None:  # fmt: skip
    """Publish dead letters to their stream again.

    All of the stream's consumers get them. Creates an Operation. What is meant is decided when it begins; a message that fails
    again is another dead letter.

    Exit code: 0 when it succeeded (with --no-wait: when the Operation was created), 1 when it was refused or failed, 2 when
    there is no answer.
    """
    with sentences():
        wanted = _filter(consumer, reason, subject, since, until, sequence, header)
        _run(Action.REPLAY_DEAD_LETTERS, queue, stream, wanted, rate, limit, wait, timeout, namespace, context)


@app.command()
def purge(
    queue: Queue, stream: Stream, consumer: Consumer = None, reason: Reason = None, subject: Subject = None, since: Since = None,
    until: Until = None, sequence: Sequence = None, header: Header = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them; needed where no filter is given.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most of them, the oldest first.")] = None,
    wait: Wait = True, timeout: Timeout = 600, namespace: Namespace = None, context: Context = None,
) -> None:  # fmt: skip
    """Delete dead letters for good.

    Creates an Operation. What is meant is decided when it begins.

    Exit code: 0 when it succeeded (with --no-wait: when the Operation was created), 1 when it was refused or failed, 2 when
    there is no answer.
    """
    with sentences():
        wanted = _filter(consumer, reason, subject, since, until, sequence, header)
        if wanted == LetterFilter() and not everything:
            raise PluginError("this would delete all dead letters of the stream: give a filter, or --all.")
        _run(Action.PURGE_DEAD_LETTERS, queue, stream, wanted, None, limit, wait, timeout, namespace, context)


def _filter(
    consumer: str | None, reason: str | None, subject: str | None, since: str | None, until: str | None, sequence: str | None,
    header: list[str] | None,
) -> LetterFilter:  # fmt: skip
    from kubectl_baas.dlq import letter_filter

    return letter_filter(
        consumer=consumer, reason=reason, subject=subject, since=since, until=until, sequences=sequence, headers=header or ()
    )


def _run(
    action: Action, queue: str, stream: str, wanted: LetterFilter, rate: int | None, limit: int | None, wait: bool, timeout: int,
    namespace: str | None, context: str | None,
) -> None:  # fmt: skip
    from kubectl_baas import dlq
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.watched import watched

    made = dlq.operation(queue, stream, action, wanted, rate=rate, limit=limit, timeout_seconds=timeout)
    api = Cluster(context)
    watched(api, dlq.create(api, namespace or api.namespace, made), wait=wait)
