"""EventQueue: from what is there to what is done and said next."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.kinds import POD, SECRET, STATEFUL_SET
from baas_operator.api.queue import EventQueueSpec, EventQueueStatus, QueueDurability
from baas_operator.desired.queue import names
from baas_operator.desired.queue.build import BALANCED_SYNC_SECONDS, QueueFacts, build_queue, queue_secrets
from baas_operator.desired.queue.streams import overlaps, stream_config
from baas_operator.observe.queue import QueueObservation, observe_queue
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, secret_text, trouble, zone_of_node
from baas_operator.policy.placement import as_made, growth, hard_spread
from baas_operator.policy.plan import Effect, EnsureStream, Finding, Plan, conditions, refusal

_UNSETTLED_SECONDS = 3.0
_SETTLED_SECONDS = 30.0
"""JetStream's own state makes no Kubernetes event: how often it is asked while something is missing, and when all is well."""


def passwords(view: View) -> dict[str, str]:
    """User -> password, of all users or of none: the server's configuration needs them all."""
    found = {}
    for user in names.USERS:
        value = secret_text(view.child(SECRET, names.user_secret(view.owner.name, user)), "password")
        if value is None:
            return {}
        found[user] = value
    return found


def plan_queue(view: View) -> Plan:
    """Decide about an EventQueue."""
    spec = EventQueueSpec.model_validate(view.spec)
    if finding := _contradiction(spec):
        return refusal(finding.reason, finding.message, ready=_serves(observe_queue(view), spec))
    workload = view.child(STATEFUL_SET, view.owner.name)
    seen = observe_queue(view)
    facts = QueueFacts(
        hard_spread=hard_spread(view, workload, spec.replicas),
        zones={name: zone for name, node in view.nodes.items() if (zone := zone_of_node(node))},
        passwords=passwords(view),
    )
    unready, incomplete, fragile = _unready(view, spec, seen), _incomplete(view, spec, seen), _fragile(spec, seen)
    return Plan(
        conditions=conditions(
            unready=unready,
            incomplete=incomplete,
            fragile=fragile,
            ready_message=_serving(len(seen.ready), len(spec.streams)),
            tolerant_message="Any one zone can be lost without losing an acknowledged message or the service.",
        ),
        status=_status(view, spec, seen),
        manifests=as_made(view, build_queue(spec, view.owner, view.images, facts)),
        secrets=tuple(queue_secrets(spec, view.owner)),
        effects=(*_effects(spec, seen), *growth(view, spec.storage.size)),
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
        requeue_after=_UNSETTLED_SECONDS if (unready or incomplete or fragile) else _SETTLED_SECONDS,
    )


def _contradiction(spec: EventQueueSpec) -> Finding | None:
    for one, other in combinations(spec.streams, 2):
        for left in one.subjects:
            for right in other.subjects:
                if overlaps(left, right):
                    return Finding(
                        "SubjectsOverlap",
                        f"Streams {one.name} and {other.name} both want messages of {left!r} and {right!r}, and JetStream gives a "
                        "subject to one stream only: change the subjects of one of them.",
                    )
    return None


def _differs(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> bool:
    return any(sorted(have.get(key) or []) != value if key == "subjects" else have.get(key) != value for key, value in wanted.items())


def _effects(spec: EventQueueSpec, seen: QueueObservation) -> list[Effect]:
    if seen.jetstream is None or seen.jetstream.meta_leader is None or len(seen.ready) < min(spec.replicas, 3):
        return []  # a stream that is made now would lack a copy
    made: list[Effect] = []
    for stream in spec.streams:
        wanted = stream_config(spec, stream)
        state = seen.jetstream.streams.get(stream.name)
        if state is None or _differs(wanted, state.config):
            made.append(EnsureStream(config=wanted, exists=state is not None))
    return made


def _majority(spec: EventQueueSpec) -> int:
    return spec.replicas // 2 + 1


def _serves(seen: QueueObservation, spec: EventQueueSpec) -> bool:
    return len(seen.ready) >= _majority(spec) and seen.jetstream is not None and seen.jetstream.meta_leader is not None


def _unready(view: View, spec: EventQueueSpec, seen: QueueObservation) -> Finding | None:
    if len(seen.ready) < _majority(spec):
        why = next((text for pod in view.all(POD, names.COMPONENT) if (text := trouble(pod))), "")
        return Finding(
            "NoMajority",
            f"{_ready_of(seen, spec)} and {_majority(spec)} must be, for a majority. {why}",
        )
    if seen.jetstream is None or seen.jetstream.meta_leader is None:
        return Finding("JetStreamNotReady", "The servers are up; JetStream has no leader yet or does not answer.")
    if seen.jetstream.error:
        return Finding("StreamRefused", f"JetStream refused a stream: {seen.jetstream.error}.")
    for stream in spec.streams:
        state = seen.stream_status(stream.name)
        if state is None:
            return Finding("CreatingStreams", f"Stream {stream.name} is being made.")
        if state.leader is None:
            return Finding("StreamWithoutLeader", f"Stream {stream.name} has no leader: its servers are electing one.")
    return None


def _incomplete(view: View, spec: EventQueueSpec, seen: QueueObservation) -> Finding | None:
    if len(seen.ready) == spec.replicas == len(seen.servers):
        return None
    why = next((text for pod in view.all(POD, names.COMPONENT) if (text := trouble(pod))), "")
    return Finding("ServersNotReady", f"{_ready_of(seen, spec)}. {why}")


def _ready_of(seen: QueueObservation, spec: EventQueueSpec) -> str:
    number = len(seen.ready)
    return f"{number} of {counted(spec.replicas, 'server')} {are(number)} ready"


def _serving(servers: int, streams: int) -> str:
    return f"{counted(servers, 'server')} {'takes' if servers == 1 else 'take'} messages; {counted(streams, 'stream')} {are(streams)} kept."


def _fragile(spec: EventQueueSpec, seen: QueueObservation) -> Finding | None:
    zones = [each.zone for each in seen.ready if each.zone]
    worst = max(sorted(set(zones)), key=zones.count, default="")
    if len(seen.ready) < _majority(spec):
        return Finding("NoMajority", f"{_ready_of(seen, spec)} and {_majority(spec)} must be, for a majority.")
    if len(zones) < len(seen.ready):
        return Finding("ZoneUnknown", "A server's node has no zone: label nodes with topology.kubernetes.io/zone.")
    if spec.replicas > 1 and len(zones) - zones.count(worst) < _majority(spec):
        return Finding(
            "ServersTooClose",
            f"{counted(len(zones), 'server')} {are(len(zones))} ready, {zones.count(worst)} of them in {worst}: without that zone there "
            "would be no majority.",
        )
    for stream in spec.streams:
        state = seen.stream_status(stream.name)
        if state is None or state.current < state.replicas or state.zones < min(state.replicas, 3):
            if state is None or state.current == 0:
                return Finding("StreamNotSpread", f"Stream {stream.name} has no copy that is up to date.")
            return Finding(
                "StreamNotSpread",
                f"Stream {stream.name} has {counted(state.current, 'up-to-date copy', 'up-to-date copies')} in "
                f"{counted(state.zones, 'zone')}; it should have {state.replicas}, each in a zone of its own.",
            )
        if state.replicas < 3:
            return Finding(
                "TooFewCopies", f"Stream {stream.name} has {counted(state.replicas, 'copy', 'copies')}: with one server there is but one."
            )
    if spec.replicas < 3:
        return Finding("OneServer", "There is one server: set spec.replicas to 3 for one in each zone.")
    return None


def _status(view: View, spec: EventQueueSpec, seen: QueueObservation) -> dict[str, object]:
    selector = view.owner.selector(names.COMPONENT)
    status = EventQueueStatus(
        replicas=len(seen.servers),
        ready_replicas=len(seen.ready),
        selector=",".join(f"{key}={value}" for key, value in selector.items()),
        zones=len(seen.zones),
        servers=list(seen.servers),
        streams=[state for each in spec.streams if (state := seen.stream_status(each.name))],
        loss_window_seconds=0 if spec.durability is QueueDurability.STRICT else BALANCED_SYNC_SECONDS,
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})
