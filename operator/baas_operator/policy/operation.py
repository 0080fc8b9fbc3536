"""Operation: which step comes next, from what the target says of itself.

Nothing is remembered but what the status holds: after a crash between any two steps the same look at the target leads to the same
next step, and a step that was already taken is seen to have been.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec, Durability, Member
from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.api.operation import (
    OperationPhase,
    OperationResult,
    OperationSpec,
    OperationStatus,
    OperationStep,
)
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, Condition
from baas_operator.observe.database import DatabaseObservation, observe_database
from baas_operator.observe.view import View
from baas_operator.policy.plan import Effect, Finding, Plan, Switchover

MAX_LAG_BYTES = 16 * 1024 * 1024
"""A standby further behind would make a switchover wait for it: it is refused as a target (one WAL segment)."""
_LOOK_AGAIN_SECONDS = 0.5


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def plan_operation(view: View) -> Plan:
    """Decide about an Operation."""
    status = OperationStatus.model_validate(view.resource.get("status") or {})
    if status.phase in (OperationPhase.SUCCEEDED, OperationPhase.REFUSED, OperationPhase.FAILED):
        return _said(view, status)
    spec = OperationSpec.model_validate(view.spec)
    target = view.others.get((DATABASE_REPLICA.name, spec.target.name))
    if target is None:
        return _end(view, status, OperationPhase.REFUSED, Finding(
            "TargetNotFound",
            f"There is no {spec.target.kind} {spec.target.name!r} in namespace {view.owner.namespace}: check spec.target.name.",
        ))  # fmt: skip
    other = View(
        resource=target, children=view.other_children.get((DATABASE_REPLICA.name, spec.target.name), {}), nodes=view.nodes,
        now=view.now,
    )  # fmt: skip
    return _switchover(view, spec, status, other, observe_database(other))


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
    for each in standbys:
        if not each.ready or each.state != "streaming":
            why = Finding("TargetNotStreaming", f"{each.name} is {each.state} and does not stream: wait until it does.")
        elif (each.lag_bytes or 0) > MAX_LAG_BYTES:
            why = Finding(
                "TargetLags",
                f"{each.name} is {(each.lag_bytes or 0) // 2**20} MiB behind, more than {MAX_LAG_BYTES // 2**20} MiB: "
                "wait until it has caught up.",
            )
        elif spec.durability is not Durability.ASYNC and each.name not in seen.sync_standbys:
            why = Finding("TargetNotSynchronous", f"{each.name} is no synchronous standby: it may lack acknowledged commits.")
        else:
            fit.append(each)
    if not fit:
        return why or Finding("NoStandby", "There is no standby.")
    return min(fit, key=lambda each: (each.lag_bytes is None, each.lag_bytes or 0, each.name))  # one whose lag is not known last


def _switchover(view: View, spec: OperationSpec, status: OperationStatus, database: View, seen: DatabaseObservation) -> Plan:
    started = status.steps[0].started_at if status.steps else None
    result = status.result
    if result is None or started is None:
        chosen = unfit(spec.parameters.to, database, seen)
        if isinstance(chosen, Finding):
            return _end(view, status, OperationPhase.REFUSED, chosen)
        assert seen.leader is not None
        # First the intent is written down, then it is acted upon: whoever comes after a crash knows what was meant.
        begun = status.model_copy(update={
            "phase": OperationPhase.RUNNING,
            "steps": [OperationStep(name="Switchover", started_at=_text(view.now))],
            "result": OperationResult(from_member=seen.leader, to_member=chosen.name),
        })  # fmt: skip
        return _running(begun, f"{chosen.name} is to become the primary in place of {seen.leader}.")
    assert result.to_member is not None
    assert result.from_member is not None
    if seen.primary and seen.primary.name == result.to_member and seen.routed_to_leader:
        seconds = (view.now - _time(started)).total_seconds()
        done = status.model_copy(update={
            "steps": [status.steps[0].model_copy(update={"finished_at": _text(view.now)})],
            "result": result.model_copy(update={"duration_seconds": round(seconds, 2)}),
        })  # fmt: skip
        return _end(view, done, OperationPhase.SUCCEEDED, Finding(
            "SwitchedOver", f"{result.to_member} is the primary and takes the writes, after {seconds:.1f} s.",
        ))  # fmt: skip
    if view.now > _time(started) + timedelta(seconds=spec.timeout_seconds):
        return _end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"{result.to_member} was not the primary after {spec.timeout_seconds} s; the primary is {seen.leader or 'not known'}. "
            "Look at the database's conditions, then create another Operation.",
        ))  # fmt: skip
    effects: tuple[Effect, ...] = ()
    if seen.primary and seen.primary.name == result.from_member and seen.leader_endpoint:
        effects = (Switchover(spec.target.name, result.from_member, seen.leader_endpoint.ip, result.to_member),)
    elif seen.primary and seen.primary.name not in (result.from_member, result.to_member):
        return _end(view, status, OperationPhase.FAILED, Finding(
            "OtherPrimary", f"{seen.leader} became the primary meanwhile, not {result.to_member}: a failover came between.",
        ))  # fmt: skip
    return _running(status, f"{result.to_member} is becoming the primary.", effects)


def _running(status: OperationStatus, message: str, effects: tuple[Effect, ...] = ()) -> Plan:
    return Plan(
        conditions=(Condition(READY, False, "Running", message), Condition(RECONCILING, True, "Running", message)),
        status=_dump(status),
        effects=effects,
        requeue_after=_LOOK_AGAIN_SECONDS,
    )


def _end(view: View, status: OperationStatus, phase: OperationPhase, why: Finding) -> Plan:
    good = phase is OperationPhase.SUCCEEDED
    made = [Condition(READY, good, why.reason, why.message)]
    if not good:
        made.append(Condition(STALLED, True, why.reason, why.message))
    return Plan(conditions=tuple(made), status=_dump(status.model_copy(update={"phase": phase})))


def _said(view: View, status: OperationStatus) -> Plan:
    """What is over stays as it was told."""
    kept = tuple(Condition(c.type, c.status == "True", c.reason, c.message) for c in status.conditions)
    return Plan(conditions=kept, status=_dump(status))


def _dump(status: OperationStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions", "observed_generation"})
