"""What the workers and jobs of backends need of the queue that they use: a consumer and a user each, beside those that it declares.

They are not written into the EventQueue's spec, which is its owner's (and a GitOps tool's, which would take them out again): the queue is
kept as if its spec had them. What a worker asks for that can not be is left out: JetStream would refuse it, and the queue would say so on
the worker's behalf for ever, or take it, and the worker would wait for ever. The backend says it instead.

Who reads already goes on, and who comes later waits: the order is that of `programs_of`, for the queue and for each backend alike. Who
reads is what the queue's status tells of consumers. It tells of no filters: where one is changed to what another takes, JetStream may
refuse it, and the queue says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from baas_operator.api.instance.programs import Program, ScheduledJob, Worker
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import Consumer, Retention, Stream
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.programs import ProgramUser, QueueProgram
from baas_operator.desired.queue.streams import overlaps
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding

BACKLOG_SECONDS = 5.0
"""How often JetStream is asked while workers scale with what waits: the first message waits so long before a worker is started for it, at
the most. Asking takes milliseconds."""
_ACK_WAIT_SECONDS = 30


def programs_of(view: View) -> list[QueueProgram]:
    """All that have to do with this queue, by seniority: those that read already, then those of the backend that was made first."""
    told = told_consumers(view.resource)
    backends = [each for (kind, _), each in view.others.items() if kind == BAAS_INSTANCE.name and uses(each, view.resource)]
    backends.sort(key=lambda each: (each["metadata"].get("creationTimestamp") or "", each["metadata"]["name"]))
    found = [QueueProgram(each["metadata"]["name"], one) for each in backends for one in _programs(each.get("spec") or {})]
    return sorted(found, key=lambda each: not (isinstance(each.program, Worker) and (each.program.stream, each.consumer) in told))


def told_consumers(queue: Manifest) -> frozenset[tuple[str, str]]:
    """(stream, consumer) that JetStream has, as the queue's status tells. Of a webhook's it is told what is pending."""
    status, spec = queue.get("status") or {}, queue.get("spec") or {}
    told = {(stream["name"], each["name"]) for stream in status.get("streams") or [] for each in stream.get("consumers") or []}
    known = {each["name"] for each in status.get("webhooks") or [] if each.get("pending") is not None}
    hooks = {(each.get("stream", ""), names.webhook_consumer(each["name"])) for each in spec.get("webhooks") or [] if each["name"] in known}
    return frozenset(told | hooks)


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


def impossible(spec: EventQueueSpec, queue: str, one: QueueProgram, told: Collection[tuple[str, str]] = ()) -> Finding | None:
    """Why a program can not have what it asks for of this queue. `spec` may have its consumer already, and those of who comes before it;
    `told`: the consumers that JetStream has."""
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
    if rival := _rival(spec, stream, one.consumer, worker.filter, told):
        return Finding(
            "ConsumerContested",
            f"Worker {worker.name} reads stream {stream.name}, a workqueue, which gives each message to one consumer alone, and {rival} "
            "takes the same ones: let each have subjects of its own, or declare a consumer and name that in both.",
        )
    return None


def _rival(
    spec: EventQueueSpec, stream: Stream, consumer: str, wanted: str | None, told: Collection[tuple[str, str]]
) -> str | None:  # fmt: skip
    """Who takes messages of a workqueue that this consumer would (NATS documentation, "Streams", "RetentionPolicy"). One that is there
    gives way to nobody who is not: JetStream refuses a consumer or webhook that is declared later, and the queue tells that."""
    if stream.retention is not Retention.WORKQUEUE:
        return None
    taken = [(f"consumer {each.name}", each.name, each.filters) for each in stream.consumers if each.name != consumer]
    taken += [
        (f"webhook {each.name}", names.webhook_consumer(each.name), each.filters) for each in spec.webhooks if each.stream == stream.name
    ]
    if (stream.name, consumer) in told:
        taken = [each for each in taken if (stream.name, each[1]) in told]
    return next((who for who, _, filters in taken if any(overlaps(each, wanted or ">") for each in filters or [">"])), None)


def with_programs(
    spec: EventQueueSpec, queue: str, programs: Sequence[QueueProgram], told: Collection[tuple[str, str]] = ()
) -> EventQueueSpec:  # fmt: skip
    """A queue's spec as if it declared all that these need. What it does declare of the same name stays as it is."""
    users = []
    for each in programs:
        if not each.has_login:
            continue
        possible = impossible(spec, queue, each, told) is None
        if possible and isinstance(each.program, Worker):
            spec = spec.model_copy(update={"streams": [_with_consumer(stream, each, each.program) for stream in spec.streams]})
        users.append(_user(each, told, possible=possible))
    # By name: who is told of meanwhile changes nothing of what the servers load.
    return spec.model_copy(update={"users": [*spec.users, *sorted(users, key=lambda each: each.name)]})


def held_consumers(spec: EventQueueSpec) -> frozenset[tuple[str, str]]:
    """(stream, consumer) of workers that run and can not have what they ask for now: left as they are until somebody has put that right."""
    return frozenset(
        pair for each in spec.users if isinstance(each, ProgramUser) and not each.consumers for pair in each.keeps
    )  # fmt: skip


def _with_consumer(stream: Stream, one: QueueProgram, worker: Worker) -> Stream:
    if stream.name != worker.stream or any(each.name == one.consumer for each in stream.consumers):
        return stream
    made = Consumer.model_construct(  # not validated: with the names of both in it, its own may be longer than one that is declared
        name=one.consumer,
        filters=[worker.filter] if worker.filter else [],
        ack_wait_seconds=worker.ack_wait_seconds or _ACK_WAIT_SECONDS,
    )
    return stream.model_copy(update={"consumers": [*stream.consumers, made]})


def _user(one: QueueProgram, told: Collection[tuple[str, str]], *, possible: bool) -> ProgramUser:
    """One with a private inbox: backends may share a queue, and what a worker fetches comes there. Not validated, for its name."""
    reads = isinstance(one.program, Worker) and possible
    return ProgramUser.model_construct(
        name=one.user,
        publish=list(one.program.publish),
        consume=[one.program.stream] if isinstance(one.program, Worker) and reads else [],
        consumers=[one.consumer] if reads else [],
        private_inbox=True,
        keeps=sorted(each for each in told if isinstance(one.program, Worker) and each[1] == one.own_consumer),
    )
