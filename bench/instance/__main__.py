"""`python -m bench.instance`: a backend under load while things are done to it; a table, and `bench/results/instance.json`.

Exit code: 0 as promised, 1 it is not, 2 the bench could not be carried out; 130 interrupted, and what was measured is kept: go on with
`--resume`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from baas_lab.errors import LabError
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress
from bench import command, machine, records
from bench.campaign import chosen
from bench.instance import latency
from bench.instance.bounds import broken
from tests.chaos.faults import take_back_everything
from tests.chaos.instance.backend import RATE, OursBackend
from tests.chaos.instance.scenes import SCENES, Result, play
from tests.chaos.ledger.log import IncompleteLogError

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "instance.json"
NAMESPACE = "bench-instance"
SYSTEM = "ours"
EXTRA = ("latency", "footprint")

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@app.command()
def bench(
    runs: Annotated[int, typer.Option(min=1, help="Of each scene.")] = 3,
    scenes: Annotated[str, typer.Option(help=f"With commas: {', '.join((*SCENES, *EXTRA))}. All when left out.")] = "",
    rate: Annotated[int, typer.Option(min=1, help="Requests a second.")] = RATE,
    resume: Annotated[bool, typer.Option("--resume", help="Keep what the file has, and do what is missing.")] = False,
    output: Annotated[Path, typer.Option(help="The file of results.")] = OUTPUT,
    name: Annotated[str, typer.Option(help="The lab's cluster.")] = os.environ.get("LAB_CLUSTER", DEFAULT_NAME),
    as_is: Annotated[bool, typer.Option("--as-is", help="Take the running lab with the operator that is in it.")] = False,
) -> None:
    """Measure a backend of an empty spec."""
    wanted = chosen(scenes, [*SCENES, *EXTRA], "scene") if scenes else [*SCENES, *EXTRA]
    progress = Progress()
    try:
        found = records.read(output, (SYSTEM,))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    ours = found.setdefault(SYSTEM, {})
    if not resume:
        for each in wanted:
            ours.pop(each, None)
    lab = command.lab(name, progress, as_is=as_is)
    found[records.MACHINE] = machine.describe(lab)
    backend = OursBackend.on(lab, NAMESPACE)
    try:
        with progress.step("A backend: database, queue, components in three zones"):
            backend.deploy()
        if "footprint" in wanted and "footprint" not in ours:
            with progress.step("What it takes while nobody asks anything"):
                ours["footprint"] = latency.footprint(backend)
            records.write(output, found)
        if "latency" in wanted and len(ours.get("latency", [])) < runs:
            with progress.step("Through the gateway, and PostgREST directly, by turns"):
                ours["latency"] = latency.compare(backend, runs)
            records.write(output, found)
        todo = [each for each in wanted if each in SCENES]
        if todo:
            with progress.step(f"Whether {rate} requests a second are carried"):
                latency.require_carried(backend, rate)
        for scene in todo:
            kept = ours.setdefault(scene, [])
            while len(kept) < runs:
                with progress.step(f"{SCENES[scene][0]}, {len(kept) + 1} of {runs}"):
                    kept.append(_run(backend, scene, rate, progress))
                records.write(output, found)
    finally:
        take_back_everything(lab)
        backend.remove(wait=False)
        _show(ours)
    command.conclude(console, broken(ours))


def _run(backend: OursBackend, scene: str, rate: int, progress: Progress) -> dict[str, object]:
    for _ in range(3):
        try:
            result = play(backend, scene, rate=rate)
        except (IncompleteLogError, LabError) as error:
            progress.note(f"again, with a new one: {error}")
            take_back_everything(backend.lab)
            backend.deploy()
            continue
        progress.note(result.told())
        return asdict(result)
    raise LabError(f"Three runs of {scene} in a row did not come to their end.")


def _show(ours: dict[str, object]) -> None:
    table = Table("what was done", "run", "requests a second", "what came of it", title="A backend under load")
    for scene, runs in ours.items():
        if scene in SCENES and isinstance(runs, list):
            for number, each in enumerate(runs, 1):
                result = Result(**each)
                table.add_row(SCENES[scene][0], str(number), str(result.rate), result.told())
    console.print(table)
    for scene in EXTRA:
        if scene in ours:
            console.print(f"{scene}: {latency.told(scene, ours[scene])}", soft_wrap=True)


def main() -> None:
    """Run it; errors of the lab become sentences, not tracebacks."""
    command.run(app, LabError)


if __name__ == "__main__":
    main()
