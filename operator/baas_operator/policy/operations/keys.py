"""A rotation of a backend's signing keys: asked for on the Secret of keys, carried out by whoever reconciles the backend (policy/keys.py).

What is asked for is a note on that Secret, written to the version that was looked at. It goes with the write that draws the next key, so it
is asked for once, whoever is killed when. The rotation goes on by itself, even where the Operation is given up.
"""

from __future__ import annotations

from dataclasses import replace

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import SECRET
from baas_operator.api.operation import OperationPhase, OperationResult, OperationSpec, OperationStatus
from baas_operator.desired.instance import names
from baas_operator.desired.key_set import MAX_PREVIOUS, KeySet
from baas_operator.desired.meta import Manifest
from baas_operator.observe.keys import ignorant, read_key_set, read_published
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.view import View
from baas_operator.policy.keys import retires_at
from baas_operator.policy.operations.common import end, pending, running
from baas_operator.policy.operations.rotation import LOOK_AGAIN_SECONDS, PUBLISH, RETIRE, ask, going, held_up, seconds, step, switched
from baas_operator.policy.plan import Finding, Plan

_TOLD = " (status.keys)"


def plan_rotate_keys(view: View, spec: OperationSpec, status: OperationStatus, instance: View) -> Plan:
    """Decide about a rotation of the keys of `instance`, the view of what the Operation is for."""
    name = names.signing_key_secret(instance.owner.name)
    live = instance.child(SECRET, name)
    before = status.result.previous_key if status.result else None
    try:
        held = read_key_set(live)
    except ValueError as error:
        why = Finding("KeySetUnreadable", f"keys.json in Secret {name!r} is not as it was written: {error}. Put that right first.")
        if before is not None:
            return going(view, spec, status, why.message, told=_TOLD)
        return end(view, status, OperationPhase.REFUSED, why)
    if plan := held_up(view, spec, status, instance, told=_TOLD):
        return plan
    if live is None or held is None:
        wait = Finding("KeysNotReady", f"The keys of {instance.owner.name} are being made.")
        return pending(view, spec, wait, LOOK_AGAIN_SECONDS) if before is None else going(view, spec, status, wait.message, told=_TOLD)
    if before is None:
        return _begin(view, spec, status, held)
    if held.current.kid == before:
        return _publish(view, spec, status, instance, live, held)
    return _switch(view, spec, status, instance, held, before)


def _begin(view: View, spec: OperationSpec, status: OperationStatus, held: KeySet) -> Plan:
    if held.next or any(not each.proven for each in held.previous):
        return pending(view, spec, Finding("RotationInProgress", "It waits for the rotation that is going on."), LOOK_AGAIN_SECONDS)
    if len(held.previous) >= MAX_PREVIOUS:
        return end(view, status, OperationPhase.REFUSED, Finding(
            "TooManyKeys",
            f"{len(held.previous)} keys that signed before still count, which is the most: wait until one is retired (status.keys), "
            "shorten spec.keys.overlapHours, or revoke one.",
        ))  # fmt: skip
    begun = status.model_copy(update={
        "phase": OperationPhase.RUNNING,
        "steps": [step(PUBLISH, view.now)],
        "result": OperationResult(previous_key=held.current.kid),
    })  # fmt: skip
    return replace(running(begun, f"Another key is to sign in place of {held.current.kid}."), requeue_after=LOOK_AGAIN_SECONDS)


def _publish(view: View, spec: OperationSpec, status: OperationStatus, instance: View, live: Manifest, held: KeySet) -> Plan:
    if held.next:
        lack = ignorant(instance, held.next.kid)
        what = f"not all know it yet: {', '.join(lack)}" if lack else "all who verify tokens are given time to load it"
        return going(view, spec, status, f"Key {held.next.kid} is going to sign; {what}.", told=_TOLD)
    return going(view, spec, status, "Another key is being made.", ask(view, live), told=_TOLD)


def _switch(view: View, spec: OperationSpec, status: OperationStatus, instance: View, held: KeySet, before: str) -> Plan:
    """The next key signs. It is done once no pod signs with the one before any more, and clients find API keys of the new one."""
    kid, since = held.current.kid, to_time(held.current.since)
    steps = switched(status, since)
    old = next((each for each in held.previous if each.kid == before), None)
    published = read_published(instance.child(SECRET, names.api_keys_secret(instance.owner.name)))
    if (old and not old.proven) or set(published.signers) != {kid}:
        message = f"Key {kid} signs: the pods that still sign with the one before are being replaced."
        return going(view, spec, status.model_copy(update={"steps": steps}), message, told=_TOLD)
    steps[1] = steps[1].model_copy(update={"finished_at": to_text(view.now, "milliseconds")})
    until = retires_at(BaasInstanceSpec.stored(instance.spec).keys, old) if old else None
    result = OperationResult(
        key=kid, previous_key=before, retires_at=to_text(until) if until else None, duration_seconds=seconds(view, status),
    )  # fmt: skip
    if until:
        steps.append(step(RETIRE, view.now))
    why = f"tokens of {before} count until {to_text(until)}" if until else f"{before} was revoked meanwhile"
    done = status.model_copy(update={"steps": steps, "result": result})
    return end(view, done, OperationPhase.SUCCEEDED, Finding("KeysRotated", f"Key {kid} signs, and all know it; {why}."))
