"""What a DatabaseReplica promises, fault by fault: the table of the issue "failover in seconds, nothing acknowledged ever lost".

Nothing acknowledged is lost, and no two primaries acknowledge, whatever the fault: that stands in no table. Seconds are the worst write
gap of any run, of one writer that gives a connection and a statement 2 s each, also after the fault is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

NETWORK_SECONDS = 10.0


@dataclass(frozen=True)
class Bound:
    """`service`: what clients write through. `seconds`: None where writes may stay away until the members are back. `errors`: most client
    errors, None for any. `stale_seconds`: for how long reads may lack what was acknowledged: a primary that clients reach, and that is
    cut from its standbys or the API server, answers reads of open sessions until it knows."""

    service: str
    seconds: float | None
    errors: int | None = None
    stale_seconds: float = 0.0


_NETWORK = Bound("rw", NETWORK_SECONDS, stale_seconds=NETWORK_SECONDS)

BOUNDS: dict[str, Bound] = {
    "switchover": Bound("pooler", 1.5, errors=0),
    "pod-delete": Bound("rw", 2.0),
    "postgres-kill": Bound("rw", 4.0),
    "patroni-kill": Bound("rw", 4.0),
    # The lock runs out after 20 s in which all goes on; then another is promoted. The old one is stopped by its agent 5 s later.
    "patroni-hang": Bound("rw", 6.0, stale_seconds=NETWORK_SECONDS),
    "container-kill": Bound("rw", 4.0),
    "power-off": Bound("rw", 6.0),
    "freeze": Bound("pooler", 7.0),
    "unplug": Bound("rw", NETWORK_SECONDS),
    "partition-standbys": _NETWORK,
    "partition-to-standbys": _NETWORK,
    "partition-of-standbys": _NETWORK,
    "partition-api": _NETWORK,
    "api-server": Bound("rw", 1.0),
    "drain": Bound("rw", 2.0),
    "roll": Bound("rw", 2.0),
    "restart-in-turn": Bound("rw", 6.0),  # each is a node powered off
    "restart-all": Bound("rw", None),
    "power-cut": Bound("rw", None),
}
