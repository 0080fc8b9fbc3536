"""The file of results: `bench/results/failover.json`.

    {"ours": {FAULT: {"gaps_seconds": [1.2, …], "lost": 0, "client_errors": 3, …}, …},
     "stock_patroni": {…}, "stock_patroni_tight": {…}, "machine": {…}}

`gaps_seconds` has one entry a run: seconds of the longest time between two acknowledgements of one writer, from the fault until it was
taken back; `after_seconds` the same from then until the system was whole again. A run in which writes did not go on within 180 s is
`null`, and the fault then has `"over": 180`: the gap is longer than that, nobody knows by how much. `lost` counts acknowledged rows that
a member lacks in the end, over all runs; `client_errors` attempts of all writers that were not acknowledged. Beside them:
`two_primaries`, rows that a former primary acknowledged after its successor had, or that two servers acknowledged by turns on one
timeline; `stale_reads`; and `service`, what clients wrote through.

It is written anew after each run, and never in part: a reader finds the old one or the new one.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

from tests.chaos.rehearsal import OVER_SECONDS, Outcome

SYSTEMS = ("ours", "stock_patroni", "stock_patroni_tight")
MACHINE = "machine"
Results = dict[str, Any]
Entry = dict[str, Any]


def read(path: Path) -> Results:
    """What is there; empty when nothing is. Raises ValueError when it is not such a file."""
    found = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(found, dict) or not set(found) <= {*SYSTEMS, MACHINE}:
        raise ValueError(f"{path} is no file of results: move it away, or name another with --output.")
    return found


def write(path: Path, results: Results) -> None:
    """Replace the file as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    with staged.open("w") as file:
        file.write(json.dumps(results, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def entry(results: Results, system: str, fault: str) -> Entry:
    """What is known of a fault on a system; what is not there yet is made."""
    empty: Entry = {"gaps_seconds": [], "after_seconds": [], "lost": 0, "client_errors": 0, "two_primaries": 0, "stale_reads": 0}
    made: Entry = results.setdefault(system, {}).setdefault(fault, empty)
    return made


def add(results: Results, system: str, outcome: Outcome, *, service: str) -> None:
    """Add a run."""
    known = entry(results, system, outcome.fault)
    known["gaps_seconds"].append(None if outcome.over else round(outcome.gap.seconds, 3))
    known["after_seconds"].append(round(outcome.gap_after.seconds, 3))
    known["lost"] += len(outcome.lost_ids)
    known["client_errors"] += outcome.client_errors
    known["two_primaries"] += len(outcome.former) + len(outcome.at_once)
    known["stale_reads"] += outcome.stale
    known["service"] = service
    if outcome.over:
        known["over"] = int(OVER_SECONDS)


def forget(results: Results, system: str, fault: str) -> None:
    """Begin anew with a fault."""
    results.get(system, {}).pop(fault, None)


def runs(results: Results, system: str, fault: str) -> int:
    """How many runs there are."""
    return len(results.get(system, {}).get(fault, {}).get("gaps_seconds", []))


def gaps(results: Results, system: str, fault: str) -> list[float]:
    """Gaps in seconds, infinite where writes did not go on in time."""
    found = results.get(system, {}).get(fault, {}).get("gaps_seconds", [])
    return [float("inf") if gap is None else float(gap) for gap in found]


def median(found: list[float]) -> float:
    """The median, which is infinite where half of the runs or more are: the lower middle one of an even number where the upper is."""
    middle = statistics.median_low(found), statistics.median_high(found)
    return middle[0] if middle[1] == float("inf") else sum(middle) / 2
