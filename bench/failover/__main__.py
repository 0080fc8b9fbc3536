"""`python -m bench.failover`: each fault, several times, on each system; a table, and `bench/results/failover.json`.

The systems have the lab one after another, as the machine has few CPUs. Exit code: 0 ours is as promised, 1 it is not, 2 the bench could
not be carried out; 130 interrupted, and what was measured is kept: go on with `--resume`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from baas_lab import lifecycle
from baas_lab.cluster import Cluster, running
from baas_lab.errors import LabError
from baas_lab.install import install
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress
from bench.failover import machine, results, stock_patroni, table
from bench.failover.results import SYSTEMS, Results
from bench.failover.stock_patroni import StockPatroni
from tests.chaos.database.bounds import BOUNDS
from tests.chaos.faults import FAULTS, take_back_everything
from tests.chaos.ledger.log import IncompleteLogError
from tests.chaos.rehearsal import Outcome, rehearse
from tests.chaos.systems import Ours, System

COMPARED = ("switchover", "pod-delete", "postgres-kill", "power-off", "freeze")
"""What rivals are measured with, too, unless faults are named: the ones that take them longest would take hours."""
OURS_ALONE = ("roll", "patroni-hang")  # what stock Patroni has no way of its own for, or leaves to a watchdog device
OUTPUT = Path(__file__).resolve().parents[1] / "results" / "failover.json"
ATTEMPTS = 3
"""For a run that could not have shown a loss, or did not come to its end: it counts for nothing, and is made again."""

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def make(lab: Cluster, name: str) -> System:
    """One of the systems, in a namespace of its own."""
    made: dict[str, Callable[[str], System]] = {
        "ours": lambda namespace: Ours.on(lab, namespace),
        "stock_patroni": lambda namespace: StockPatroni.on(lab, namespace, stock_patroni.DEFAULTS),
        "stock_patroni_tight": lambda namespace: StockPatroni.on(lab, namespace, stock_patroni.TIGHT),
    }
    return made[name](f"bench-{name.replace('_', '-')}")


def chosen(given: str, known: list[str], what: str) -> list[str]:
    """A list that was given with commas, in its order. Raises typer.BadParameter."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names or (wrong := [name for name in names if name not in known]):
        raise typer.BadParameter(f"{wrong if names else 'nothing'} is no {what}; there are: {', '.join(known)}.")
    return list(dict.fromkeys(names))


def service_for(system: System, fault: str, given: str) -> str:
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


def one_run(system: System, fault: str, service: str, progress: Progress) -> Outcome:
    """A run that proves something. A system that does not come back from the fault is made anew for the next one. Raises LabError."""
    for _ in range(ATTEMPTS):
        try:
            outcome = rehearse(system, FAULTS[fault], service=service, note=progress.note)
        except (IncompleteLogError, LabError) as error:
            progress.note(f"again, with a new one: {error}")
            take_back_everything(system.lab)
            system.deploy()
            continue
        progress.note(outcome.told())
        if not outcome.undetectable:
            return outcome
        progress.note(f"again: {outcome.undetectable}")
    raise LabError(f"{ATTEMPTS} runs of {fault} on {system.namespace} in a row proved nothing.")


def measure(lab: Cluster, name: str, faults: list[str], runs: int, service: str, found: Results, output: Path, progress: Progress) -> None:
    """Bring a system up, and do to it what is still to be done. Raises LabError."""
    left = [fault for fault in faults if results.runs(found, name, fault) < runs]
    if not left:
        return
    system = make(lab, name)
    try:
        with progress.step(f"{table.TITLES[name]}: three members in three zones"):
            system.deploy()
        for fault in left:
            through = service_for(system, fault, service)
            for number in range(results.runs(found, name, fault) + 1, runs + 1):
                with progress.step(f"{table.TITLES[name]}: {FAULTS[fault].told}, through {through}, {number} of {runs}"):
                    results.add(found, name, one_run(system, fault, through, progress), service=through)
                results.write(output, found)
    finally:
        take_back_everything(lab)
        system.remove(wait=True)


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
    lab = running(name) if as_is else lifecycle.up(name, progress=progress)
    if not as_is:
        install(lab, progress)
    found[results.MACHINE] = machine.describe(lab)
    try:
        for system in who:
            measure(lab, system, faults_of(system, given), runs, service, found, output, progress)
    finally:
        console.print(table.render(found, given or list(FAULTS), who))
        if output.exists():
            console.print(f"In {output}", soft_wrap=True)
    bad = table.broken(found, given or list(FAULTS)) if "ours" in who else []
    for sentence in bad:
        console.print(f"[red]Not as promised:[/red] {sentence}", soft_wrap=True)
    raise typer.Exit(1 if bad else 0)


def main() -> None:
    """Run it; errors of the lab become sentences, not tracebacks."""
    try:
        app()
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
