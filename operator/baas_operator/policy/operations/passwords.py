"""A rotation of the passwords of a backend's roles: asked for on their Secrets, carried out by whoever reconciles the backend
(policy/passwords.py).

What is asked for is a note on each Secret, written to the version that was looked at. It goes with the write that draws the next password,
so it is asked for once, whoever is killed when. The rotation goes on by itself, even where the Operation is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CRON_JOB, DEPLOYMENT, SECRET
from baas_operator.api.operation import OperationPhase, OperationResult, OperationSpec, OperationStatus
from baas_operator.desired.instance.build import instance_secrets
from baas_operator.desired.instance.logins import RoleLogin
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import NEXT, OVERLAP_ANNOTATION, PREVIOUS, ROTATED_ANNOTATION
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.operations.common import end, pending, running
from baas_operator.policy.operations.rotation import (
    LOOK_AGAIN_SECONDS,
    PUBLISH,
    RETIRE,
    ask,
    going,
    held_up,
    moment,
    seconds,
    step,
    switched,
)
from baas_operator.policy.passwords import logins_of, not_rotated, users, workloads_of
from baas_operator.policy.plan import Finding, Plan


def plan_rotate_passwords(view: View, spec: OperationSpec, status: OperationStatus, instance: View) -> Plan:
    """Decide about a rotation of the passwords of `instance`, the view of what the Operation is for."""
    if plan := held_up(view, spec, status, instance):
        return plan
    requests = [each for each in instance_secrets(BaasInstanceSpec.stored(instance.spec), instance.owner) if each.retires]
    found = {each.name: live for each in requests if (live := instance.child(SECRET, each.name)) is not None}
    if not status.steps:
        if len(found) < len(requests):
            wait = Finding("PasswordsNotReady", f"The passwords of {instance.owner.name} are being made.")
            return pending(view, spec, wait, LOOK_AGAIN_SECONDS)
        return _begin(view, spec, status, found)
    # Times on Secrets are whole seconds.
    begun = to_time(status.steps[0].started_at).replace(microsecond=0)
    waiting = {name: live for name, live in found.items() if (at := moment(live, ROTATED_ANNOTATION)) is None or at < begun}
    if waiting:
        return _publish(view, spec, status, waiting)
    return _switch(view, spec, status, instance, found, logins_of(instance, requests))


def _begin(view: View, spec: OperationSpec, status: OperationStatus, found: Mapping[str, Manifest]) -> Plan:
    for name, live in found.items():
        if why := not_rotated(live, None):
            finding = Finding("PasswordNotRotated", f"The password in Secret {name!r} can not be rotated: {why}.")
            return end(view, status, OperationPhase.REFUSED, finding)
    if any(secret_text(live, NEXT) for live in found.values()):
        return pending(view, spec, Finding("RotationInProgress", "It waits for the rotation that is going on."), LOOK_AGAIN_SECONDS)
    if before := [name for name, live in found.items() if secret_text(live, PREVIOUS)]:
        return end(view, status, OperationPhase.REFUSED, Finding(
            "PasswordsOverlap",
            f"The passwords before the last rotation still count: wait until they are gone, or set the annotation {OVERLAP_ANNOTATION} of "
            f"{', '.join(before)} to a past date, and ask again.",
        ))  # fmt: skip
    begun = status.model_copy(update={
        "phase": OperationPhase.RUNNING, "steps": [step(PUBLISH, view.now)], "result": OperationResult(),
    })  # fmt: skip
    return replace(running(begun, "Other passwords are to be made."), requeue_after=LOOK_AGAIN_SECONDS)


def _publish(view: View, spec: OperationSpec, status: OperationStatus, waiting: Mapping[str, Manifest]) -> Plan:
    effects = tuple(each for live in waiting.values() if not secret_text(live, NEXT) for each in ask(view, live))
    what = "Other passwords are being made" if effects else "The next passwords are made known to the database"
    return going(view, spec, status, f"{what}: {', '.join(waiting)}.", effects)


def _switch(
    view: View, spec: OperationSpec, status: OperationStatus, instance: View, found: Mapping[str, Manifest], logins: Mapping[str, RoleLogin]
) -> Plan:
    """The Secrets have the next passwords. It is done once no pod logs in with one of before any more."""
    since = max(at for live in found.values() if (at := moment(live, ROTATED_ANNOTATION)))
    steps = switched(status, since)
    there = workloads_of([*instance.all(DEPLOYMENT), *instance.all(CRON_JOB)])
    using = sorted({each for login in logins.values() for each in users(instance, there, login.other)})
    if using:
        message = f"Pods that log in with the passwords of before are being replaced: {', '.join(using)}."
        return going(view, spec, status.model_copy(update={"steps": steps}), message)
    steps[1] = steps[1].model_copy(update={"finished_at": to_text(view.now, "milliseconds")})
    until = max((at for live in found.values() if secret_text(live, PREVIOUS) and (at := moment(live, OVERLAP_ANNOTATION))), default=None)
    if until:
        steps.append(step(RETIRE, view.now))
    result = OperationResult(
        logins=sorted(each.username for each in logins.values()), retires_at=to_text(until) if until else None,
        duration_seconds=seconds(view, status),
    )  # fmt: skip
    why = f"those of before count until {to_text(until)}" if until else "those of before count no more"
    done = status.model_copy(update={"steps": steps, "result": result})
    return end(view, done, OperationPhase.SUCCEEDED, Finding("PasswordsRotated", f"All pods log in with the new passwords; {why}."))
