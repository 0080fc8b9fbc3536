"""Copies that a stream has and that its leader does not know of.

A stream that gets more copies is told so by JetStream's metadata, and the log of its own group does not have it (nats-server 2.14.10,
`processClusterUpdateStream`: `setStreamAssignment` makes every member's list of peers the new one before `createRaftGroup` looks whether it
has to propose it). A new copy reads the log, and takes the old list from it. Once it leads, its list counts: the others are not filled any
more, and nobody puts it right. Agents keep that from happening (queue_agent/sealing.py); where it has, the same update once more has the
leader propose the whole list. NATS 2.15 has the group itself agree on its members (nats-server pull request 8432).
"""

from __future__ import annotations

from baas_operator.observe.queue import QueueObservation
from baas_operator.policy.plan import EnsureStream
from baas_operator.policy.queue.copies import copies_of

_LED_SECONDS = 5.0
"""A leader that is younger may not have heard of the last change yet."""


def forgotten(seen: QueueObservation) -> list[EnsureStream]:
    """Streams with fewer copies than they should have, although every server is ready and all that is there is level: asked for anew."""
    state = seen.jetstream
    if state is None or state.meta_leader is None or len(seen.ready) < len(seen.servers):
        return []
    return [
        EnsureStream({"name": name, "num_replicas": copies_of(stream)}, exists=True)
        for name, stream in sorted(state.streams.items())
        if name not in state.silent and not stream.moving and stream.leader is not None
        if stream.led_seconds is not None and stream.led_seconds >= _LED_SECONDS
        if len(stream.group.servers()) < min(copies_of(stream), len(seen.ready)) and stream.group.behind() is None
    ]
