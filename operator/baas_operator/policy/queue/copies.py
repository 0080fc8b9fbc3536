"""More copies while a server goes, so that no stream is ever a copy short.

JetStream's `STREAM.MOVE` takes the old copy away before the new one has anything (2.14.10, jetstream_cluster.go: `runStreamMigration` looks
at consumers alone). `STREAM.UPDATE` to more copies takes nothing away. So what the server that goes has a copy of gets as many copies as
there are servers; once they are level, the server goes; and once it is gone the number goes down by one, where JetStream gives the copy of
a server that is offline up first (`selectScaleDownPeers`).

Where JetStream is to give each zone one copy (`unique_tag`), it finds no server for one more in a zone that has one (`selectPeerGroup`:
"no suitable peers"): a stream with a copy in each of three zones can not have four. That one is moved, and is a copy short meanwhile. So is
what a server that is not ready has a copy of: with one more, a majority would need a copy that is not filled yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.streams import COPIES_MARK, all_kept
from baas_operator.observe.queue import JetStreamState, QueueObservation, Replica, StreamState
from baas_operator.observe.view import View
from baas_operator.policy.plan import EnsureConsumer, EnsureStream, Evacuate, QueueEffect, StepDown

_LEAST = 3
"""With fewer copies than these none can be missing."""
_UNMARKED = {COPIES_MARK: ""}


def copies_of(stream: StreamState) -> int:
    """Copies that a stream should have by its own configuration."""
    return int(stream.config.get("num_replicas", 1))


def declared(spec: EventQueueSpec, view: View) -> dict[str, int]:
    """Stream -> copies, of those that the spec asks for."""
    owner = view.owner
    kept = [*all_kept(spec, queue=owner.name, namespace=owner.namespace, shares={}), *letters_kept(spec, queue=owner.name, shares={})]
    return {each.name: int(each.config["num_replicas"]) for each in kept}


def in_the_end(ours: Mapping[str, int], state: JetStreamState) -> dict[str, int]:
    """Stream -> copies that it should have once servers have gone. Of one that nobody declares: what it had before it got more."""
    return {name: ours.get(name) or _before(each) or copies_of(each) for name, each in state.streams.items()}


def _mark(stream: StreamState) -> str:
    return str((stream.config.get("metadata") or {}).get(COPIES_MARK, ""))


def _before(stream: StreamState) -> int | None:
    mark = _mark(stream)
    return int(mark) if mark.isascii() and mark.isdigit() and 0 < int(mark) < copies_of(stream) else None


def as_before(state: JetStreamState, ours: Collection[str]) -> tuple[str, EnsureStream] | None:
    """A stream of somebody else's that still has a mark of how many copies it had: that many again, and no mark."""
    for name, stream in sorted(state.streams.items()):
        if name not in ours and _mark(stream):
            copies = _before(stream) or copies_of(stream)
            return name, EnsureStream({"name": name, "num_replicas": copies, "metadata": _UNMARKED}, exists=True)
    return None


def step(
    seen: QueueObservation, goes: str, ours: Collection[str], wanted: Mapping[str, int], *, zoned: bool
) -> tuple[QueueEffect | None, str]:
    """What comes next before a server goes; nothing to say once it may. All is level, but what the server that goes has itself. `ours`:
    streams that are declared; `wanted`: stream -> copies in the end; `zoned`: whether no zone has two copies of a stream."""
    state = seen.jetstream
    assert state is not None
    staying = [each.name for each in seen.ready if each.name != goes]
    for name, stream in sorted(state.streams.items()):
        effect, does = _enough(seen, name, stream, goes, wanted[name], staying, zoned)
        if isinstance(effect, EnsureStream) and name not in ours:
            effect = replace(effect, config={**effect.config, "metadata": {COPIES_MARK: str(wanted[name])}})
        if does:
            return effect, does
    for what, stream_name, consumer, group in state.groups():
        if group.leader != goes:
            continue
        to = heir(group.replicas, staying)
        if to is None:
            return None, f"Nobody who stays can lead {what} yet, in place of {goes}."
        return StepDown(to, stream_name, consumer), f"{to} leads {what} next, in place of {goes}."
    return None, ""


def heir(replicas: Sequence[Replica], staying: Collection[str]) -> str | None:
    """Who leads next: one that stays and has all."""
    return next((each.server for each in replicas if each.level and each.server in staying), None)


def _enough(
    seen: QueueObservation, name: str, stream: StreamState, goes: str, wanted: int, staying: Sequence[str], zoned: bool
) -> tuple[QueueEffect | None, str]:
    """See to it that those that stay have copies enough of a stream and of its consumers."""
    members = stream.group.servers()
    if goes in members and (len(members) - 1 < wanted or len(members) < _LEAST):
        free = _free(seen, stream, staying, zoned) if any(each.name == goes for each in seen.ready) else 0
        more = len(members) + free
        to = heir(stream.replicas, staying) if stream.leader == goes else None
        if free and more >= _LEAST and more > wanted:
            if to:  # first, as who leads next is then one that knows of all copies: a new one may not (forgotten.py)
                return StepDown(to, name), f"{to} leads stream {name} next, in place of {goes}."
            does = f"Stream {name} has a copy on {goes}, and gets {more} copies in place of {copies_of(stream)} until that is gone."
            return EnsureStream({"name": name, "num_replicas": more}, exists=True), does
        if to:
            return StepDown(to, name), f"{to} leads stream {name} next, in place of {goes}."
        does = f"The copy of stream {name} moves away from {goes}. It has one less until the new one is filled, as none can be made first."
        return Evacuate(name, goes), does
    for consumer, state in sorted(stream.consumers.items()):
        if goes not in state.servers():
            continue
        if goes not in members:
            return None, f"The copy of consumer {consumer} of stream {name} moves away from {goes}."  # with its stream's, which has begun
        if len(state.servers()) < len(members):
            # Otherwise JetStream makes it anew elsewhere, at what its leader says, which may be gone by then.
            does = f"Consumer {consumer} of stream {name} gets as many copies as its stream."
            return EnsureConsumer(name, {"name": consumer, "num_replicas": 0}, exists=True), does
    return None, ""


def _free(seen: QueueObservation, stream: StreamState, staying: Sequence[str], zoned: bool) -> int:
    """So many more copies JetStream finds servers for. What an application asks of their places, it alone knows whether they have."""
    if stream.config.get("placement") or stream.config.get("sealed"):
        return 0
    free = [each for each in staying if each not in stream.group.servers()]
    if not zoned:
        return len(free)
    taken = {seen.zone_of(each) for each in stream.group.servers()}
    return len({seen.zone_of(each) for each in free} - taken - {None})


def let_go(
    state: JetStreamState, gone: Sequence[str], ours: Collection[str], wanted: Mapping[str, int]
) -> tuple[tuple[QueueEffect, ...], str]:
    """Streams that have copies enough without those that are gone: these are taken off, all at once, as each stream needs more of those
    that stay until then. And what is waited for, as "stream orders has a leader"; empty if nothing."""
    effects: list[QueueEffect] = []
    wait = ""
    online = {each.server for each in (state.meta.replicas if state.meta else ()) if not each.offline}
    for name, stream in sorted(state.streams.items()):
        members = stream.group.servers()
        lost = [each for each in members if each in gone]
        stay = len(members) - len(lost)
        if not lost or stay < wanted[name]:
            continue  # it has too few: to strike the server off has JetStream fill another
        late = [each.server for each in stream.replicas if not each.level and each.server not in gone]
        if stream.leader is None or stream.leader in gone:
            wait = wait or f"stream {name} has a leader"
        elif online & set(lost):  # by JetStream's leader, which would give up another's copy
            wait = wait or f"the leader of JetStream knows that {min(online & set(lost))} is gone"
        elif len(lost) > 1 and late:  # what was acknowledged by two that are gone may be on one other alone
            wait = wait or f"stream {name} is level on {late[0]}"
        else:
            mark = {} if name in ours or stay > wanted[name] or not _mark(stream) else {"metadata": _UNMARKED}
            effects.append(EnsureStream({"name": name, "num_replicas": stay, **mark}, exists=True))
    return tuple(effects), wait
