"""Operation: whose turn it is, and which step comes next, from what the target says of itself. Each action is a module of `operations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from baas_operator.api.operation import Action, OperationPhase, OperationSpec, OperationStatus
from baas_operator.observe.view import View
from baas_operator.policy.operations.common import LOOK_AGAIN_SECONDS, before, begun_for, deadline, end, pending, said, suspended
from baas_operator.policy.operations.dead_letters import advanced, plan_dead_letters
from baas_operator.policy.operations.keys import plan_rotate_keys
from baas_operator.policy.operations.passwords import plan_rotate_passwords
from baas_operator.policy.operations.switchover import plan_switchover
from baas_operator.policy.operations.webhooks import enabled, plan_enable_webhook
from baas_operator.policy.plan import Came, Finding, LetterWork, Plan

_ACTIONS: Mapping[Action, Callable[[View, OperationSpec, OperationStatus, View], Plan]] = {
    Action.SWITCHOVER: plan_switchover,
    Action.REPLAY_DEAD_LETTERS: plan_dead_letters,
    Action.PURGE_DEAD_LETTERS: plan_dead_letters,
    Action.ENABLE_WEBHOOK: plan_enable_webhook,
    Action.ROTATE_KEYS: plan_rotate_keys,
    Action.ROTATE_PASSWORDS: plan_rotate_passwords,
}


def plan_operation(view: View) -> Plan:
    """Decide about an Operation."""
    status = OperationStatus.stored(view.resource.get("status"))
    if status.phase is not None and status.phase.over:
        return said(status)
    spec = OperationSpec.stored(view.spec)
    begun = bool(status.steps)
    if not begun and view.now > deadline(view, spec):
        why = f" The last that was said: {status.conditions[0].message}" if status.conditions else ""
        return end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"It was not begun within {spec.timeout_seconds} s of its creation, so nothing was done: create another Operation.{why}",
        ))  # fmt: skip
    key = (spec.target.kind.value, spec.target.name)
    target = view.others.get(key)
    if target is None:
        return end(view, status, OperationPhase.REFUSED, Finding(
            "TargetNotFound",
            f"There is no {spec.target.kind} {spec.target.name!r} in namespace {view.owner.namespace}: check spec.target.name.",
        ))  # fmt: skip
    if earlier := before(view):
        why_wait = Finding(
            "WaitingForOperation",
            f"It waits for Operation {earlier[0]['metadata']['name']}: one at a time is carried out on {spec.target.name}.",
        )
        return pending(view, spec, why_wait, LOOK_AGAIN_SECONDS * len(earlier))
    other = View(resource=target, children=view.other_children.get(key, {}), nodes=view.nodes, now=view.now)
    # Who asks for something of what is suspended knows why; what the operator had in mind by itself is not begun.
    if not begun and begun_for(view.resource) and (refused := suspended(view, status, other)):
        return refused
    return _ACTIONS[spec.action](view, spec, status, other)


def carried_on(view: View, plan: Plan, came: Came) -> Plan:
    """The plan of an Operation, once an effect of it was brought about that its status has to tell of."""
    return advanced(view, plan, came) if isinstance(came, LetterWork) else enabled(view, plan, came)
