"""What rotations of a backend have in common: what is asked for is a note on a Secret, the steps, and an end that is waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from baas_operator.api.kinds import SECRET
from baas_operator.api.operation import OperationPhase, OperationSpec, OperationStatus, OperationStep
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION
from baas_operator.observe.moments import read_time, to_text, to_time
from baas_operator.observe.view import View
from baas_operator.policy.operations.common import deadline, end, running, suspended
from baas_operator.policy.plan import Effect, Finding, PatchAnnotation, Plan

PUBLISH, SWITCH, RETIRE = "Publish", "Switch", "Retire"
LOOK_AGAIN_SECONDS = 2.0


def step(name: str, at: datetime) -> OperationStep:
    """A step that begins."""
    return OperationStep(name=name, started_at=to_text(at, "milliseconds"))


def switched(status: OperationStatus, since: datetime) -> list[OperationStep]:
    """The steps once what is new is in use: published until then, and from then on everybody is led to it."""
    finished = max(since, to_time(status.steps[0].started_at))
    return [status.steps[0].model_copy(update={"finished_at": to_text(finished, "milliseconds")}), step(SWITCH, since)]


def seconds(view: View, status: OperationStatus) -> float:
    """How long it has been going on."""
    return round((view.now - to_time(status.steps[0].started_at)).total_seconds(), 2)


def moment(live: Manifest, annotation: str) -> datetime | None:
    """The time that a Secret is annotated with."""
    return read_time((live["metadata"].get("annotations") or {}).get(annotation))


def ask(view: View, live: Manifest) -> tuple[PatchAnnotation, ...]:
    """The note on a Secret that its content is to be another one now, for the version that was looked at; nothing where it says so. A later
    time gives way: what was to end then ends now."""
    asked, meta = moment(live, EXPIRES_ANNOTATION), live["metadata"]
    if asked is not None and asked <= view.now:
        return ()
    return (PatchAnnotation(SECRET.name, meta["name"], EXPIRES_ANNOTATION, to_text(view.now), meta["resourceVersion"]),)


def held_up(view: View, spec: OperationSpec, status: OperationStatus, target: View, *, told: str = "") -> Plan | None:
    """What becomes of it while nothing is done to its target. One that has begun waits: what it asked for is done once the target is not
    suspended any more, so to say that it was refused would have somebody ask again, for one rotation more."""
    if status.steps and target.spec.get("suspend"):
        return going(view, spec, status, f"spec.suspend of {target.owner.name} is true: it goes on once that is false.", told=told)
    return suspended(view, status, target)


def going(
    view: View, spec: OperationSpec, status: OperationStatus, message: str, effects: tuple[Effect, ...] = (), *, told: str = ""
) -> Plan:  # fmt: skip
    """It goes on, or is waited for no longer. `told`: where else one sees how it goes on."""
    if view.now > deadline(view, spec):
        return end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut", f"The rotation was not over after {spec.timeout_seconds} s, and goes on by itself if it was begun{told}. {message}",
        ))  # fmt: skip
    return replace(running(status, message, effects), requeue_after=LOOK_AGAIN_SECONDS)
