"""`python -m bench.failover`: each fault, several times, on each system; a table, and `bench/results/failover.json`.

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
from bench import command, machine
from bench.campaign import Campaign, chosen
from bench.failover import results, stock_patroni, table
from bench.failover.results import SYSTEMS
from bench.failover.stock_patroni import StockPatroni
from tests.chaos.database.bounds import BOUNDS
from tests.chaos.database.faults import FAULTS
from tests.chaos.database.outcome import DatabaseOutcome
from tests.chaos.database.systems import Ours
from tests.chaos.systems import System

COMPARED = ("switchover", "pod-delete", "postgres-kill", "power-off", "freeze")
"""What rivals are measured with, too, unless faults are named: the ones that take them longest would take hours."""
OURS_ALONE = ("roll", "patroni-hang")  # what stock Patroni has no way of its own for, or leaves to a watchdog device
OUTPUT = Path(__file__).resolve().parents[1] / "results" / "failover.json"

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def make(lab: Cluster, name: str) -> System[DatabaseOutcome]:
    """One of the systems, in a namespace of its own."""
    made: dict[str, Callable[[str], System[DatabaseOutcome]]] = {
        "ours": lambda namespace: Ours.on(lab, namespace),
        "stock_patroni": lambda namespace: StockPatroni.on(lab, namespace, stock_patroni.DEFAULTS),
        "stock_patroni_tight": lambda namespace: StockPatroni.on(lab, namespace, stock_patroni.TIGHT),
    }
    return made[name](f"bench-{name.replace('_', '-')}")


def service_for(system: System[DatabaseOutcome], fault: str, given: str) -> str:
    """What clients write through: what the promise says, or `rw` while there is no pooler."""
    wanted = BOUNDS[fault].service if given == "auto" else given
    if not isinstance(system, Ours):
        return "rw"
    return "rw" if given == "auto" and not system.has(wanted) else wanted


def faults_of(system: str, given: list[str]) -> list[str]:
    """What is done to a system: what is named, or all of what is promised of ours, and of that what rivals are compared with."""
    if system == "ours":
        return given or list(FAULTS)
    return [fault for fault in given or COMPARED if fault not in OURS_ALONE]


@app.command()
def bench(
    runs: Annotated[int, typer.Option(min=1, help="Of each fault on each system.")] = 5,
    faults: Annotated[
        str, typer.Option(help=f"With commas: {', '.join(FAULTS)}. Without: all for ours, {', '.join(COMPARED)} for the others.")
    ] = "",
    systems: Annotated[str, typer.Option(help=f"With commas: {', '.join(SYSTEMS)}.")] = ",".join(SYSTEMS),
    service: Annotated[
        str, typer.Option(help="What clients of ours write through: rw, pooler, or auto, as promised for the fault.")
    ] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Keep what the file has, and do what is missing.")] = False,
    output: Annotated[Path, typer.Option(help="The file of results.")] = OUTPUT,
    name: Annotated[str, typer.Option(help="The lab's cluster.")] = os.environ.get("LAB_CLUSTER", DEFAULT_NAME),
    as_is: Annotated[bool, typer.Option("--as-is", help="Take the running lab with the operator that is in it.")] = False,
) -> None:
    """Measure failover of ours and of stock Patroni."""
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
                results.forget(found, system, fault)
    lab = command.lab(name, progress, as_is=as_is)
    campaign = Campaign(FAULTS, lambda into, who, what, through: results.add(into, who, what, service=through), found, output, progress)
    found[results.MACHINE] = machine.describe(lab, postgres_image=Images().postgres)
    try:
        for system in who:
            campaign.measure(
                partial(make, lab),
                system,
                table.TITLES[system],
                faults_of(system, given),
                runs,
                lambda made, fault: service_for(made, fault, service),
            )
    finally:
        console.print(table.render(found, given or list(FAULTS), who))
        if output.exists():
            console.print(f"In {output}", soft_wrap=True)
    command.conclude(console, table.broken(found, given or list(FAULTS)) if "ours" in who else [])


def main() -> None:
    """Run it; errors of the lab become sentences, not tracebacks."""
    command.run(app, LabError)


if __name__ == "__main__":
    main()
