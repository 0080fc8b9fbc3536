"""The file of results: `bench/results/queue.json`.

    {"ours": {FAULT: {"gaps_seconds": [1.2, …], "lost": 0, "client_errors": 3, …}, …},
     "ours_balanced": {"power-cut": {…}}, "plain_nats": {…}, "machine": {…}}

`gaps_seconds` has one entry a run: seconds of the longest time between two acknowledgements of one publisher, from the fault until it was
taken back; `after_seconds` the same from then until the queue was whole again. A run in which publishing did not go on within 180 s is
`null`, and the fault then has `"over": 180`. `lost` counts acknowledged messages that a server lacks in the end, over all runs, and
`client_errors` attempts that were not acknowledged. Beside them, over all runs:

`acknowledged`; `again`, acknowledgements of what was kept already; `duplicates`, messages that the stream has twice although it should
have known their id, and `late_duplicates`, those that came later than that; `redelivered`, deliveries to readers beyond the first of each
message; `undelivered`, messages that are kept and no reader got; `disordered`; `unlike`, places that not all servers have the same message
in; `streams_made_anew`; `copies_stuck`, servers that could not be made the leader, so that their copy was not read. And by run:
`lost_seconds`, how far back from the fault what was lost had been acknowledged, and `rate_per_second` before it. `loss_window_seconds` is
what the queue says that it may lose, `null` where nothing is promised. `made_again`, where there is any, says of each run that did not come
to its end why, as where the queue did not become whole again; such a run counts for nothing else.
"""

from __future__ import annotations

from pathlib import Path

from bench import records
from bench.records import Results
from tests.chaos.queue.outcome import QueueOutcome

SYSTEMS = ("ours", "ours_balanced", "plain_nats")


def read(path: Path) -> Results:
    """What is there; empty when nothing is. Raises ValueError when it is not such a file."""
    return records.read(path, SYSTEMS)


def add(results: Results, system: str, outcome: QueueOutcome, service: str) -> None:
    """Add a run."""
    counted = {
        "acknowledged": outcome.acked, "again": outcome.again, "duplicates": len(outcome.duplicate_ids),
        "late_duplicates": outcome.late_duplicates, "redelivered": outcome.redelivered, "undelivered": outcome.undelivered,
        "disordered": len({each for ids in outcome.disordered.values() for each in ids}), "unlike": outcome.unlike,
        "streams_made_anew": outcome.made, "copies_stuck": len(outcome.stuck),
    }  # fmt: skip
    known = records.add(results, system, outcome, counted, service=service)
    known.setdefault("lost_seconds", []).append(round(outcome.lost_seconds, 3))
    known.setdefault("rate_per_second", []).append(round(outcome.rate))
    known["loss_window_seconds"] = outcome.loss_window_seconds
