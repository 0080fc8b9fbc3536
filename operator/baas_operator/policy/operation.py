"""Operation: which step comes next, from what the target says of itself.

Nothing is remembered but what the status holds: after a crash between any two steps the same look at the target leads to the same
next step, and a step that was already taken is seen to have been.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec, Durability, Member
from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.api.operation import (
    OperationPhase,
    OperationResult,
    OperationSpec,
    OperationStatus,
    OperationStep,
)
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, Condition
from baas_operator.observe.database import DatabaseObservation, observe_database
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.nodes import drain_begins, members_leaving
from baas_operator.observe.view import View
from baas_operator.policy.plan import Discard, Effect, Finding, Plan, Switchover

WHY_LABEL = "baas-operator.io/why"
"""On an Operation that the operator began by itself: what for (`Why`)."""
KEPT = 20
"""Operations on one object that are kept once they are over, the youngest: enough to see what was done, and no heap that grows."""
_LOOK_AGAIN_SECONDS = 0.5
_LAST_ANSWER = " Last answer: "
_MOST_CHARACTERS = 300
"""Of an answer: who answers runs an image that its users choose."""
_PASSING = frozenset({"NoPrimary", "TargetNotStreaming", "TargetLags", "TargetNotSynchronous"})
"""What an Operation that had to wait for another finds right after it, and what passes by itself."""


class Why(StrEnum):
    """What a move is for that the operator begins by itself, the most pressing first."""

    NODE_LEAVING = "node-leaving"
    SCALE_IN = "scale-in"
    FAILBACK = "failback"


def plan_operation(view: View) -> Plan:
    """Decide about an Operation."""
    status = OperationStatus.model_validate(view.resource.get("status") or {})
    if status.phase is not None and status.phase.over:
        return _said(status)
    spec = OperationSpec.model_validate(view.spec)
    begun = status.candidate is not None
    if not begun and view.now > _deadline(view, spec):
        why = f" The last that was said: {status.conditions[0].message}" if status.conditions else ""
        return _end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"It was not begun within {spec.timeout_seconds} s of its creation, so nothing was done: create another Operation.{why}",
        ))  # fmt: skip
    target = view.others.get((DATABASE_REPLICA.name, spec.target.name))
    if target is None:
        return _end(view, status, OperationPhase.REFUSED, Finding(
            "TargetNotFound",
            f"There is no {spec.target.kind} {spec.target.name!r} in namespace {view.owner.namespace}: check spec.target.name.",
        ))  # fmt: skip
    if before := _before(view):
        why_wait = Finding(
            "WaitingForOperation",
            f"It waits for Operation {before[0]['metadata']['name']}: one at a time is carried out on {spec.target.name}.",
        )
        return _pending(view, spec, why_wait, _LOOK_AGAIN_SECONDS * len(before))
    other = View(
        resource=target, children=view.other_children.get((DATABASE_REPLICA.name, spec.target.name), {}), nodes=view.nodes,
        now=view.now,
    )  # fmt: skip
    return _switchover(view, spec, status, other, observe_database(other))


def _created(operation: Manifest) -> str:
    return str(operation["metadata"]["creationTimestamp"])


def _deadline(view: View, spec: OperationSpec) -> datetime:
    return to_time(_created(view.resource)) + timedelta(seconds=spec.timeout_seconds)


def operations(view: View) -> list[Manifest]:
    """The Operations on an object; seen from one of them, the others."""
    return [each for (kind, _), each in view.others.items() if kind == OPERATION.name]


def over(operation: Manifest) -> bool:
    """Whether nothing comes of an Operation any more."""
    phase = (operation.get("status") or {}).get("phase")
    return phase is not None and OperationPhase(phase).over


def begun_for(operation: Manifest) -> str | None:
    """What the operator began it for (`Why`); None for somebody's own."""
    found = (operation["metadata"].get("labels") or {}).get(WHY_LABEL)
    return str(found) if found else None


def _turn(operation: Manifest) -> tuple[bool, str, str, str]:
    """In this order Operations on one object are carried out. One that was begun stays ahead, whatever its name."""
    steps = (operation.get("status") or {}).get("steps") or []
    begun = str(steps[0]["startedAt"]) if steps else ""
    return not steps, begun, _created(operation), str(operation["metadata"]["name"])


def _before(view: View) -> list[Manifest]:
    """The Operations that come before this one, in order."""
    waiting = [each for each in operations(view) if not over(each) and not each["metadata"].get("deletionTimestamp")]
    return sorted((each for each in waiting if _turn(each) < _turn(view.resource)), key=_turn)


def unfit(name: str | None, database: View, seen: DatabaseObservation) -> Finding | Member:
    """The member to switch over to (the one with the least lag, when `name` is None), or why there is none."""
    spec = DatabaseReplicaSpec.model_validate(database.spec)
    if seen.primary is None:
        return Finding("NoPrimary", "There is no primary to switch over from: wait until the database is Ready.")
    if name == seen.primary.name:
        return Finding("AlreadyPrimary", f"{name} is the primary already.")
    standbys = [each for each in seen.members if each.name != seen.primary.name and name in (None, each.name)]
    if not standbys:
        known = ", ".join(sorted(each.name for each in seen.members))
        return Finding("UnknownMember", f"{database.owner.name} has no standby {name!r}; its members are {known}.")
    fit = []
    why = None
    leaving = members_leaving(database)
    for each in standbys:
        if names.ordinal(each.name) >= spec.replicas:
            why = Finding("TargetGoes", f"{each.name} is one too many for spec.replicas {spec.replicas}, and is removed next.")
        elif each.name in leaving and seen.primary.name not in leaving:
            why = Finding("TargetNodeGoes", f"{each.name} would be moved away from at once: {leaving[each.name]}.")
        elif not each.ready or each.state != "streaming":
            why = Finding("TargetNotStreaming", f"{each.name} is {each.state} and does not stream: wait until it does.")
        elif (each.lag_bytes or 0) > names.MAX_LAG_BYTES:
            why = Finding(
                "TargetLags",
                f"{each.name} is {(each.lag_bytes or 0) // 2**20} MiB behind, more than {names.MAX_LAG_BYTES // 2**20} MiB: "
                "wait until it has caught up.",
            )
        elif spec.durability is not Durability.ASYNC and each.name not in seen.sync_standbys:
            why = Finding("TargetNotSynchronous", f"{each.name} is no synchronous standby: it may lack acknowledged commits.")
        else:
            fit.append(each)
    if not fit:
        return why or Finding("NoStandby", "There is no standby.")
    # One whose lag is not known comes last, but for those whose node goes.
    return min(fit, key=lambda each: (each.name in leaving, each.lag_bytes is None, each.lag_bytes or 0, each.name))


def _switchover(view: View, spec: OperationSpec, status: OperationStatus, database: View, seen: DatabaseObservation) -> Plan:
    started = status.steps[0].started_at if status.steps else None
    result, candidate = status.result, status.candidate
    if result is None or started is None or candidate is None:
        return _begin(view, spec, status, database, seen)
    if seen.primary and seen.primary.name == candidate and seen.routed_to_leader:
        seconds = (view.now - to_time(started)).total_seconds()
        done = status.model_copy(update={
            "steps": [status.steps[0].model_copy(update={"finished_at": to_text(view.now, "milliseconds")})],
            "result": result.model_copy(update={"to_member": candidate, "duration_seconds": round(seconds, 2)}),
        })  # fmt: skip
        return _end(view, done, OperationPhase.SUCCEEDED, Finding(
            "SwitchedOver", f"{candidate} is the primary and takes the writes, after {seconds:.1f} s.",
        ))  # fmt: skip
    if view.now > _deadline(view, spec):
        return _end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"{candidate} was not the primary after {spec.timeout_seconds} s; the primary is {seen.leader or 'not known'}. "
            f"Look at the database's conditions, then create another Operation.{_last_answer(status)}",
        ))  # fmt: skip
    effects: tuple[Effect, ...] = ()
    patient = begun_for(view.resource) == Why.NODE_LEAVING.value and drain_begins(database, result.from_member or "")
    if seen.primary and seen.primary.name == result.from_member and seen.leader_endpoint:
        effects = (Switchover(spec.target.name, result.from_member, seen.leader_endpoint.ip, candidate, patient),)
    elif seen.primary and seen.primary.name not in (result.from_member, candidate):
        return _end(view, status, OperationPhase.FAILED, Finding(
            "OtherPrimary",
            f"{seen.leader} became the primary meanwhile, not {candidate}: a failover came between, or somebody asked Patroni itself.",
        ))  # fmt: skip
    return _running(status, f"{candidate} is becoming the primary.{_last_answer(status)}", effects)


def _last_answer(status: OperationStatus) -> str:
    """What was answered when it was last asked for, if it was not done then."""
    said = next((each.message for each in status.conditions if each.type == READY), "")
    return "".join(said.partition(_LAST_ANSWER)[1:])


def with_answer(plan: Plan, answer: str) -> Plan:
    """The plan of an Operation that goes on, with why it was not done when it was just asked for."""

    def told(each: Condition) -> Condition:
        return replace(each, message=f"{each.message.partition(_LAST_ANSWER)[0]}{_LAST_ANSWER}{answer[:_MOST_CHARACTERS]}")

    return replace(plan, conditions=tuple(told(each) for each in plan.conditions))


def _begin(view: View, spec: OperationSpec, status: OperationStatus, database: View, seen: DatabaseObservation) -> Plan:
    chosen = unfit(spec.parameters.to, database, seen)
    if isinstance(chosen, Finding):
        if status.phase is OperationPhase.PENDING and chosen.reason in _PASSING:
            return _pending(view, spec, chosen, _LOOK_AGAIN_SECONDS)  # the members still follow the one before it
        return _end(view, status, OperationPhase.REFUSED, chosen)
    assert seen.leader is not None
    # First the intent is written down, then it is acted upon: whoever comes after a crash knows what was meant.
    begun = status.model_copy(update={
        "phase": OperationPhase.RUNNING,
        "steps": [OperationStep(name="Switchover", started_at=to_text(view.now, "milliseconds"))],
        "candidate": chosen.name,
        "result": OperationResult(from_member=seen.leader),
    })  # fmt: skip
    return _running(begun, f"{chosen.name} is to become the primary in place of {seen.leader}.")


def _pending(view: View, spec: OperationSpec, why: Finding, seconds: float) -> Plan:
    """Not begun. If it had written an intent down without having its turn, that is taken back."""
    left = (_deadline(view, spec) - view.now).total_seconds() + _LOOK_AGAIN_SECONDS
    return Plan(
        conditions=(Condition(READY, False, why.reason, why.message), Condition(RECONCILING, True, why.reason, why.message)),
        status=_dump(OperationStatus(phase=OperationPhase.PENDING)),
        requeue_after=max(_LOOK_AGAIN_SECONDS, min(seconds, left)),
    )


def _running(status: OperationStatus, message: str, effects: tuple[Effect, ...] = ()) -> Plan:
    return Plan(
        conditions=(Condition(READY, False, "Running", message), Condition(RECONCILING, True, "Running", message)),
        status=_dump(status),
        effects=effects,
        requeue_after=_LOOK_AGAIN_SECONDS,
    )


def _end(view: View, status: OperationStatus, phase: OperationPhase, why: Finding) -> Plan:
    """It is over. Not `Stalled`, which calls for somebody to act: nothing waits any more, and `phase` says what came of it."""
    return Plan(
        conditions=(Condition(READY, phase is OperationPhase.SUCCEEDED, why.reason, why.message),),
        status=_dump(status.model_copy(update={"phase": phase})),
        effects=_discarded(view),
    )


def _discarded(view: View) -> tuple[Discard, ...]:
    """The oldest Operations on this object that are too many once this one is over. Only those that are over, too."""
    done = sorted((each for each in operations(view) if over(each)), key=_turn_of_over, reverse=True)
    return tuple(Discard(each["metadata"]["name"], each["metadata"]["uid"]) for each in done[KEPT - 1 :])


def _turn_of_over(operation: Manifest) -> tuple[str, str]:
    return _created(operation), str(operation["metadata"]["name"])


def _said(status: OperationStatus) -> Plan:
    """What is over stays as it was told."""
    kept = tuple(Condition(c.type, c.status == "True", c.reason, c.message) for c in status.conditions if c.type == READY)
    return Plan(conditions=kept, status=_dump(status))


def _dump(status: OperationStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions", "observed_generation"})
