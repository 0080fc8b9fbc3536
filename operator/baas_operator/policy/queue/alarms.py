"""What somebody should look at although the queue serves: conditions that are there only while they are true."""

from __future__ import annotations

from collections.abc import Sequence

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.dead_letters import dead_letter_stream, dead_letters_of
from baas_operator.desired.queue.streams import Kept
from baas_operator.observe.conditions import COPY_STALLED, DEAD_LETTERS_EXPIRING, Condition, find
from baas_operator.observe.queue import QueueObservation
from baas_operator.observe.text import counted
from baas_operator.observe.view import View
from baas_operator.policy.dead_letters import expiring
from baas_operator.policy.plan import Finding

_HEARD_SECONDS = 30.0
"""A mirror asks anew after 10 s of silence, and its origin's servers may be electing meanwhile: 20 s were measured (2.15.2)."""


def alarms(spec: EventQueueSpec, view: View, seen: QueueObservation, stalled: Finding | None) -> list[Condition]:
    """Those that there are. `stalled`: what is copied from elsewhere, and is not heard of."""
    copies = [Condition(COPY_STALLED, True, stalled.reason, stalled.message)] if stalled else []
    return [*_letters(spec, view, seen), *copies]


def copy_stalled(seen: QueueObservation, wanted: Sequence[Kept]) -> Finding | None:
    """A mirror or source that is not heard of. Its lag says nothing then: it is from when it last was."""
    for each in wanted:
        state = seen.jetstream.streams.get(each.name) if seen.jetstream else None
        for copy in state.copies if state else ():
            if copy.error:
                return Finding("CopyStalled", f"{each.title} does not copy from {copy.name}: {copy.error}.")
            if copy.active_seconds is None or copy.active_seconds > _HEARD_SECONDS:
                since = "yet" if copy.active_seconds is None else f"for {copy.active_seconds:.0f} s"
                return Finding(
                    "CopyStalled",
                    f"{each.title} has heard nothing of {copy.name}, which it copies from, {since}: see whether that stream and its "
                    "servers are there, and whether the credentials let it read.",
                )
    return None


def _letters(spec: EventQueueSpec, view: View, seen: QueueObservation) -> list[Condition]:
    """Dead letters that somebody should look at. While JetStream tells nothing, what it told last stays."""
    if seen.jetstream is None or seen.jetstream.meta_leader is None or seen.jetstream.silent:
        before = find(view.resource, DEAD_LETTERS_EXPIRING)
        return [Condition(DEAD_LETTERS_EXPIRING, True, before["reason"], before["message"])] if before else []
    told = []
    for name, kept in dead_letters_of(spec).items():
        letters = seen.jetstream.streams.get(dead_letter_stream(name))
        if letters is not None:
            told.append(expiring(name, letters.messages or 0, letters.oldest, kept, view.now))
    found = [each for each in told if each]
    if not found:
        return []
    more = f" And those of {counted(len(found) - 1, 'other stream')}." if len(found) > 1 else ""
    return [Condition(DEAD_LETTERS_EXPIRING, True, found[0].reason, f"{found[0].message}{more}")]
