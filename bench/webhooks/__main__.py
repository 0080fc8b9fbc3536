"""`python -m bench.webhooks`: a table, and `bench/results/webhooks.json`. It takes no lab.

Exit code: 0 it is as promised, 1 it is not, 2 it could not be carried out.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import command, machine, records
from bench.webhooks.processes import own_address
from bench.webhooks.run import Plan, run
from bench.webhooks.verdict import Verdict
from tests.jetstream.harness.servers import running

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "webhooks.json"

app = typer.Typer(add_completion=False)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def render(found: Verdict) -> Table:
    """What came of it, a line each."""
    letters = ", ".join(f"{count} {reason}" for reason, count in found.dead.items())
    table = Table(title="Webhooks to an endpoint that fails, hangs and goes away, by dispatchers that are killed", title_justify="left")
    table.add_column("what")
    table.add_column("", justify="right")
    for what, value in (
        ("events", found.events), ("delivered", found.delivered), ("dead letters", letters or "0"),
        ("neither", len(found.missing)), ("deliveries beyond the first", found.twice), ("attempts", found.attempts), ("kills", found.kills),
        ("signatures that do not verify", found.bad_signatures), ("events a second", found.events_per_second),
        ("bare client, events a second", found.bare_events_per_second), ("ratio to it", f"{found.ratio:.2f}"),
    ):  # fmt: skip
        table.add_row(what, str(value))
    return table


@app.command()
def bench(
    events: Annotated[int, typer.Option(min=100, help="Events.")] = Plan.events,
    bare_events: Annotated[int, typer.Option(min=100, help="Of those, how many the bare client posts.")] = Plan.bare_events,
    kill_every: Annotated[float, typer.Option(min=1, help="Seconds between two kills of all dispatchers.")] = Plan.kill_every_seconds,
    away: Annotated[float, typer.Option(min=0, help="Seconds that the endpoint is away.")] = Plan.away_seconds,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="Deliveries under way at a time, of each dispatcher.")
    ] = Plan.concurrency,
    dispatchers: Annotated[int, typer.Option(min=1, help="Dispatchers.")] = Plan.dispatchers,
    address: Annotated[str, typer.Option(help="Address of this machine, no loopback, that the endpoint listens on; found by itself.")] = "",
    output: Annotated[Path, typer.Option(help="The file of results.")] = OUTPUT,
) -> None:
    """Measure webhooks."""
    plan = Plan(events, min(bare_events, events), dispatchers, concurrency, kill_every_seconds=kill_every, away_seconds=away)
    began = time.monotonic()

    def note(text: str) -> None:
        console.print(f"{time.monotonic() - began:6.0f} s  {text}", soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="baas-bench-") as name, running(Path(name)) as servers:

        async def carry_out() -> Verdict:
            await servers.wait_whole()
            return await run(plan, servers, Path(name), address or own_address(), note)

        found = asyncio.run(carry_out())
    records.write(output, {"webhooks": found.as_json(), records.MACHINE: machine.host()})
    console.print(render(found))
    console.print(f"In {output}", soft_wrap=True)
    command.conclude(console, found.broken())


def main() -> None:
    """Run it; what went wrong becomes a sentence, not a traceback."""
    command.run(app, OSError, RuntimeError)


if __name__ == "__main__":
    main()
