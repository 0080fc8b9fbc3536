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

from pydantic import ValidationError

from baas_operator.api.kinds import JOB, OPERATION, SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.needs import with_needs
from baas_operator.engine import applier
from baas_operator.engine.asking import Asking
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.effects import NOT_SWITCHED_OVER, OF_OPERANDS, bring_about
from baas_operator.engine.errors import ApiError, Failing, Refused, Waiting
from baas_operator.engine.gather import ask_operands, view_of
from baas_operator.engine.named import referred_by_backend, referred_secrets
from baas_operator.engine.queue_of import UNANSWERED
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.engine.summarize import forget, summarize
from baas_operator.engine.taking import Taking
from baas_operator.engine.teardown import FINALIZER, let_go, set_finalizer, tear_down
from baas_operator.engine.told import Problem, as_before, not_understood, suspended, with_problems, with_wait
from baas_operator.observe.probes import Probed
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View
from baas_operator.policy.controllers import PLANNERS
from baas_operator.policy.operation import carried_on
from baas_operator.policy.operations.common import with_answer
from baas_operator.policy.plan import Came, Effect, Plan, TellPod
from baas_operator.telemetry.metrics import RECONCILE_SECONDS, RECONCILES

_REFUSED_SECONDS = 30.0
"""How soon it is looked again at what somebody has to put right, where no event may tell of it."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """When to come back: `after` seconds, or not before something changes; `failed`: with back-off, at the latest. `told`: the status is
    another, which concerns those that look at this object; the watch brings it too, and finds it known."""

    after: float | None = None
    told: bool = False
    failed: bool = False


class Reconciler:
    """Reconciles objects of ours; holds nothing of its own but the tools."""

    def __init__(self, client: Client, store: Store, config: Config) -> None:
        self._client = client
        self._store = store
        self._config = config
        self._questions: Asking[str, JetStreamState | Probed | None] = Asking()
        self._requests: Asking[Effect, Came | None] = Asking()

    async def reconcile(self, key: Key) -> Outcome:
        """One reconcile of one object. Errors that back-off should follow are raised."""
        started = time.monotonic()
        outcome = "error"
        resource = self._store.get(*key)
        try:
            try:
                result, outcome = await self._steps(key, resource)
            except ValidationError as error:
                if resource is None or not error.title.endswith("Spec"):
                    raise
                outcome = "refused"
                return Outcome(told=await self._summarize(resource, not_understood(resource, error)))
            return result
        finally:
            RECONCILES.labels(kind=key.kind, outcome=outcome).inc()
            RECONCILE_SECONDS.labels(kind=key.kind).observe(time.monotonic() - started)

    async def _steps(self, key: Key, resource: Manifest | None) -> tuple[Outcome, str]:
        if resource is None:
            forget(key)
            self._questions.forget(key)
            self._requests.forget(key)
            return Outcome(), "gone"
        # guard
        if resource["metadata"].get("deletionTimestamp"):
            return await self._delete(resource)
        if (resource.get("spec") or {}).get("suspend"):
            await self._summarize(resource, suspended(resource))
            return Outcome(), "suspended"
        # gather, decide
        try:
            secrets, named = await referred_secrets(self._client, resource), await referred_by_backend(self._client, resource)
        except ApiError as error:
            changed = await self._summarize(resource, with_problems(as_before(resource), [error]))
            return Outcome(told=changed, failed=True), "error"
        view = view_of(self._store, resource, self._config, secrets, named)
        plan = PLANNERS[key.kind](view)
        problem, taking = None, Taking(self._client, self._store, key, again=not self._questions.waits(key))
        made = not plan.refused or bool(plan.secrets or plan.manifests)
        if made:
            problem = await _problem_of(self._make(view, plan, taking))
            view = view_of(self._store, resource, self._config, secrets, named)
        # ask
        try:
            view = replace(view, external=await self._questions.answer(key, "state", partial(ask_operands, view)))
        except Waiting as wait:
            return Outcome(wait.seconds, failed=bool(taking.problems)), "waiting"
        plan = PLANNERS[key.kind](view)
        if not plan.refused and problem is None:
            came: list[Came] = []
            problem = await _problem_of(self._finish(view, plan, taking, came))
            for work in came:
                plan = carried_on(view, plan, work)
        else:
            await self._tell(view, plan)
        left: list[Problem] = [*taking.problems] if made else []
        after, outcome = _REFUSED_SECONDS if plan.refused else plan.requeue_after, "refused" if plan.refused or left else "done"
        match problem:
            case Waiting():
                _log.info("waiting: %s", problem)
                after, outcome = problem.seconds, "waiting"
                if problem.reason in (NOT_SWITCHED_OVER, UNANSWERED):
                    plan = with_answer(plan, problem.message)
                plan = with_wait(plan, problem)
            case ApiError(conflict=True):
                after, outcome = 0.1, "waiting"  # somebody else was faster: look again
            case ApiError(terminating=True):
                return Outcome(), "waiting"
            case Refused():
                after, outcome, left = _REFUSED_SECONDS, "refused", [*left, problem]
            case ApiError() | Failing():
                outcome, left = "error", [*left, problem]
        if taking.put_off and problem is None:
            after = 0.0
        plan = with_problems(plan, left, taking.held_back)
        # summarize
        changed = await self._summarize(resource, plan)
        if changed and problem is None and resource["kind"] == OPERATION.name and plan.requeue_after is not None:
            after = 0.0  # an Operation's next step follows from the status that was just written
        return Outcome(after, told=changed, failed=bool(taking.problems) or outcome == "error"), outcome

    async def _summarize(self, resource: Manifest, plan: Plan) -> bool:
        """Say what came of `resource`, as it was when the reconcile began; True if that is news. What it says now it is compared with, but
        a spec that was edited meanwhile was not judged."""
        current = self._store.get(*key_of(resource))
        if current is None or current["metadata"]["uid"] != resource["metadata"]["uid"]:
            return False
        generation = int(resource["metadata"].get("generation", 1))
        return await summarize(self._client, self._store, current, plan, self._config.identity, generation=generation)

    async def _make(self, view: View, plan: Plan, taking: Taking) -> None:
        """What the object consists of is there and as it should be, as far as the API server takes it."""
        if plan.finalizer:
            await set_finalizer(self._client, self._store, view.resource, wanted=True)
        # draw
        problem = await _problem_of(taking.draw(plan.secrets))
        if _lacks_secrets(view, plan) or any(each.replaces for each in plan.secrets):
            drawn = plan.secrets
            view = view_of(self._store, view.resource, self._config, view.secrets, view.named)
            plan = PLANNERS[view.owner.kind](view)
            # They hold something of one that was drawn just now, such as the authority's certificate, or the keys that count.
            following = [request for request in plan.secrets if request not in drawn]
            met = await _problem_of(taking.draw(following))
            problem = problem or met
            if _lacks_secrets(view, plan) or any(each.replaces for each in following):
                view = view_of(self._store, view.resource, self._config, view.secrets, view.named)
                plan = PLANNERS[view.owner.kind](view)
        # apply: without all that it was to be made of, only what waits for nothing
        taking.forget_others(plan.secrets, plan.manifests)
        if problem is None:
            problem = await _problem_of(taking.apply(plan.manifests, plan.urgent))
        elif plan.urgent:
            await _problem_of(taking.apply(with_needs(plan.urgent, plan.manifests), plan.urgent))
        if await taking.draw_late():
            raise Waiting(
                "SecretRenewed", "a secret was renewed after all else", 0.0
            )  # what is made of it is another, and nothing is pruned
        if problem is not None:
            raise problem

    async def _finish(self, view: View, plan: Plan, taking: Taking, came: list[Came]) -> None:
        """What is done once all is there: effects, and the end of what is not wanted any more. One that is refused, or waits, holds up
        nothing behind it, and is told at the end. What came of them, where the status has to tell, goes to `came`."""
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
            met = await _problem_of(_collect(self._requests.answer(key, effect, begin) if of_operands else begin(), came))
            problem, waits = problem or met, waits or (of_operands and isinstance(met, Waiting))
        # prune
        wanted = [key_of(each) for each in plan.manifests]
        wanted += [Key("Secret", view.owner.namespace, each.name) for each in plan.secrets]
        # What takes the place of another may be what was not taken. A Job that has given up is in nothing's place.
        only = JOB if taking.problems else None
        await applier.prune(self._client, self._store, view.children.values(), wanted, view.resource["metadata"]["uid"], only)
        if not plan.finalizer:
            await let_go(self._client, self._store, view)
        if problem is not None:
            raise problem

    async def _tell(self, view: View, plan: Plan) -> None:
        """Have kubelets look at what was applied, where nothing else of the plan is brought about: it may have been urgent. That is a
        courtesy."""
        try:
            for effect in plan.effects:
                if isinstance(effect, TellPod):
                    await bring_about(effect, view, self._client, self._store)
        except (ApiError, TimeoutError) as error:
            _log.info("a pod was not told: %s", error)

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


async def _collect(step: Awaitable[Came | None], came: list[Came]) -> None:
    if (work := await step) is not None:
        came.append(work)


async def _problem_of(step: Awaitable[None]) -> Waiting | Refused | Failing | ApiError | None:
    """What a step met with that the status should tell."""
    try:
        await step
    except (Waiting, Refused, Failing, ApiError) as problem:
        return problem
    return None
