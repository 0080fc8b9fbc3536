"""`python -m bench.ssrf`: a table, and `bench/results/ssrf.json`. It takes no lab; Linux and the right to make namespaces are needed.

Exit code: 0 nobody came inside, 1 somebody did, or not even where it is allowed, 2 it could not be carried out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import command, machine, records
from bench.ssrf.ways import PUBLIC

REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "bench" / "results" / "ssrf.json"
SECONDS = 300

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def tried() -> list[dict[str, Any]]:
    """What came of every way (`inside.Tried`).

    Raises:
        RuntimeError: it could not be carried out.
    """
    path = os.pathsep.join([*sys.path[1:], str(REPOSITORY)])
    try:
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--map-root-user", sys.executable, "-m", "bench.ssrf.inside"],
            cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def within(addresses: list[str]) -> list[str]:
    """Those that a webhook may not lead to."""
    return [each for each in addresses if each not in PUBLIC]


def broken(found: list[dict[str, Any]]) -> list[str]:
    """What is not as promised, a sentence each."""
    bad = [f"{each['url']} ({each['kind']}) led to {', '.join(within(each['ours']))}" for each in found if within(each["ours"])]
    bad += [f"{each['url']} may be reached, and was not: {each['ours_says']}" for each in found if not each["inside"] and not each["ours"]]
    return bad


def render(found: list[dict[str, Any]]) -> Table:
    """A line for each way."""
    table = Table(title="Ways to lead a webhook inside", title_justify="left")
    for column in ("way", "URL", "a plain client came to", "ours came to"):
        table.add_column(column)
    for each in found:
        table.add_row(each["kind"], escape(each["url"]), ", ".join(each["plain"]), ", ".join(each["ours"]))
    return table


@app.command()
def bench(output: Annotated[Path, typer.Option(help="The file of results.")] = OUTPUT) -> None:
    """Try all ways, with the dispatcher's sender and with a plain client."""
    found = tried()
    records.write(output, {"ssrf": found, records.MACHINE: machine.host()})
    console.print(render(found))
    ways = [each for each in found if each["inside"]]
    plain, ours = (sum(bool(within(each[who])) for each in ways) for who in ("plain", "ours"))
    console.print(f"Of {len(ways)} ways, {plain} led a plain client inside, and {ours} ours.\nIn {output}", soft_wrap=True)
    command.conclude(console, broken(found))


def main() -> None:
    """Run it; what went wrong becomes a sentence, not a traceback."""
    command.run(app, OSError, RuntimeError)


if __name__ == "__main__":
    main()
