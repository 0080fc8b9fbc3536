"""The file of results: `bench/results/failover.json`.

    {"ours": {FAULT: {"gaps_seconds": [1.2, …], "lost": 0, "client_errors": 3, …}, …},
     "stock_patroni": {…}, "stock_patroni_tight": {…}, "machine": {…}}

`gaps_seconds` has one entry a run: seconds of the longest time between two acknowledgements of one writer, from the fault until it was
taken back; `after_seconds` the same from then until the system was whole again. A run in which writes did not go on within 180 s is
`null`, and the fault then has `"over": 180`: the gap is longer than that, nobody knows by how much. `lost` counts acknowledged rows that
a member lacks in the end, over all runs; `client_errors` attempts of all writers that were not acknowledged. Beside them:
`two_primaries`, rows that a former primary acknowledged after its successor had, or that two servers acknowledged by turns on one
timeline; `stale_reads`; `service`, what clients wrote through; and `made_again`, where there is any: of each run that did not come to its
end why. It counts for nothing else.
"""

from __future__ import annotations

from pathlib import Path

from bench import records
from bench.records import MACHINE, Results, forget, gaps, median, runs, write
from tests.chaos.database.outcome import DatabaseOutcome

__all__ = ["MACHINE", "SYSTEMS", "Results", "add", "forget", "gaps", "median", "read", "runs", "write"]

SYSTEMS = ("ours", "stock_patroni", "stock_patroni_tight")


def read(path: Path) -> Results:
    """What is there; empty when nothing is. Raises ValueError when it is not such a file."""
    return records.read(path, SYSTEMS)


def add(results: Results, system: str, outcome: DatabaseOutcome, *, service: str) -> None:
    """Add a run."""
    counted = {"two_primaries": len(outcome.former) + len(outcome.at_once), "stale_reads": outcome.stale}
    records.add(results, system, outcome, counted, service=service)
