"""What an EventQueue promises, fault by fault: the table of the issue "3 · EventQueue".

Nothing acknowledged is lost under `strict`, whatever the fault, and under `balanced` no more than its stated window; nothing that came
again within its duplicate window is in the stream twice; every server has the same: that stands in no table. Seconds are the worst gap of
any run, also after the fault is taken back, of one publisher that sends a message again where no acknowledgement came within half a second.
"""

from __future__ import annotations

PLANNED_SECONDS = 1.0
ELECTION_SECONDS = 10.0
"""A follower waits 4 to 9 s for a leader that is silent before it asks to be elected (nats-server, raft.go)."""
SILENT_SECONDS = ELECTION_SECONDS + 6.0
"""Where a server says nothing any more rather than that it is gone, a client learns of it from its own deadlines alone: 2 s in which
nothing is answered, and 2 s more each time that the Service leads it to the same server again, which of three it may do twice. One that
is cut off from the others, or does not hear them, confirms nothing until its agent has seen it and sends clients away, within 10 s, which
may come back to it. (Seen where it does not hear them: the others had elected after 8 s, and its clients were sent away after 10.)"""
UNTOUCHED_SECONDS = 1.0

SECONDS: dict[str, float | None] = {
    "stepdown": PLANNED_SECONDS,
    "pod-delete": PLANNED_SECONDS,
    "nats-kill": ELECTION_SECONDS,
    "nats-hang": SILENT_SECONDS,
    "volume-lost": ELECTION_SECONDS,
    "container-kill": ELECTION_SECONDS,
    "power-off": ELECTION_SECONDS,
    "freeze": SILENT_SECONDS,
    "unplug": SILENT_SECONDS,
    "partition-followers": SILENT_SECONDS,
    "partition-to-followers": ELECTION_SECONDS,
    "partition-of-followers": SILENT_SECONDS,
    "partition-api": UNTOUCHED_SECONDS,
    "api-server": UNTOUCHED_SECONDS,
    "drain": PLANNED_SECONDS,
    "roll": PLANNED_SECONDS,
    "restart-in-turn": ELECTION_SECONDS,  # each is a node powered off
    "restart-all": None,
    "power-cut": None,
}
"""None where publishing may stay away until the servers are back."""


def broken(fault: str, worst_seconds: float, *, over: bool) -> str:
    """What is not as promised about the gap of a run; empty where it is."""
    bound = SECONDS[fault]
    if over or (bound is not None and worst_seconds > bound):
        return f"Promised are {bound} s without publishing at most."
    return ""
