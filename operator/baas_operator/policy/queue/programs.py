"""What the workers and jobs of backends need of the queue that they use: a consumer and a user each, beside those that it declares.

They are not written into the EventQueue's spec, which is its owner's (and a GitOps tool's, which would take them out again): the queue is
kept as if its spec had them. What a worker asks for that can not be is left out: JetStream would refuse it, and the queue would say so on
the worker's behalf for ever, or take it, and the worker would wait for ever. The backend says it instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from baas_operator.api.instance.programs import Program, ScheduledJob, Worker
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import Consumer, QueueUser, Retention, Stream
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.desired.queue.streams import overlaps
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding

BACKLOG_SECONDS = 5.0
"""How often JetStream is asked while workers scale with what waits: the first message waits so long before a worker is started for it, at
the most. Asking takes milliseconds."""
_ACK_WAIT_SECONDS = 30


def programs_of(view: View) -> list[QueueProgram]:
    """All that have to do with this queue, the same in whatever order they were made."""
    found = []
    for (kind, name), instance in sorted(view.others.items()):
        if kind == BAAS_INSTANCE.name and uses(instance, view.resource):
            found += [QueueProgram(name, each) for each in _programs(instance.get("spec") or {})]
    return found


def uses(instance: Manifest, queue: Manifest) -> bool:
    """Whether a backend uses this queue, and may: one that was made for a backend is that one's alone."""
    name, metadata = instance["metadata"]["name"], queue["metadata"]
    made_for = [each["name"] for each in metadata.get("ownerReferences") or [] if each["kind"] == BAAS_INSTANCE.name]
    ref = (instance.get("spec") or {}).get("queueRef")
    if ref is None:
        return bool(metadata["name"] == f"{name}-events" and name in made_for)
    return bool(ref.get("name") == metadata["name"] and not made_for)


def _programs(spec: Mapping[str, Any]) -> list[Program]:
    """What can be read of them, whatever else is in that spec: a user that is taken out of the servers' configuration is turned away."""
    found: list[Program] = []
    models: tuple[tuple[str, type[Program]], ...] = (("workers", Worker), ("jobs", ScheduledJob))
    for field, model in models:
        for each in spec.get(field) or []:
            try:
                found.append(model.stored(each))
            except ValidationError:  # it is told where that object is seen to
                continue
    return found


def scaled_by_backlog(view: View) -> bool:
    """Whether somebody waits for what is told of consumers."""
    return any(
        each.get("autoscaling") is not None
        for (kind, _), instance in view.others.items()
        if kind == BAAS_INSTANCE.name and uses(instance, view.resource) and not (instance.get("spec") or {}).get("hibernate")
        for each in (instance.get("spec") or {}).get("workers") or []
    )


def impossible(spec: EventQueueSpec, queue: str, one: QueueProgram) -> Finding | None:
    """Why a program can not have what it asks for of this queue. `spec` may have its consumer already, and those of others."""
    if not isinstance(one.program, Worker):
        return None
    worker = one.program
    stream = next((each for each in spec.streams if each.name == worker.stream), None)
    if stream is None:
        return Finding(
            "StreamNotDeclared",
            f"Worker {worker.name} reads stream {worker.stream}, which the EventQueue {queue} does not declare: add it there.",
        )
    if worker.consumer is not None:
        if any(each.name == worker.consumer for each in stream.consumers):
            return None
        return Finding(
            "ConsumerNotDeclared",
            f"Worker {worker.name} reads by consumer {worker.consumer} of stream {stream.name}, which the EventQueue {queue} does not "
            "declare: add it there, or leave `consumer` out, and there is one of its own.",
        )
    if worker.filter and stream.subjects and not stream.sources and not any(overlaps(worker.filter, each) for each in stream.subjects):
        return Finding(
            "FilterMatchesNothing",
            f"Worker {worker.name} reads {worker.filter}, and stream {stream.name} of the EventQueue {queue} keeps no such messages: "
            "change its `filter`, or the stream's subjects.",
        )
    if rival := _rival(spec, stream, one.consumer, worker.filter):
        return Finding(
            "ConsumerContested",
            f"Worker {worker.name} reads stream {stream.name}, a workqueue, which gives each message to one consumer alone, and {rival} "
            "takes the same ones: let each have subjects of its own, or declare a consumer and name that in both.",
        )
    return None


def _rival(spec: EventQueueSpec, stream: Stream, consumer: str, wanted: str | None) -> str | None:
    """Who takes messages of a workqueue that this consumer would (NATS documentation, "Streams", "RetentionPolicy")."""
    if stream.retention is not Retention.WORKQUEUE:
        return None
    taken = [(f"consumer {each.name}", each.filters) for each in stream.consumers if each.name != consumer]
    taken += [(f"webhook {each.name}", each.filters) for each in spec.webhooks if each.stream == stream.name]
    return next((who for who, filters in taken if any(overlaps(each, wanted or ">") for each in filters or [">"])), None)


def with_programs(spec: EventQueueSpec, queue: str, programs: Sequence[QueueProgram]) -> EventQueueSpec:
    """A queue's spec as if it declared all that these need. What it does declare of the same name stays as it is."""
    for each in programs:
        if not each.has_login:
            continue
        possible = impossible(spec, queue, each) is None
        if possible and isinstance(each.program, Worker):
            spec = spec.model_copy(update={"streams": [_with_consumer(stream, each, each.program) for stream in spec.streams]})
        spec = spec.model_copy(update={"users": [*spec.users, _user(each, possible=possible)]})
    return spec


def _with_consumer(stream: Stream, one: QueueProgram, worker: Worker) -> Stream:
    if stream.name != worker.stream or any(each.name == one.consumer for each in stream.consumers):
        return stream
    made = Consumer.model_construct(  # not validated: with the names of both in it, its own may be longer than one that is declared
        name=one.consumer,
        filters=[worker.filter] if worker.filter else [],
        ack_wait_seconds=worker.ack_wait_seconds or _ACK_WAIT_SECONDS,
    )
    return stream.model_copy(update={"consumers": [*stream.consumers, made]})


def _user(one: QueueProgram, *, possible: bool) -> QueueUser:
    """One with a private inbox: backends may share a queue, and what a worker fetches comes there. Not validated, for its name."""
    reads = isinstance(one.program, Worker) and possible
    return QueueUser.model_construct(
        name=one.user,
        publish=list(one.program.publish),
        consume=[one.program.stream] if isinstance(one.program, Worker) and reads else [],
        consumers=[one.consumer] if reads else [],
        private_inbox=True,
    )
