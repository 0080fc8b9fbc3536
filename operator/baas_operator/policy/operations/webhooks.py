"""A webhook, enabled again: what was noted of its endpoint is forgotten, and dispatchers read that within seconds.

It may be done any number of times: where nothing is noted there is nothing to forget. An endpoint that fails as before is disabled again by
the next attempt, which costs no more than it did.
"""

from __future__ import annotations

from dataclasses import replace

from baas_operator.api.operation import OperationPhase, OperationResult, OperationSpec, OperationStatus, OperationStep
from baas_operator.api.queue import EventQueueSpec, EventQueueStatus
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.view import View
from baas_operator.policy.deliveries import misconfigured
from baas_operator.policy.operations.common import deadline, end, last_answer, running
from baas_operator.policy.plan import EnableWebhook, Finding, Forgotten, Plan

ENABLE = "Enable"


def plan_enable_webhook(view: View, spec: OperationSpec, status: OperationStatus, queue: View) -> Plan:
    """Decide about a webhook of `queue`, the view of what the Operation is for."""
    name = spec.parameters.webhook or ""
    if finding := _unfit(name, queue):
        return end(view, status, OperationPhase.REFUSED, finding)
    message = f"What is noted of webhook {name} is being forgotten."
    if not status.steps:
        begun = status.model_copy(update={
            "phase": OperationPhase.RUNNING, "steps": [OperationStep(name=ENABLE, started_at=to_text(view.now, "milliseconds"))],
        })  # fmt: skip
        return running(begun, message)
    if view.now > deadline(view, spec):
        return end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"What is noted of webhook {name} could not be forgotten in {spec.timeout_seconds} s: create another "
            f"Operation.{last_answer(status)}",
        ))  # fmt: skip
    return running(status, f"{message}{last_answer(status)}", (EnableWebhook(spec.target.name, name),))


def enabled(view: View, plan: Plan, came: Forgotten) -> Plan:
    """The plan of such an Operation once that was done."""
    spec, status = OperationSpec.stored(view.spec), OperationStatus.stored(plan.status)
    (step,) = status.steps
    result = OperationResult(duration_seconds=round((view.now - to_time(step.started_at)).total_seconds(), 2))
    status = status.model_copy(update={
        "steps": [step.model_copy(update={"finished_at": to_text(view.now, "milliseconds")})], "result": result,
    })  # fmt: skip
    why = f" It was disabled: {came.disabled}" if came.disabled else ""
    ended = end(view, status, OperationPhase.SUCCEEDED, Finding(
        "WebhookEnabled", f"Nothing is noted against webhook {spec.parameters.webhook} any more: it is delivered within seconds.{why}",
    ))  # fmt: skip
    return replace(ended, requeue_after=plan.requeue_after)  # once more, to delete Operations that are too many


def _unfit(name: str, queue: View) -> Finding | None:
    declared = {each.name: each for each in EventQueueSpec.stored(queue.spec).webhooks}
    if name not in declared:
        known = f"those that it has are {', '.join(sorted(declared))}" if declared else "it has none"
        return Finding("WebhookNotFound", f"{queue.owner.name} has no webhook {name!r}; {known}: check parameters.webhook.")
    if not declared[name].enabled:
        return Finding(
            "WebhookPaused", f"Webhook {name} is paused by `enabled: false`: set that to true in the spec of {queue.owner.name}."
        )
    told = EventQueueStatus.stored({"webhooks": (queue.resource.get("status") or {}).get("webhooks") or []}).webhooks
    state = next((each for each in told if each.name == name), None)
    return misconfigured(state) if state else None
