"""How many servers a queue has now, on the way to as many as it should have.

More come at once; their streams get more copies later, one after another, once all servers are ready (streams.py). Fewer go one at a time,
the highest number first: those that stay get copies enough of what it has (copies.py), then they lead all of it, then the pod goes, streams
let go of it, and last JetStream strikes it off. One change at a time, and each waits until all is level: a change of members beside a crash
and a partition is what lost acknowledged messages in Jepsen's tests of 2.12.1. Only the one after the pod is gone waits for no more than a
leader: a group that lacks a member has fewer to spare.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from baas_operator.api.kinds import STATEFUL_SET
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.room import room
from baas_operator.observe.queue import JetStreamState, QueueObservation
from baas_operator.observe.text import counted
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding, QueueEffect, RemoveServer, Scale, StepDown
from baas_operator.policy.queue.copies import as_before, copies_of, declared, heir, in_the_end, let_go, step
from baas_operator.policy.queue.settled import behind, unsettled
from baas_operator.policy.queue.volumes import volume_bytes


@dataclass(frozen=True)
class Size:
    """`servers`: how many there are to be before `effects`, of which one may change that; `told`: why that is not what was asked for;
    `copies`: stream -> copies that it has for now, whatever is declared."""

    servers: int
    effects: tuple[QueueEffect | Scale, ...] = ()
    told: Finding | None = None
    copies: Mapping[str, int] = field(default_factory=dict)


def size(
    spec: EventQueueSpec, view: View, workload: Manifest | None, pods: Sequence[Manifest], seen: QueueObservation, *, zoned: bool
) -> Size:
    """The next step. `spec.replicas` is what was asked for; `zoned`: whether no zone has two copies of a stream."""
    have = ((workload or {}).get("spec") or {}).get("replicas")
    if not isinstance(have, int) or spec.replicas > have:
        return Size(spec.replicas)
    state = seen.jetstream or JetStreamState()
    ours = declared(spec, view)
    wanted = in_the_end(ours, state)
    now = {name: copies_of(each) for name, each in state.streams.items()}
    if gone := _gone(view.owner.name, have, pods, seen):
        return replace(_without(gone, have, seen, ours, wanted), copies=now)
    if spec.replicas == have:
        return _restored(view, pods, seen, have, ours)
    goes = f"{view.owner.name}-{have - 1}"
    what = f"{have} servers become {spec.replicas}, one at a time."
    if wait := _hindrance(spec, view, pods, seen, goes, wanted):
        return Size(have, told=Finding("ScalingIn", f"{what} It goes on once {wait}."), copies=now)
    effect, does = step(seen, goes, ours, wanted, zoned=zoned)
    if not does:
        effect, does = _led(state, goes, [each.name for each in seen.ready if each.name != goes])
    if does:
        return Size(have, (effect,) if effect else (), Finding("ScalingIn", f"{what} {does}"), now)
    told = Finding("ScalingIn", f"{what} The others have all that {goes} has, and it goes now.")
    assert workload is not None  # or it would have no number of servers
    scale = Scale(STATEFUL_SET.name, workload["metadata"]["name"], have - 1, workload["metadata"]["resourceVersion"])
    return Size(have, (scale,), told, now)


def _restored(view: View, pods: Sequence[Manifest], seen: QueueObservation, have: int, ours: Collection[str]) -> Size:
    """Streams that nobody declares have as many copies again as they had before servers went."""
    found = as_before(seen.jetstream, ours) if seen.jetstream else None
    if found is None or unsettled(view, pods, seen, servers=have):
        return Size(have)
    stream, effect = found
    return Size(have, (effect,), Finding("CopiesChanging", f"Stream {stream} has as many copies again as before servers went."))


def _gone(queue: str, have: int, pods: Sequence[Manifest], seen: QueueObservation) -> list[str]:
    """Servers that were taken away and still count as some of those that know which streams there are, the highest number first."""
    there = {str(each["metadata"]["name"]) for each in pods}
    meta = seen.jetstream.meta if seen.jetstream else None
    found = []
    for each in meta.replicas if meta else ():
        prefix, _, number = each.server.rpartition("-")
        if prefix == queue and number.isdigit() and int(number) >= have and each.server not in there:
            found.append(each.server)
    return sorted(found, key=_number, reverse=True)


def _without(gone: Sequence[str], have: int, seen: QueueObservation, ours: Collection[str], wanted: Mapping[str, int]) -> Size:
    """Streams that have enough without it let go of it, and then it is struck off; unless it may have what no other has: somebody else took
    it away, or the queue was larger when it was deleted. JetStream would give such a copy up, and fill new ones from what is left."""
    effects, wait = let_go(seen.jetstream, gone, ours, wanted) if seen.jetstream else ((), "")
    if effects:
        return Size(have, effects, Finding("ScalingIn", f"{gone[0]} is gone, and {counted(len(effects), 'stream')} let go of it."))
    if wait := wait or behind(seen, without=gone):
        told = (
            f"{gone[0]} is gone, and is struck off once {wait}. If that needs what it has, make spec.replicas larger: it comes back then."
        )
        return Size(have, told=Finding("ScalingIn", told))
    return Size(have, (RemoveServer(gone[0]),), Finding("ScalingIn", f"{gone[0]} is gone, and is struck off."))


def _hindrance(
    spec: EventQueueSpec, view: View, pods: Sequence[Manifest], seen: QueueObservation, goes: str, wanted: Mapping[str, int]
) -> str:
    highest = _number(goes)
    if going := [str(each["metadata"]["name"]) for each in pods if _number(str(each["metadata"]["name"])) > highest]:
        return f"{going[-1]} is gone"
    if wait := unsettled(view, pods, seen, servers=highest + 1, without=(goes,)):
        return wait
    if large := [name for name, copies in wanted.items() if copies > spec.replicas]:
        return f"stream {min(large)} has no more copies than servers that stay"
    if room(spec, seen.held(), volume_bytes(spec, view)).too_small:
        return "the sizes of all streams fit each server's volume: make spec.storage.size larger, or the sizes smaller"
    return ""


def _number(server: str) -> int:
    return int(server.rpartition("-")[2])


def _led(state: JetStreamState, goes: str, staying: Sequence[str]) -> tuple[QueueEffect | None, str]:
    """JetStream itself is led by one that stays."""
    if state.meta_leader != goes:
        return None, ""
    to = heir(state.meta.replicas if state.meta else (), staying)
    return (StepDown(to), f"{to} leads JetStream next, in place of {goes}.") if to else (None, "JetStream is led by one that stays.")
