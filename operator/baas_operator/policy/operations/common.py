"""What all Operations have in common: whose turn it is, and how one that waits, runs or is over is told.

Nothing is remembered but what the status holds: after a crash between any two steps the same look at the target leads to the same
next step, and a step that was already taken is seen to have been.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from baas_operator.api.kinds import OPERATION
from baas_operator.api.operation import OperationPhase, OperationSpec, OperationStatus
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, Condition
from baas_operator.observe.moments import to_time
from baas_operator.observe.view import View
from baas_operator.policy.plan import Discard, Effect, Finding, Plan

WHY_LABEL = "baas-operator.io/why"
"""On an Operation that the operator began by itself: what for (`Why`)."""
KEPT = 20
"""Operations on one object that are kept once they are over, the youngest: enough to see what was done, and no heap that grows."""
LOOK_AGAIN_SECONDS = 0.5
_LAST_ANSWER = " Last answer: "
_MOST_CHARACTERS = 300
"""Of an answer: who answers runs an image that its users choose."""


class Why(StrEnum):
    """What a move is for that the operator begins by itself, the most pressing first."""

    NODE_LEAVING = "node-leaving"
    SCALE_IN = "scale-in"
    FAILBACK = "failback"


def _created(operation: Manifest) -> str:
    return str(operation["metadata"]["creationTimestamp"])


def deadline(view: View, spec: OperationSpec) -> datetime:
    """When it is given up."""
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


def before(view: View) -> list[Manifest]:
    """The Operations that come before this one, in order."""
    waiting = [each for each in operations(view) if not over(each) and not each["metadata"].get("deletionTimestamp")]
    return sorted((each for each in waiting if _turn(each) < _turn(view.resource)), key=_turn)


def last_answer(status: OperationStatus) -> str:
    """What was answered when it was last asked for, if it was not done then."""
    told = next((each.message for each in status.conditions if each.type == READY), "")
    return "".join(told.partition(_LAST_ANSWER)[1:])


def with_answer(plan: Plan, answer: str) -> Plan:
    """The plan of an Operation that goes on, with why it was not done when it was just asked for."""

    def told(each: Condition) -> Condition:
        return replace(each, message=f"{each.message.partition(_LAST_ANSWER)[0]}{_LAST_ANSWER}{answer[:_MOST_CHARACTERS]}")

    return replace(plan, conditions=tuple(told(each) for each in plan.conditions))


def pending(view: View, spec: OperationSpec, why: Finding, seconds: float) -> Plan:
    """Not begun. If it had written an intent down without having its turn, that is taken back."""
    left = (deadline(view, spec) - view.now).total_seconds() + LOOK_AGAIN_SECONDS
    return Plan(
        conditions=(Condition(READY, False, why.reason, why.message), Condition(RECONCILING, True, why.reason, why.message)),
        status=_dump(OperationStatus(phase=OperationPhase.PENDING)),
        requeue_after=max(LOOK_AGAIN_SECONDS, min(seconds, left)),
    )


def running(status: OperationStatus, message: str, effects: tuple[Effect, ...] = ()) -> Plan:
    """It goes on, with these effects."""
    return Plan(
        conditions=(Condition(READY, False, "Running", message), Condition(RECONCILING, True, "Running", message)),
        status=_dump(status),
        effects=effects,
        requeue_after=LOOK_AGAIN_SECONDS,
    )


def end(view: View, status: OperationStatus, phase: OperationPhase, why: Finding) -> Plan:
    """It is over. Not `Stalled`, which calls for somebody to act: nothing waits any more, and `phase` says what came of it."""
    return Plan(
        conditions=(Condition(READY, phase is OperationPhase.SUCCEEDED, why.reason, why.message),),
        status=_dump(status.model_copy(update={"phase": phase})),
        effects=_discarded(view),
    )


def suspended(view: View, status: OperationStatus, target: View) -> Plan | None:
    """The end of one whose target nothing is done to."""
    if not target.spec.get("suspend"):
        return None
    return end(view, status, OperationPhase.REFUSED, Finding(
        "TargetSuspended", f"spec.suspend of {target.owner.name} is true, so nothing of it is changed: set it to false first.",
    ))  # fmt: skip


def _discarded(view: View) -> tuple[Discard, ...]:
    """The oldest Operations on this object that are too many once this one is over. Only those that are over, too."""
    done = sorted((each for each in operations(view) if over(each)), key=_turn_of_over, reverse=True)
    return tuple(Discard(each["metadata"]["name"], each["metadata"]["uid"]) for each in done[KEPT - 1 :])


def _turn_of_over(operation: Manifest) -> tuple[str, str]:
    return _created(operation), str(operation["metadata"]["name"])


def said(status: OperationStatus) -> Plan:
    """What is over stays as it was told."""
    kept = tuple(Condition(c.type, c.status == "True", c.reason, c.message) for c in status.conditions if c.type == READY)
    return Plan(conditions=kept, status=_dump(status))


def _dump(status: OperationStatus) -> dict[str, Any]:
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions", "observed_generation"})
