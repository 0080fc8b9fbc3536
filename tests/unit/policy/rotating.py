"""What models of a rotation have in common: an API server whose client may be killed between two writes, operators that come and go, and
the Operation that asks for it."""

from __future__ import annotations

import asyncio
import copy
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from baas_operator.api.kinds import BAAS_INSTANCE, OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.engine.effects import bring_about
from baas_operator.engine.errors import ApiError, Waiting
from baas_operator.engine.store import Key, Store
from baas_operator.observe.conditions import merge
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View
from baas_operator.policy.operation import plan_operation
from baas_operator.policy.plan import Plan
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NOW, own


class Killed(Exception):  # noqa: N818 - it is no error
    """The operator ends between two writes."""


class Api(StandInApi):
    """An API server whose client may be killed, and that knows that immutable Secrets are."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left: int | None = None

    def _put(self, verb: str, key: Key, found: Manifest) -> Manifest:
        self.spend()
        return super()._put(verb, key, found)

    def _checked(self, key: Key, body: Manifest) -> Manifest:
        old = super()._checked(key, body)
        if old.get("immutable") and "data" in body:
            raise ApiError(422, "Invalid", "data: Forbidden: field is immutable when `immutable` is set")
        return old

    async def delete(self, *args: Any, **more: Any) -> None:
        self.spend()
        await super().delete(*args, **more)

    def spend(self) -> None:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Killed
            self.writes_left -= 1


class Rotating:
    """A backend `shop` whose Secrets rotate, and the time."""

    def __init__(self, api: Api, resource: Manifest) -> None:
        self.api, self.resource = api, resource
        self.store, self.now = Store(), NOW

    def view(self) -> View:
        raise NotImplementedError

    async def draw(self) -> Any:
        """The Secrets, as engine/reconcile.py has them drawn."""
        raise NotImplementedError

    def carry_out(self, drawn: Any) -> None:
        """What follows from them."""
        raise NotImplementedError

    def restart(self) -> None:
        """Another operator: it knows what is there, and nothing of before."""
        self.store = Store()
        self.store.put(self.resource)
        for each in self.api.objects.values():
            self.store.put(each)

    async def reconcile(self, *, writes: int | None = None) -> bool:
        """A reconcile; whether it came to its end. `writes`: as many are done before the operator is killed."""
        self.api.writes_left = writes
        try:
            self.carry_out(await self.draw())
        except Killed:
            self.restart()
            return False
        except (Waiting, ApiError):
            return False
        finally:
            self.api.writes_left = None
        return True

    async def secrets_alone(self) -> None:
        """The Secrets, with what this operator knows of them."""
        with suppress(Waiting, ApiError):
            await self.draw()


class InAnyOrder(RuleBasedStateMachine):
    """Reconciles that are cut short, and operators that were away, in any order."""

    def __init__(self, world: Any) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = world

    def run(self, step: Any) -> Any:
        return self.runner.run(step)

    def operate(self, step: Any) -> None:
        """Have the operator do something."""
        self.run(step)

    def teardown(self) -> None:
        self.runner.close()

    @initialize()
    def serves(self) -> None:
        self.run(self.world.settle())
        self.away = self.world.store

    @rule()
    def reconcile(self) -> None:
        self.operate(self.world.reconcile())

    @rule(writes=st.integers(0, 6))
    def a_reconcile_is_cut_short(self, writes: int) -> None:
        self.operate(self.world.reconcile(writes=writes))

    @rule(learns=st.booleans())
    def an_operator_that_was_away_takes_a_step(self, learns: bool) -> None:
        """With what it knew of the Secrets when it was here last; then it learns that it leads no more."""
        mine, self.world.store = self.world.store, self.away
        self.operate(self.world.secrets_alone())
        self.world.store = mine
        self.world.restart()
        if learns:
            self.away = copy.deepcopy(self.world.store)


class Asked:
    """The Operation on that backend; `more` is in the backend's spec."""

    def __init__(self, world: Rotating, action: str, **more: Any) -> None:
        self.world, self.more = world, more
        self.operation = own(OPERATION, "op", {
            "target": {"kind": "BaasInstance", "name": "shop"}, "action": action, "timeoutSeconds": 600,
        })  # fmt: skip
        self.operation["metadata"]["creationTimestamp"] = to_text(world.now)

    @property
    def status(self) -> Any:
        return self.operation["status"]

    @property
    def view(self) -> View:
        key, instance = (BAAS_INSTANCE.name, "shop"), self.world.resource
        others = {key: instance | {"spec": instance["spec"] | self.more}}
        return View(self.operation, {}, {}, self.world.now, others=others, other_children={key: self.world.view().children})

    def write(self, plan: Plan) -> None:
        conditions = merge(self.status.get("conditions", []), plan.conditions, generation=1, now=to_text(self.world.now))
        self.operation["status"] = {**plan.status, "observedGeneration": 1, "conditions": conditions}

    async def step(self, *, killed: bool = False) -> Plan:
        """A reconcile of the Operation. `killed`: before its status was written down."""
        view = self.view
        plan = plan_operation(view)
        for effect in plan.effects:
            await bring_about(effect, view, self.world.api, self.world.store)  # type: ignore[arg-type]  # a stand-in of the client
        if not killed:
            self.write(plan)
        return plan
