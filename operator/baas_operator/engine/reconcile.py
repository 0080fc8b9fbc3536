"""A reconcile, as named steps in order: guard, gather, decide, draw, apply, ask, bring about, prune, summarize.

The plan is made anew after secrets were drawn, as manifests may need them, and after operands were asked, as effects and conditions
may. Manifests do not wait for what an operand says: one that hangs would keep what was edited by hand from being put back.

Whatever a step raises decides when the next reconcile comes; the status is written in any case, so that a refusal or an error is told
where users look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial

from baas_operator.api.kinds import OPERATION, SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.engine import applier
from baas_operator.engine.asking import Asking
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.effects import NOT_SWITCHED_OVER, OF_OPERANDS, bring_about
from baas_operator.engine.errors import ApiError, Refused, Waiting
from baas_operator.engine.gather import ask_operands, view_of
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.engine.summarize import forget, summarize
from baas_operator.engine.teardown import FINALIZER, let_go, set_finalizer, tear_down
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, SUSPENDED, ZONE_TOLERANT, Condition
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View
from baas_operator.policy.controllers import PLANNERS
from baas_operator.policy.operation import with_answer
from baas_operator.policy.plan import Effect, Plan
from baas_operator.telemetry.metrics import RECONCILE_SECONDS, RECONCILES

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """When to come back: `after` seconds, or not before something changes. `told`: the status is another, which concerns those that look
    at this object; the watch brings it too, and finds it known."""

    after: float | None = None
    told: bool = False


class Reconciler:
    """Reconciles objects of ours; holds nothing of its own but the tools."""

    def __init__(self, client: Client, store: Store, config: Config) -> None:
        self._client = client
        self._store = store
        self._config = config
        self._questions: Asking[str, JetStreamState | None] = Asking()
        self._requests: Asking[Effect, None] = Asking()

    async def reconcile(self, key: Key) -> Outcome:
        """One reconcile of one object. Errors that back-off should follow are raised."""
        started = time.monotonic()
        outcome = "error"
        try:
            result, outcome = await self._steps(key)
            return result
        finally:
            RECONCILES.labels(kind=key.kind, outcome=outcome).inc()
            RECONCILE_SECONDS.labels(kind=key.kind).observe(time.monotonic() - started)

    async def _steps(self, key: Key) -> tuple[Outcome, str]:
        resource = self._store.get(*key)
        if resource is None:
            forget(key)
            self._questions.forget(key)
            self._requests.forget(key)
            return Outcome(), "gone"
        # guard
        if resource["metadata"].get("deletionTimestamp"):
            return await self._delete(resource)
        if (resource.get("spec") or {}).get("suspend"):
            plan = Plan(conditions=_suspended(resource), status=_kept_status(resource))
            await summarize(self._client, self._store, resource, plan, self._config.identity)
            return Outcome(), "suspended"
        # gather, decide
        view = view_of(self._store, resource, self._config)
        plan = PLANNERS[key.kind](view)
        problem = None
        if not plan.refused:
            problem = await _problem_of(self._make(view, plan))
            view = view_of(self._store, resource, self._config)
        # ask
        try:
            view = replace(view, external=await self._questions.answer(key, "state", partial(ask_operands, view)))
        except Waiting as wait:
            return Outcome(wait.seconds), "waiting"
        plan = PLANNERS[key.kind](view)
        if not plan.refused and problem is None:
            problem = await _problem_of(self._finish(view, plan))
        after, outcome = plan.requeue_after, "refused" if plan.refused else "done"
        match problem:
            case Waiting():
                _log.info("waiting: %s", problem)
                after, outcome = problem.seconds, "waiting"
                if problem.reason == NOT_SWITCHED_OVER:
                    plan = with_answer(plan, problem.message)
            case Refused():
                plan, outcome = _with_refusal(plan, problem), "refused"
                after = plan.requeue_after
            case ApiError(conflict=True):
                after, outcome = 0.1, "waiting"  # somebody else was faster: look again
            case ApiError(status=403, message=message) if "being terminated" in message:
                return Outcome(), "waiting"
            case ApiError():
                raise problem
        # summarize
        current, changed = self._store.get(*key), False
        if current is not None and current["metadata"]["uid"] == resource["metadata"]["uid"]:
            changed = await summarize(self._client, self._store, current, plan, self._config.identity)
            if changed and problem is None and current["kind"] == OPERATION.name and plan.requeue_after is not None:
                after = 0.0  # an Operation's next step follows from the status that was just written
        return Outcome(after, told=changed), outcome

    async def _make(self, view: View, plan: Plan) -> None:
        """What the object consists of is there and as it should be."""
        if plan.finalizer:
            await set_finalizer(self._client, self._store, view.resource, wanted=True)
        # draw
        for request in plan.secrets:
            await applier.ensure_secret(self._client, self._store, request)
        if _lacks_secrets(view, plan) or any(each.replaces for each in plan.secrets):
            view = view_of(self._store, view.resource, self._config)
            plan = PLANNERS[view.owner.kind](view)
        # apply
        for manifest in plan.manifests:
            await applier.apply(self._client, self._store, manifest)

    async def _finish(self, view: View, plan: Plan) -> None:
        """What is done once all is there: effects, and the end of what is not wanted any more. One that is refused, or waits, holds up
        nothing behind it, and is told at the end."""
        if _lacks_secrets(view, plan):
            raise Waiting("SecretGone", "a secret vanished just now", 0.0)  # what needs it is missing in the plan, and would be pruned
        # bring about
        key = key_of(view.resource)
        if not any(isinstance(each, OF_OPERANDS) for each in plan.effects):
            self._requests.settle(key)
        problem = None
        waits = False
        for effect in plan.effects:
            begin = partial(bring_about, effect, view, self._client, self._store)
            of_operands = isinstance(effect, OF_OPERANDS)
            if of_operands and waits:
                continue  # one is asked at a time
            met = await _problem_of(self._requests.answer(key, effect, begin) if of_operands else begin())
            problem, waits = problem or met, waits or (of_operands and isinstance(met, Waiting))
        # prune
        wanted = [key_of(each) for each in plan.manifests]
        wanted += [Key("Secret", view.owner.namespace, each.name) for each in plan.secrets]
        await applier.prune(self._client, view.children.values(), wanted, view.resource["metadata"]["uid"])
        if not plan.finalizer:
            await let_go(self._client, self._store, view)
        if problem is not None:
            raise problem

    async def _delete(self, resource: Manifest) -> tuple[Outcome, str]:
        view = view_of(self._store, resource, self._config)
        try:
            await tear_down(self._client, self._store, view)
        except Waiting as wait:
            return Outcome(wait.seconds), "waiting"
        return Outcome(1.0 if FINALIZER in (resource["metadata"].get("finalizers") or []) else None), "deleted"


def _lacks_secrets(view: View, plan: Plan) -> bool:
    """Whether the plan was made without secrets that it asks for: what needs them is missing in it."""
    return any(view.child(SECRET, each.name) is None for each in plan.secrets)


async def _problem_of(step: Awaitable[None]) -> Waiting | Refused | ApiError | None:
    """What a step met with that the status should tell."""
    try:
        await step
    except (Waiting, Refused, ApiError) as problem:
        return problem
    return None


def _suspended(resource: Manifest) -> tuple[Condition, ...]:
    """The conditions as they were last observed, as Flux leaves them, and beside them that it is suspended, as a Job says it. Not
    `Reconciling`: kstatus holds that what is suspended is not in progress."""
    message = (
        "spec.suspend is true: the operator leaves everything as it is, and what else the status says is as last observed. "
        "Set it to false to go on."
    )
    suspended = Condition(SUSPENDED, True, "Suspended", message)
    kept = tuple(
        Condition(each["type"], {"True": True, "False": False}.get(each["status"]), each["reason"], each["message"])
        for each in (resource.get("status") or {}).get("conditions") or []
        if each["type"] in (READY, STALLED, ZONE_TOLERANT)
    )
    return (*(kept or (Condition(READY, None, "Suspended", message),)), suspended)


def _kept_status(resource: Manifest) -> dict[str, object]:
    return {k: v for k, v in (resource.get("status") or {}).items() if k not in ("conditions", "observedGeneration")}


def _with_refusal(plan: Plan, refused: Refused) -> Plan:
    """The plan's own conditions, and on top of them what was refused. What serves goes on serving: Ready stays as it was found."""
    kept = [each for each in plan.conditions if each.type not in (STALLED, RECONCILING)]
    serving = any(each.type == READY and each.status for each in kept)
    if not serving:
        kept = [each for each in kept if each.type != READY]
        kept.insert(0, Condition(READY, False, refused.reason, str(refused)))
    return replace(plan, conditions=(*kept, Condition(STALLED, True, refused.reason, str(refused))), requeue_after=30.0)
