"""`python -m bench.pictures`: a picture of each dashboard, of a backend on the lab to which something happens.

Exit code: 0 drawn; 1 drawn, but a panel has nothing to show that should have; 2 it could not be carried out; 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from baas_lab.cache import Cache
from baas_lab.cluster import Cluster
from baas_lab.errors import LabError
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.instance import names
from bench import command, machine
from bench.campaign import chosen
from bench.pictures import boards, prometheus, samples, taken
from bench.pictures import chosen as choice
from bench.pictures import lab as scraped
from bench.pictures.play import NOTHING, Played, played
from bench.pictures.scrape import INTERVAL_SECONDS
from tests.chaos.faults import take_back_everything
from tests.chaos.instance.backend import OursBackend
from tests.chaos.instance.scenes import SCENES
from tests.chaos.ledger.log import IncompleteLogError

REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "docs" / "pictures"
DATA = "data.json"
DASHBOARDS = scraped.CHART / "dashboards"
NAMESPACE = "pictures"
SPEC = {"streams": [{"name": "orders", "subjects": ["orders.>"], "deadLetter": {}}]}
"""A stream that keeps dead letters: without one, a queue has no dispatchers, and nothing to say of them."""
TOLD = "A BaasInstance (engine supabase) under 200 requests a second: {what}"

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@app.command()
def pictures(
    scene: Annotated[str, typer.Option(help=f"What happens: {', '.join(SCENES)}.")] = "zone-away",
    before: Annotated[float, typer.Option(min=30, help="Seconds that are shown of the time before.")] = 90,
    after: Annotated[float, typer.Option(min=10, help="Seconds that are shown of the time after the backend is whole again.")] = 60,
    output: Annotated[Path, typer.Option(help="The folder of pictures, and of what was drawn.")] = OUTPUT,
    given: Annotated[Path | None, typer.Option("--from", help="Draw what this file has, without a lab.")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw them into this folder as pixels, too.")] = None,
    name: Annotated[str, typer.Option(help="The lab's cluster.")] = os.environ.get("LAB_CLUSTER", DEFAULT_NAME),
    as_is: Annotated[bool, typer.Option("--as-is", help="Take the running lab with the operator that is in it.")] = False,
) -> None:
    """Draw the dashboards."""
    if find_spec("matplotlib") is None:
        raise LabError("There is no matplotlib.", hint="Run it as: make pictures")
    progress = Progress()
    if given:
        found, bad = _read(given), list[str]()
    else:
        (chosen_scene,) = chosen(scene, [*SCENES], "scene")
        found, bad = _take(name, chosen_scene, before, after, as_is=as_is, progress=progress)
        _write(output / DATA, samples.written(found))
    for path in draw(found, output, png):
        console.print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)", soft_wrap=True)
    command.conclude(console, bad)


def _take(name: str, scene: str, before: float, after: float, *, as_is: bool, progress: Progress) -> tuple[samples.Samples, list[str]]:
    """Run it; what came of it, and a sentence for each panel without data."""
    lab = command.lab(name, progress, as_is=as_is)
    with progress.step(f"Prometheus {prometheus.VERSION}"):
        program = prometheus.program(Cache())
    backend = OursBackend.on(lab, NAMESPACE, spec=SPEC)
    try:
        with progress.step("A backend: database, queue, components in three zones"):
            backend.deploy()
        with scraped.watched(backend, program, progress) as watching:
            with progress.step(f"{SCENES[scene][0]}, under load"):
                run = played(backend, scene, before=before, after=after)
            progress.note(run.result.told())
            with progress.step("What the panels show of it"):
                return _asked(watching, lab, backend, scene, run, before)
    finally:
        take_back_everything(lab)
        backend.remove(wait=False)


def _asked(
    watching: prometheus.Prometheus, lab: Cluster, backend: OursBackend, scene: str, run: Played, before: float
) -> tuple[samples.Samples, list[str]]:
    window = taken.Window(run.began - before, run.until, INTERVAL_SECONDS)
    spec = BaasInstanceSpec.model_validate(SPEC)
    values = {
        "namespace": backend.namespace, "backend": backend.name, "database": names.database_name(backend.name, spec),
        "queue": names.queue_name(backend.name, spec),
        "__rate_interval": boards.rate_interval(INTERVAL_SECONDS, INTERVAL_SECONDS),
    }  # fmt: skip
    found: dict[str, tuple[samples.Asked, ...]] = {}
    bad: list[str] = []
    for name, titles in choice.MAIN.items():
        board = read_board(name)
        bad += taken.unoffered(watching, board, values, window)
        asked = [taken.ask(watching, panel, values, window) for panel in board.panels]
        bad += taken.missing(name, board, asked, values, scene)
        found[name] = tuple(each for each in asked if each.title in titles)
    made = samples.Samples(
        scene=scene, told=TOLD.format(what=SCENES[scene][0]), result=run.result.told(),
        began=datetime.fromtimestamp(run.began, UTC).isoformat(timespec="seconds"), start=-before, step=INTERVAL_SECONDS,
        ended=None if run.ended is None else round(run.ended - run.began, 1),
        marks=() if scene == NOTHING else tuple((round(at - run.began, 1), words) for at, words in run.marks),
        machine=machine.describe(lab), boards=found,
    )  # fmt: skip
    return made, bad


def draw(found: samples.Samples, output: Path, png: Path | None = None) -> list[Path]:
    """A file for each dashboard of which there are samples. Raises LabError where a dashboard asks for something else by now."""
    from bench.pictures.draw import Picture  # only who draws has matplotlib

    made = []
    for name, asked in found.boards.items():
        board = read_board(name)
        if stale := samples.stale(board, asked):
            raise LabError(f"The dashboard {name} asks for something else by now ({', '.join(stale)}).", hint="Take it anew: make pictures")
        if not any(each.series for each in asked):
            raise LabError(f"There is not one sample of the dashboard {name}.")
        picture = Picture(board, found, asked)
        try:
            _write(output / f"{name}.svg", picture.svg())
            if png:
                png.mkdir(parents=True, exist_ok=True)
                picture.save_png(png / f"{name}.png")
        finally:
            picture.close()
        made.append(output / f"{name}.svg")
    return made


def read_board(name: str) -> boards.Board:
    """A dashboard of the chart."""
    return boards.parse((DASHBOARDS / f"{name}.json").read_text())


def _read(path: Path) -> samples.Samples:
    try:
        return samples.read(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"{path} can not be drawn: {error}") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text)
    staged.replace(path)


def _ended(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run it; errors become sentences, not tracebacks. Asked to end, it ends as if interrupted: what it started goes, too."""
    signal.signal(signal.SIGTERM, _ended)
    command.run(app, LabError, IncompleteLogError)


if __name__ == "__main__":
    main()
