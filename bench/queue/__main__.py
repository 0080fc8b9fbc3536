"""`python -m bench.queue`: each fault, several times, on each system; a table, and `bench/results/queue.json`.

The systems have the lab one after another, as the machine has few CPUs. Exit code: 0 ours is as promised, 1 it is not, 2 the bench could
not be carried out; 130 interrupted, and what was measured is kept: go on with `--resume`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from baas_lab.cluster import Cluster
from baas_lab.errors import LabError
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress
from baas_operator.desired.images import Images
from bench import command, machine, records
from bench.campaign import Campaign, chosen
from bench.queue import results, table
from bench.queue.plain_nats import PlainNats
from bench.queue.results import SYSTEMS
from tests.chaos.queue.faults import FAULTS
from tests.chaos.queue.outcome import QueueOutcome
from tests.chaos.queue.systems import SERVICE, OursQueue
from tests.chaos.systems import System

COMPARED = ("stepdown", "pod-delete", "nats-kill", "power-off", "freeze", "drain", "roll", "power-cut")
"""What the rival is measured with, too, unless faults are named."""
POWER_CUT = "power-cut"
OUTPUT = Path(__file__).resolve().parents[1] / "results" / "queue.json"

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def make(lab: Cluster, name: str) -> System[QueueOutcome]:
    """One of the systems, in a namespace of its own."""
    made: dict[str, Callable[[str], System[QueueOutcome]]] = {
        "ours": lambda namespace: OursQueue.on(lab, namespace),
        "ours_balanced": lambda namespace: OursQueue.on(lab, namespace, durability="balanced"),
        "plain_nats": lambda namespace: PlainNats.on(lab, namespace),
    }
    return made[name](f"bench-{name.replace('_', '-')}")


def faults_of(system: str, given: list[str]) -> list[str]:
    """What is done to a system: what is named, or all of what is promised of ours, and of that what others are compared with. `balanced`
    is otherwise in nothing but what a power cut takes."""
    if system == "ours_balanced":
        return [POWER_CUT] if not given or POWER_CUT in given else []
    return given or (list(FAULTS) if system == "ours" else list(COMPARED))


@app.command()
def bench(
    runs: Annotated[int, typer.Option(min=1, help="Of each fault on each system.")] = 5,
    faults: Annotated[
        str, typer.Option(help=f"With commas: {', '.join(FAULTS)}. Without: all for ours, {', '.join(COMPARED)} for the others.")
    ] = "",
    systems: Annotated[str, typer.Option(help=f"With commas: {', '.join(SYSTEMS)}.")] = ",".join(SYSTEMS),
    resume: Annotated[bool, typer.Option("--resume", help="Keep what the file has, and do what is missing.")] = False,
    output: Annotated[Path, typer.Option(help="The file of results.")] = OUTPUT,
    name: Annotated[str, typer.Option(help="The lab's cluster.")] = os.environ.get("LAB_CLUSTER", DEFAULT_NAME),
    as_is: Annotated[bool, typer.Option("--as-is", help="Take the running lab with the operator that is in it.")] = False,
) -> None:
    """Measure queues: ours, and plain NATS."""
    given = chosen(faults, list(FAULTS), "fault") if faults else []
    who = chosen(systems, list(SYSTEMS), "system")
    progress = Progress()
    try:
        found = results.read(output)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not resume:
        for system in who:
            for fault in faults_of(system, given):
                records.forget(found, system, fault)
    lab = command.lab(name, progress, as_is=as_is)
    campaign = Campaign(FAULTS, results.add, found, output, progress)
    found[records.MACHINE] = machine.describe(lab, nats_image=Images().nats)
    try:
        for system in who:
            campaign.measure(
                partial(make, lab),
                system,
                table.TITLES[system],
                faults_of(system, given),
                runs,
                lambda _made, _fault: SERVICE,
            )
    finally:
        console.print(table.render(found, given or list(FAULTS), who))
        if output.exists():
            console.print(f"In {output}", soft_wrap=True)
    command.conclude(console, table.broken(found, given or list(FAULTS), who))


def main() -> None:
    """Run it; errors of the lab become sentences, not tracebacks."""
    command.run(app, LabError)


if __name__ == "__main__":
    main()
