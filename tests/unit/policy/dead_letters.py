"""An Operation on a queue, and an operator that can be killed between what it does and what it writes down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from baas_operator.api.kinds import EVENT_QUEUE, OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.observe.conditions import merge
from baas_operator.observe.view import View
from baas_operator.policy.operation import carried_on, plan_operation
from baas_operator.policy.plan import Came, EnableWebhook, Plan, WorkOnLetters
from tests.unit.objects import keyed, own, owner, pod, secret

STREAMS = [{"name": "orders", "subjects": ["orders.>"], "deadLetter": {}}, {"name": "plain", "subjects": ["plain.>"]}]


class World:
    """The Operation, its queue, and the time."""

    def __init__(
        self,
        action: str = "replay-dead-letters",
        *,
        stream: str | None = "orders",
        queue: str = "events",
        timeout: int = 60,
        **parameters: Any,
    ) -> None:
        self.operation = own(OPERATION, "op", {
            "target": {"kind": "EventQueue", "name": queue}, "action": action, "timeoutSeconds": timeout,
            "parameters": ({"stream": stream} if stream else {}) | parameters,
        })  # fmt: skip
        self.operation["metadata"]["creationTimestamp"] = "2026-05-01T12:00:00Z"
        self.queue: Manifest | None = own(EVENT_QUEUE, queue, {"streams": STREAMS})
        whose = owner(EVENT_QUEUE, queue)
        self.children = keyed(
            secret(whose, names.user_secret(queue, names.ADMIN), names.COMPONENT, username=names.ADMIN, password="p"),
            pod(whose, f"{queue}-0", names.COMPONENT, on="node", ip="127.0.0.1"),
        )
        self.now = datetime(2026, 5, 1, 12, 0, 1, tzinfo=UTC)
        self.rivals: list[Manifest] = []

    @property
    def status(self) -> Manifest:
        found: Manifest = self.operation["status"]
        return found

    @property
    def view(self) -> View:
        key = (EVENT_QUEUE.name, self.operation["spec"]["target"]["name"])
        others = {(OPERATION.name, each["metadata"]["name"]): each for each in self.rivals}
        return View(
            resource=self.operation, children={}, nodes={}, now=self.now, others=others | ({key: self.queue} if self.queue else {}),
            other_children={key: self.children},
        )  # fmt: skip

    def plan(self) -> Plan:
        return plan_operation(self.view)

    def write(self, plan: Plan) -> None:
        conditions = merge(self.status.get("conditions", []), plan.conditions, generation=1, now="2026-05-01T12:00:00Z")
        self.operation["status"] = {**plan.status, "observedGeneration": 1, "conditions": conditions}

    def asked(self) -> WorkOnLetters:
        """What the plan asks for now."""
        (effect,) = self.plan().effects
        assert isinstance(effect, WorkOnLetters)
        return effect

    def step(self, **came: Any) -> Plan:
        """A reconcile whose effect came to this."""
        plan = self.plan()
        for effect in plan.effects:
            if isinstance(effect, WorkOnLetters):
                plan = carried_on(self.view, plan, replace(effect.work, **came))
        self.write(plan)
        return plan

    async def reconcile(self, do: Callable[[Any, View], Awaitable[Came]], *, killed: bool = False) -> None:
        """A reconcile with its effect for real. `killed`: before its outcome was written down."""
        plan = self.plan()
        for effect in plan.effects:
            if isinstance(effect, WorkOnLetters | EnableWebhook):
                plan = carried_on(self.view, plan, await do(effect, self.view))
        if not killed:
            self.write(plan)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
