"""A switchover: from the wish to the new primary."""

from __future__ import annotations

from baas_operator.api.database import DatabaseReplicaSpec, Durability, Member
from baas_operator.api.operation import OperationPhase, OperationResult, OperationSpec, OperationStatus, OperationStep
from baas_operator.desired.database import names
from baas_operator.observe.database import DatabaseObservation, observe_database
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.nodes import drain_begins, members_leaving
from baas_operator.observe.view import View
from baas_operator.policy.operations.common import LOOK_AGAIN_SECONDS, Why, begun_for, deadline, end, last_answer, pending, running
from baas_operator.policy.plan import Effect, Finding, Plan, Switchover

_PASSING = frozenset({"NoPrimary", "TargetNotStreaming", "TargetLags", "TargetNotSynchronous"})
"""What an Operation that had to wait for another finds right after it, and what passes by itself."""


def unfit(name: str | None, database: View, seen: DatabaseObservation) -> Finding | Member:
    """The member to switch over to (the one with the least lag, when `name` is None), or why there is none."""
    spec = DatabaseReplicaSpec.stored(database.spec)
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


def plan_switchover(view: View, spec: OperationSpec, status: OperationStatus, database: View) -> Plan:
    """Decide about a switchover of `database`, the view of what the Operation is for."""
    seen = observe_database(database)
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
        return end(view, done, OperationPhase.SUCCEEDED, Finding(
            "SwitchedOver", f"{candidate} is the primary and takes the writes, after {seconds:.1f} s.",
        ))  # fmt: skip
    if view.now > deadline(view, spec):
        return end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"{candidate} was not the primary after {spec.timeout_seconds} s; the primary is {seen.leader or 'not known'}. "
            f"Look at the database's conditions, then create another Operation.{last_answer(status)}",
        ))  # fmt: skip
    effects: tuple[Effect, ...] = ()
    patient = begun_for(view.resource) == Why.NODE_LEAVING.value and drain_begins(database, result.from_member or "")
    if seen.primary and seen.primary.name == result.from_member and seen.leader_endpoint:
        effects = (Switchover(spec.target.name, result.from_member, seen.leader_endpoint.ip, candidate, patient),)
    elif seen.primary and seen.primary.name not in (result.from_member, candidate):
        return end(view, status, OperationPhase.FAILED, Finding(
            "OtherPrimary",
            f"{seen.leader} became the primary meanwhile, not {candidate}: a failover came between, or somebody asked Patroni itself.",
        ))  # fmt: skip
    return running(status, f"{candidate} is becoming the primary.{last_answer(status)}", effects)


def _begin(view: View, spec: OperationSpec, status: OperationStatus, database: View, seen: DatabaseObservation) -> Plan:
    chosen = unfit(spec.parameters.to, database, seen)
    if isinstance(chosen, Finding):
        if status.phase is OperationPhase.PENDING and chosen.reason in _PASSING:
            return pending(view, spec, chosen, LOOK_AGAIN_SECONDS)  # the members still follow the one before it
        return end(view, status, OperationPhase.REFUSED, chosen)
    assert seen.leader is not None
    # First the intent is written down, then it is acted upon: whoever comes after a crash knows what was meant.
    begun = status.model_copy(update={
        "phase": OperationPhase.RUNNING,
        "steps": [OperationStep(name="Switchover", started_at=to_text(view.now, "milliseconds"))],
        "candidate": chosen.name,
        "result": OperationResult(from_member=seen.leader),
    })  # fmt: skip
    return running(begun, f"{chosen.name} is to become the primary in place of {seen.leader}.")
