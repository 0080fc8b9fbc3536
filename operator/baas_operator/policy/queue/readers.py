"""What a queue's status tells of streams, and of who reads them.

Rights of workers, and their order, follow from it (programs.py), as manifests may not follow from what JetStream answers at the moment. So
a worker's consumer is told of for as long as JetStream has it, whatever is declared by now, and is not forgotten while JetStream is silent.
"""

from __future__ import annotations

from collections.abc import Iterator

from baas_operator.api.instance.programs import Worker
from baas_operator.api.queue import ConsumerStatus, EventQueueSpec, StreamStatus
from baas_operator.observe.queue import QueueObservation
from baas_operator.observe.view import View
from baas_operator.policy.queue.programs import programs_of


def streams_told(view: View, spec: EventQueueSpec, seen: QueueObservation) -> list[StreamStatus]:
    """The declared streams, and others that a worker of a backend has its consumer in. `spec`: with what programs need."""
    workers = {each.own_consumer for each in programs_of(view) if isinstance(each.program, Worker)}
    wanted = {each.name: [one.name for one in each.consumers] for each in spec.streams}
    for name, found in (seen.jetstream.streams if seen.jetstream else {}).items():
        if name in wanted or workers & set(found.consumers):
            wanted[name] = sorted({*wanted.get(name, []), *(workers & set(found.consumers))})
    told = [state for name, consumers in wanted.items() if (state := seen.stream_status(name, consumers))]
    return [*told, *(_as_before(view, seen) if workers else ())]


def _as_before(view: View, seen: QueueObservation) -> Iterator[StreamStatus]:
    """Streams of which JetStream tells nothing now, with the consumers that they had: of copies, none is known to be up to date."""
    state = seen.jetstream
    for each in (view.resource.get("status") or {}).get("streams") or []:
        unknown = state is None or state.meta_leader is None or each["name"] in state.silent
        if unknown and each.get("consumers") and not (state and each["name"] in state.streams):
            readers = [ConsumerStatus(name=one["name"]) for one in each["consumers"]]
            yield StreamStatus(name=each["name"], replicas=each["replicas"], current=0, zones=0, consumers=readers)
