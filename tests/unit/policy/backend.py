"""A BaasInstance with what it was made into, over a database and a queue as a story says: no cluster, only what is decided."""

from __future__ import annotations

import copy
from typing import Any

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, ZONE_TOLERANT
from baas_operator.observe.view import Named, View
from baas_operator.policy.instance import plan_instance
from baas_operator.policy.plan import Plan
from tests.unit.objects import NOW, ZONES, condition, conditions, keyed, nodes, own, owner, pod, secret

COMPONENTS = ("gateway", "rest", "reads", "auth", "prober")
WELL = conditions(condition(READY, True), condition(ZONE_TOLERANT, True))


class Backend:
    """A BaasInstance with what it was made into; the database and the queue are as a story says."""

    def __init__(self, **spec: Any) -> None:
        self.resource = own(BAAS_INSTANCE, "shop", spec)
        self.owner = owner(BAAS_INSTANCE, "shop")
        self.others: dict[tuple[str, str], Manifest] = {}
        self.applied: dict[tuple[str, str], Manifest] = {}
        self.pods: dict[tuple[str, str], Manifest] = {}
        self.keys: Manifest | None = None
        self.drawn: dict[tuple[str, str], Manifest] = {}
        self.kinds: frozenset[str] = frozenset()
        self.named: dict[tuple[str, str], Named] = {}
        self.untaken: frozenset[tuple[str, str]] = frozenset()

    def has(self, kind: Any, name: str, found: Manifest | None = None) -> None:
        """Another object of ours is there, with that status."""
        self.others[kind.name, name] = own(kind, name, status=copy.deepcopy(found or {}))

    def draw_keys(self) -> None:
        """The API keys were made."""
        self.keys = secret(self.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": []}'})

    def bootstrap(self) -> None:
        """The SQL Job has succeeded."""
        for (kind, _), each in self.applied.items():
            if kind == "Job":
                each["status"] = {"succeeded": 1}

    def roll_out(self, *, zones: tuple[str, ...] = ZONES, ready: bool = True) -> None:
        """All Deployments have their pods."""
        self.pods = {}
        for (kind, _), each in self.applied.items():
            if kind != "Deployment":
                continue
            component = each["metadata"]["labels"]["app.kubernetes.io/component"]
            count = each["spec"]["replicas"]
            each["status"] = {"observedGeneration": 1, "updatedReplicas": count, "replicas": count}
            self.pods |= keyed(*(
                pod(self.owner, f"shop-{component}-{index}", component, on=f"node-{zones[index % len(zones)]}", ready=ready)
                for index in range(count)
            ))  # fmt: skip
            for key in self.pods:
                if key[1].startswith(f"shop-{component}-"):
                    self.pods[key]["spec"]["containers"] = each["spec"]["template"]["spec"]["containers"]

    def view(self) -> View:
        """What is there now."""
        keys = (keyed(self.keys) if self.keys else {}) | self.drawn
        return View(
            resource=self.resource,
            children=self.applied | self.pods | keys,
            nodes=nodes(*ZONES),
            now=NOW,
            others=self.others,
            named=self.named,
            kinds=self.kinds,
            untaken=self.untaken,
        )

    def plan_of(self, view: View) -> Plan:
        return plan_instance(view)

    def plan(self) -> Plan:
        return plan_instance(self.view())

    def reconcile(self) -> Plan:
        plan = self.plan()
        if plan.refused:
            return plan
        wanted = keyed(*copy.deepcopy(list(plan.manifests)))
        for key, each in wanted.items():
            each["metadata"]["resourceVersion"] = "1"
            if key in self.applied and "status" in self.applied[key]:
                each["status"] = self.applied[key]["status"]
        self.applied = wanted
        return plan

    def serving(self) -> Backend:
        """Everything from nothing to a backend that is as it should be."""
        self.draw_keys()
        self.has(DATABASE_REPLICA, "shop-db", WELL)
        self.has(EVENT_QUEUE, "shop-events", WELL)
        self.reconcile()
        self.bootstrap()
        self.reconcile()
        self.roll_out()
        return self


def deployments(plan: Plan) -> set[str]:
    return {each["metadata"]["name"] for each in plan.manifests if each["kind"] == "Deployment"}


def kinds(plan: Plan) -> set[str]:
    return {each["kind"] for each in plan.manifests}
