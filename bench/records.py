"""Files of results, of whichever bench: what each system took, fault by fault, run by run.

    {SYSTEM: {FAULT: {"gaps_seconds": [1.2, …], …}, …}, …, "machine": {…}}

A file is written anew after each run, and never in part: a reader finds the old one or the new one.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chaos.outcome import OVER_SECONDS, Outcome

MACHINE = "machine"
Results = dict[str, Any]
Entry = dict[str, Any]


def read(path: Path, systems: Iterable[str]) -> Results:
    """What is there; empty when nothing is. Raises ValueError when it is no file of these systems."""
    found = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(found, dict) or not set(found) <= {*systems, MACHINE}:
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


def add(results: Results, system: str, outcome: Outcome, counted: dict[str, int], *, service: str) -> Entry:
    """Add a run: its gaps, what was lost, what clients saw, and what else is `counted`; what is known of the fault by now."""
    empty: Entry = {"gaps_seconds": [], "after_seconds": [], "lost": 0, "client_errors": 0, **dict.fromkeys(counted, 0)}
    known: Entry = results.setdefault(system, {}).setdefault(outcome.fault, {})
    for name, nothing in empty.items():
        known.setdefault(name, nothing)
    known["gaps_seconds"].append(None if outcome.over else round(outcome.gap.seconds, 3))
    known["after_seconds"].append(round(outcome.gap_after.seconds, 3))
    known["lost"] += len(outcome.lost_ids)
    known["client_errors"] += outcome.client_errors
    for name, count in counted.items():
        known[name] += count
    known["service"] = service
    if outcome.over:
        known["over"] = int(OVER_SECONDS)
    return known


def add_again(results: Results, system: str, fault: str, why: str) -> None:
    """Add a run that did not come to its end, and is made again: as where a system did not come back from the fault. It counts for nothing,
    and is not hidden."""
    results.setdefault(system, {}).setdefault(fault, {}).setdefault("made_again", []).append(why)


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
