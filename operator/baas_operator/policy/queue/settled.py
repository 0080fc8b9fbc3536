"""Whether a queue is at rest: every server ready, and every copy of everything as good as its leader's. Until it is, nothing is moved.

The Raft groups of a queue are the metadata, each stream and each consumer. JetStream takes a change of members, or the loss of a server,
while a copy lags, and acknowledged messages are then in fewer places than was promised. That all is level at one look may be chance, so
servers must also have been ready for a while: their agents make them ready after several looks in a row at which they were level.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, find
from baas_operator.observe.moments import read_time
from baas_operator.observe.queue import QueueObservation
from baas_operator.observe.view import View, is_ready

READY_SECONDS = 10.0
"""The agents look every second or two; a leader that was elected wrongly, or a server that comes and goes, shows within these."""


def unsettled(view: View, pods: Sequence[Manifest], seen: QueueObservation, *, servers: int, without: Collection[str] = ()) -> str:
    """Why nothing may be moved now, as what is waited for ("mq-1 is ready"); empty if all is at rest. `servers`: so many there should be;
    `without`: servers that do not count, as they are the ones to go."""
    if len(pods) != servers:
        return f"there are {servers} servers"
    for pod in pods:
        name = str(pod["metadata"]["name"])
        if name not in without and (why := _unready(view, pod)):
            return f"{name} {why}"
    return behind(seen, without=without)


def _unready(view: View, pod: Manifest) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "is gone and back"
    if not is_ready(pod):
        return "is ready"
    since = read_time((find(pod, READY) or {}).get("lastTransitionTime"))
    if since is not None and (view.now - since).total_seconds() < READY_SECONDS:
        return f"has been ready for {READY_SECONDS:.0f} s"
    return ""


def behind(seen: QueueObservation, *, without: Collection[str] = ()) -> str:
    """What is not level; empty if all is."""
    state = seen.jetstream
    if state is None or state.meta_leader is None:
        return "JetStream has a leader"
    if state.meta is not None and (late := [each.server for each in state.meta.replicas if not each.level and each.server not in without]):
        return f"{late[0]} knows of all streams"
    if state.meta is None and len(seen.servers) > 1:
        return "the leader of JetStream tells how far the other servers are"
    if state.silent:
        return f"stream {min(state.silent)} has a leader"
    for what, stream, consumer, group in state.groups():
        if group.leader is None:
            return f"{what} has a leader"
        copies = int(state.streams[stream].config.get("num_replicas", 1))
        if consumer is not None:
            copies = int(state.streams[stream].consumers[consumer].config.get("num_replicas") or copies)
        if group.moving or len(group.servers()) > copies:  # NATS 2.14 moves a copy by having one more meanwhile, and says nothing of it
            return f"{what} has moved"
        if late := [each.server for each in group.replicas if not each.level and each.server not in without]:
            return f"{what} is level on {late[0]}"
        if len(group.servers()) < min(copies, len(seen.servers)):
            return f"{what} has all of its {copies} copies"
    return ""
