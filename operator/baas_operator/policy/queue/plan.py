"""EventQueue: from what is there to what is done and said next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.kinds import POD, SECRET, STATEFUL_SET
from baas_operator.api.queue import EventQueueSpec, EventQueueStatus
from baas_operator.api.webhooks import Outbox
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.build import LOSS_ANNOTATION, QueueFacts, build_queue, loss_window_seconds, queue_secrets
from baas_operator.desired.queue.certificates import queue_certificates
from baas_operator.desired.queue.dead_letters import letters_kept
from baas_operator.desired.queue.dispatcher import has_dispatcher
from baas_operator.desired.queue.remotes import Credentials, Link, credentials, domain, impossible, links
from baas_operator.desired.queue.room import Room, room
from baas_operator.desired.queue.streams import USUAL_COPIES, Kept, all_kept, overlaps
from baas_operator.observe.dispatchers import DispatcherReport
from baas_operator.observe.queue import QueueObservation, observe_queue
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, is_ready, secret_text, trouble, zone_of_node
from baas_operator.policy.certificates import with_due
from baas_operator.policy.deliveries import deliveries
from baas_operator.policy.dispatchers import (
    dispatchers_now,
    outboxes_databases,
    scale_dispatchers,
    told_of_outboxes,
    told_of_webhooks,
)
from baas_operator.policy.logins import logins, with_due_slots
from baas_operator.policy.placement import as_made, growth, hard_spread
from baas_operator.policy.plan import DeleteConsumer, Effect, Finding, Plan, conditions, refusal
from baas_operator.policy.queue.alarms import alarms, copy_stalled
from baas_operator.policy.queue.forgotten import forgotten
from baas_operator.policy.queue.leftover import not_taken_up
from baas_operator.policy.queue.loops import loops
from baas_operator.policy.queue.probes import with_probes
from baas_operator.policy.queue.programs import (
    BACKLOG_SECONDS,
    held_consumers,
    programs_of,
    scaled_by_backlog,
    told_consumers,
    with_programs,
)
from baas_operator.policy.queue.readers import streams_told
from baas_operator.policy.queue.repair import Repair, repair
from baas_operator.policy.queue.rollout import Rollout, roll_out, under_way
from baas_operator.policy.queue.scaling import Size, size
from baas_operator.policy.queue.settled import unsettled
from baas_operator.policy.queue.spread import balance, spread
from baas_operator.policy.queue.streams import Keeping, keep, left_behind
from baas_operator.policy.queue.telling import tell
from baas_operator.policy.queue.volumes import volume_bytes

_UNSETTLED_SECONDS = 3.0
_SETTLED_SECONDS = 30.0
"""JetStream's own state makes no Kubernetes event: how often it is asked while something is missing, and when all is well."""

_STUCK = ("StreamRefused", "StorageOverpromised", "ServerStuck", "CopyCredentialsMissing")
"""Reasons that do not pass before somebody acts."""


def plan_queue(view: View) -> Plan:
    """Decide about an EventQueue."""
    programs, told = programs_of(view), told_consumers(view.resource)
    spec = with_probes(with_programs(EventQueueSpec.stored(view.spec), view.owner.name, programs, told), view)
    if finding := _contradiction(spec, domain(view.owner.namespace, view.owner.name), view.owner.namespace):
        return _refused(finding, spec, view)
    workload = view.child(STATEFUL_SET, view.owner.name)
    if finding := not_taken_up(spec, view, workload):
        return refusal(finding)
    seen = observe_queue(view)
    pods = list(view.all(POD, names.COMPONENT))
    zoned = hard_spread(view, workload, spec.replicas)
    sized = size(spec, view, workload, pods, seen, zoned=zoned)
    it = _situation(spec, view, pods, seen, workload, sized, zoned=zoned)
    ca = secret_text(view.child(SECRET, names.ca(view.owner.name)), "ca.crt")
    facts = QueueFacts(
        hard_spread=zoned,
        zones={name: zone for name, node in view.nodes.items() if (zone := zone_of_node(node))},
        logins=logins(view, names.users(spec)),
        credentials=_credentials(spec, view),
        ca=ca,
        dispatchers=dispatchers_now(spec, view),
        volume_bytes=volume_bytes(spec, view),
        databases=outboxes_databases(spec, view),
        operator_namespace=view.operator_namespace,
        monitoring_namespace=view.monitoring_namespace,
    )
    now = _with(spec, max(spec.replicas, sized.servers))
    unready, incomplete, fragile = _unready(view, now, it), _incomplete(view, it), _fragile(now, it)
    return Plan(
        conditions=(
            *conditions(
                unready=unready,
                incomplete=incomplete,
                fragile=fragile,
                ready_message=_serving(len(seen.ready), len(spec.streams)),
                tolerant_message="Any one zone can be lost without losing an acknowledged message or the service.",
                stuck=unready is None and incomplete is not None and incomplete.reason in _STUCK,
            ),
            *alarms(spec, view, seen, it.stalled),
            *deliveries(spec, view, _said(seen)),
        ),
        status=_status(view, spec, seen),
        manifests=as_made(view, build_queue(_with(spec, sized.servers), view.owner, view.images, facts)),
        secrets=(
            *with_due(view, queue_certificates(spec, view.owner)),
            *with_due_slots(view, queue_secrets(spec, view.owner, ca), rolls=under_way(workload, pods)),
        ),
        effects=(*tell(view), *_effects(it), *growth(view, spec.storage.size), *scale_dispatchers(spec, view, _said(seen))),
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
        requeue_after=_again(view, settled=not (unready or incomplete or fragile or it.resting)),
    )


def _refused(finding: Finding, spec: EventQueueSpec, view: View) -> Plan:
    """What runs goes on, and what is amiss with it is told as ever: whoever has to put the spec right may do so tomorrow."""
    seen = observe_queue(view)
    stalled = copy_stalled(seen, _wanted(spec, view, room(spec, seen.held(), volume_bytes(spec, view))))
    return refusal(
        finding,
        status=_status(view, spec, seen),
        ready=_serves(seen, spec),
        beside=(*alarms(spec, view, seen, stalled), *deliveries(spec, view, _said(seen))),
    )


def _again(view: View, *, settled: bool) -> float:
    if not settled:
        return _UNSETTLED_SECONDS
    return BACKLOG_SECONDS if scaled_by_backlog(view) else _SETTLED_SECONDS


@dataclass(frozen=True)
class _Situation:
    """What there is, and what each part of the policy makes of it. `resting`: why nothing may be moved now."""

    seen: QueueObservation
    wanted: Sequence[Kept]
    room: Room
    keeping: Keeping
    strays: Sequence[DeleteConsumer]
    unlinked: Finding | None
    size: Size
    repair: Repair
    rollout: Rollout
    resting: str
    looping: Mapping[str, str]
    """Stream -> why its copies are not begun."""
    stalled: Finding | None
    """What is copied from elsewhere, and is not heard of."""


def _with(spec: EventQueueSpec, servers: int) -> EventQueueSpec:
    return spec.model_copy(update={"replicas": servers})


def _situation(
    spec: EventQueueSpec, view: View, pods: Sequence[Manifest], seen: QueueObservation, workload: Manifest | None, sized: Size, *,
    zoned: bool,
) -> _Situation:  # fmt: skip
    owner, state = view.owner, seen.jetstream
    space = room(spec, seen.held(), volume_bytes(spec, view))
    wanted = _wanted(spec, view, space)
    goes = [name for name in (str(each["metadata"]["name"]) for each in pods) if name not in names.server_names(owner.name, spec.replicas)]
    resting = unsettled(view, pods, seen, servers=sized.servers, without=goes)
    looping = loops(spec, view, state) if state else {}
    wanted = [replace(each, waits=True) if each.name in looping else each for each in wanted]
    keeping, strays = Keeping(), []
    if state is not None and state.meta_leader is not None:
        zones = max(USUAL_COPIES, len(view.zones() | seen.zones)) if zoned else None
        keeping = keep(
            wanted, state, queue=owner.name, ready=len(seen.ready), resting=resting, zones=zones, copies=sized.copies,
            held=held_consumers(spec),
        )  # fmt: skip
        strays = left_behind(spec, state, queue=owner.name, dispatchers=len(list(view.all(POD, names.DISPATCHER))))
    return _Situation(
        seen, wanted, space, keeping, strays, _unlinked(spec, view), sized,
        repair=repair(view, pods, seen, servers=sized.servers),
        rollout=roll_out(view, workload, pods, seen, servers=sized.servers),
        resting=resting, looping=looping, stalled=copy_stalled(seen, wanted),
    )  # fmt: skip


def _wanted(spec: EventQueueSpec, view: View, space: Room) -> list[Kept]:
    """What is to be kept in JetStream."""
    owner = view.owner
    dials = {link.domain: each.user for link, each in _credentials(spec, view).items()}
    wanted = all_kept(spec, queue=owner.name, namespace=owner.namespace, shares=space.shares, dials=dials)
    return [*wanted, *letters_kept(spec, queue=owner.name, shares=space.shares)]


def _effects(it: _Situation) -> list[Effect]:
    """What is declared is put right at any time; of all else one thing is done at a time, the most urgent first."""
    made: list[Effect] = [*it.keeping.effects, *it.strays, *forgotten(it.seen)]
    if it.repair.effect is None and it.size.effects:
        return [*made, *it.size.effects]
    moved: Effect | None = it.repair.effect
    if moved is None and not it.keeping.resizing and it.size.told is None:
        moved = it.rollout.effect
        if moved is None and not it.resting and it.rollout.told is None:
            moved = spread(it.seen) or balance(it.seen)
    return [*made, moved] if moved is not None else made


def _credentials(spec: EventQueueSpec, view: View) -> dict[Link, Credentials]:
    """Links to queues that are copied from, and whom they dial as, of those whose Secret is there and of use."""
    found = {}
    for link in links(spec, view.owner.namespace):
        if made := credentials(link, partial(secret_text, view.secrets.get(link.secret))):
            found[link] = made
    return found


def _unlinked(spec: EventQueueSpec, view: View) -> Finding | None:
    known = _credentials(spec, view)
    for link in links(spec, view.owner.namespace):
        if link not in known:
            return Finding(
                "CopyCredentialsMissing",
                f"{counted(len(link.streams), 'stream')} of {link.domain} can not be copied: there is no Secret {link.secret} with "
                "`username`, `password` and `ca.crt`, a certificate of the authority there. Copy that of a user of the other queue whose "
                f"`copies` name them; where a public authority signed, it has `url` in place of `ca.crt`, which is {link.url}.",
            )
    return None


def _contradiction(spec: EventQueueSpec, own: str, namespace: str) -> Finding | None:
    if why := impossible(links(spec, namespace), own):
        return Finding("LinkRefused", why)
    mirrors = {each.name for each in spec.streams if each.mirror is not None}
    if outbox := next((each for each in spec.outboxes if each.stream in mirrors), None):
        return Finding(
            "MirrorTakesNothing",
            f"Outbox {outbox.name} publishes to stream {outbox.stream}, which is a mirror and takes no messages: name another stream.",
        )
    for first, second in combinations(spec.outboxes, 2):
        if _table(first) == _table(second):  # each would take the other's rows for its own, and put those aside that its stream has not
            return Finding(
                "OutboxesShareTable",
                f"Outboxes {first.name} and {second.name} both relay table {first.schema_}.{first.table} of {first.database} in "
                f"{first.database_ref.name}, and a row becomes one message: give one of them another table.",
            )
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


def _table(outbox: Outbox) -> tuple[str, str, str, str]:
    return outbox.database_ref.name, outbox.database, outbox.schema_, outbox.table


def _majority(spec: EventQueueSpec) -> int:
    return spec.replicas // 2 + 1


def _serves(seen: QueueObservation, spec: EventQueueSpec) -> bool:
    return len(seen.ready) >= _majority(spec) and seen.jetstream is not None and seen.jetstream.meta_leader is not None


def _unready(view: View, spec: EventQueueSpec, it: _Situation) -> Finding | None:
    seen = it.seen
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
    if it.keeping.missing:
        return Finding("CreatingStreams", f"{it.keeping.missing[0]} is being made.")
    for each in it.wanted:
        state = seen.jetstream.streams.get(each.name)
        if state is None and each.waits:
            continue
        if state is None or state.leader is None:
            return Finding("StreamWithoutLeader", f"{each.title} has no leader: its servers are electing one.")
    return None


def _incomplete(view: View, it: _Situation) -> Finding | None:
    """What is not as asked, what somebody has to act on first."""
    if it.keeping.refused:
        return it.keeping.refused
    if it.looping:
        stream, why = next(iter(it.looping.items()))
        return Finding("StreamRefused", f"Stream {stream}: {why}")
    if it.room.too_small:
        return Finding(
            "StorageOverpromised",
            f"Streams and stores set {it.room.promised} bytes aside, and {counted(len(it.room.shares), 'other')} share what is left of the "
            f"{it.room.whole} that a volume has room for: make spec.storage.size larger, or the sizes smaller.",
        )
    for told in (it.repair.told, it.size.told, it.rollout.told, it.unlinked):
        if told:
            return told
    if it.keeping.resizing:
        return Finding("CopiesChanging", it.keeping.resizing)
    if len(it.seen.ready) == it.size.servers == len(it.seen.servers):
        return it.stalled
    why = next((text for pod in view.all(POD, names.COMPONENT) if (text := trouble(pod))), "")
    number = len(it.seen.ready)
    return Finding("ServersNotReady", f"{number} of {counted(it.size.servers, 'server')} {are(number)} ready. {why}")


def _said(seen: QueueObservation) -> Sequence[DispatcherReport]:
    return seen.jetstream.dispatchers if seen.jetstream else ()


def _ready_of(seen: QueueObservation, spec: EventQueueSpec) -> str:
    number = len(seen.ready)
    return f"{number} of {counted(spec.replicas, 'server')} {are(number)} ready"


def _serving(servers: int, streams: int) -> str:
    return f"{counted(servers, 'server')} {'takes' if servers == 1 else 'take'} messages; {counted(streams, 'stream')} {are(streams)} kept."


def _fragile(spec: EventQueueSpec, it: _Situation) -> Finding | None:
    seen = it.seen
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
    for each in it.wanted:
        state = seen.stream_status(each.name)
        if state is None and each.waits:
            continue
        if state is None or state.current < state.replicas or state.zones < min(state.replicas, 3):
            if state is None or state.current == 0:
                return Finding("StreamNotSpread", f"{each.title} has no copy that is up to date.")
            return Finding(
                "StreamNotSpread",
                f"{each.title} has {counted(state.current, 'up-to-date copy', 'up-to-date copies')} in "
                f"{counted(state.zones, 'zone')}; it should have {state.replicas}, each in a zone of its own.",
            )
        if state.replicas < 3:
            return Finding(
                "TooFewCopies", f"{each.title} has {counted(state.replicas, 'copy', 'copies')}: with one server there is but one."
            )
        consumers = seen.jetstream.streams[each.name].consumers if seen.jetstream else {}
        for name in each.consumers:
            if (state_of := consumers.get(name)) is not None and (late := state_of.behind()):
                return Finding(
                    "StreamNotSpread",
                    f"Consumer {name} of {each.title[0].lower()}{each.title[1:]} is not level: {late} is missing or late.",
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
        streams=streams_told(view, spec, seen),
        webhooks=told_of_webhooks(spec, view, _said(seen)),
        outboxes=told_of_outboxes(spec, view, _said(seen)),
        ready_dispatchers=sum(map(is_ready, view.all(POD, names.DISPATCHER))) if has_dispatcher(spec) else None,
        loss_window_seconds=max([loss_window_seconds(spec), *map(_started_with, view.all(POD, names.COMPONENT))]),
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})


def _started_with(pod: Manifest) -> int:
    """The loss window of a server that runs: only a start gives it another one."""
    text = (pod["metadata"].get("annotations") or {}).get(LOSS_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0
