"""What is told where a plan's own conditions do not say it: that it was not carried out or waits, that something was refused, or that it
is suspended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import ValidationError

from baas_operator.desired.meta import Manifest
from baas_operator.engine.errors import CHILD_GOING, OLD_CHILDREN_GOING, ApiError, Failing, Refused, Waiting
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, SUSPENDED, ZONE_TOLERANT, Condition
from baas_operator.observe.text import sentence
from baas_operator.policy.plan import Plan

Problem = Refused | Failing | ApiError


def with_problems(plan: Plan, problems: Sequence[Problem], more: str = "") -> Plan:
    """The plan's own conditions, and on top of them what it met with: stalled where somebody has to act, else that it goes on. What serves
    goes on serving: Ready stays as it was found. `more`: a sentence to end with."""
    if not problems:
        return plan
    first = sorted(dict.fromkeys(problems), key=lambda each: not isinstance(each, Refused))
    refused = first[0] if isinstance(first[0], Refused) else None
    message = " ".join([*map(_sentence, first), more]).rstrip()
    told = Condition(STALLED, True, refused.reason, message) if refused else Condition(RECONCILING, True, "ApiServerFails", message)
    kept = [each for each in plan.conditions if each.type not in ((STALLED, RECONCILING) if refused else (RECONCILING,))]
    serving = any(each.type == READY and each.status for each in kept)
    if not serving:
        kept = [each for each in kept if each.type != READY]
        kept.insert(0, Condition(READY, False, told.reason, message))
    return replace(plan, conditions=(*kept, told))


def with_wait(plan: Plan, wait: Waiting) -> Plan:
    """The plan's own conditions, and that a child which is being deleted holds up what is behind it. Children of an earlier object of this
    name, which are on their way out, prove nothing of this one."""
    if wait.reason not in (OLD_CHILDREN_GOING, CHILD_GOING):
        return plan
    going = Condition(RECONCILING, True, wait.reason, str(wait))
    told = [each for each in plan.conditions if each.type != RECONCILING]
    if wait.reason == OLD_CHILDREN_GOING:
        told = [replace(each, status=False, reason=going.reason, message=going.message) if each.type in _SAFE else each for each in told]
    return replace(plan, conditions=(*told, going))


_SAFE = (READY, ZONE_TOLERANT)
"""Conditions that somebody may rely on."""


def not_understood(resource: Manifest, error: ValidationError) -> Plan:
    """Nothing is done, what was said last is said, and why. A newer operator's CRDs take what this one does not know."""
    wrong = error.errors()[0]
    where = ".".join(["spec", *map(str, wrong["loc"])])
    message = (
        f"{where}: {sentence(wrong['msg'])} This operator does not understand it and leaves everything as it is: install the operator that "
        "belongs to the CRDs of the cluster, or correct the field."
    )
    return with_problems(as_before(resource), [Refused("SpecNotUnderstood", message)])


def _sentence(problem: Problem) -> str:
    if isinstance(problem, ApiError):
        said = sentence(problem.message)
        return f"The API server answered {problem.status} {problem.reason}: {said} It is tried again."
    return str(problem)


def as_before(resource: Manifest) -> Plan:
    """A plan that does nothing and says what was said last, but for whether it goes on."""
    return Plan(conditions=_last(resource, without=(RECONCILING,)), status=_kept_status(resource))


def suspended(resource: Manifest) -> Plan:
    """The conditions as they were last observed, as Flux leaves them, and beside them that it is suspended, as a Job says it. Not
    `Reconciling`: kstatus holds that what is suspended is not in progress."""
    message = (
        "spec.suspend is true: the operator leaves everything as it is, and what else the status says is as last observed. "
        "Certificates may run out after a month. Set it to false to go on."
    )
    kept = tuple(each for each in _last(resource) if each.type in (READY, STALLED, ZONE_TOLERANT))
    kept = kept or (Condition(READY, None, "Suspended", message),)
    return Plan(conditions=(*kept, Condition(SUSPENDED, True, "Suspended", message)), status=_kept_status(resource))


def _last(resource: Manifest, without: Sequence[str] = ()) -> tuple[Condition, ...]:
    return tuple(
        Condition(each["type"], {"True": True, "False": False}.get(each["status"]), each["reason"], each["message"])
        for each in (resource.get("status") or {}).get("conditions") or []
        if each["type"] not in without
    )


def _kept_status(resource: Manifest) -> dict[str, object]:
    return {k: v for k, v in (resource.get("status") or {}).items() if k not in ("conditions", "observedGeneration")}
