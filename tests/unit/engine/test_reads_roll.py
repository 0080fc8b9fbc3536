"""What probers say of the schema on standbys reaches the pods that read from them: through a whole reconcile, and it stays."""

from __future__ import annotations

import copy

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.desired.instance.probes import SCHEMA_ANNOTATION
from baas_operator.desired.meta import Manifest
from baas_operator.engine import reconcile
from baas_operator.engine.store import Key
from baas_operator.observe.conditions import READY, ZONE_TOLERANT
from baas_operator.observe.probes import Probed, ProberReport, SchemaReport
from baas_operator.observe.view import View
from tests.unit.engine.picky import QUOTA, Shop
from tests.unit.objects import NAMESPACE, condition, conditions, owner, pod

READS = Key("Deployment", NAMESPACE, "shop-reads")


class Reading(Shop):
    """A backend that serves, whose probers say `state`; None: nobody is there to be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.state: str | None = None

    async def ask(self, _: View) -> Probed | None:
        said = SchemaReport(state=self.state, rounds=2, every_seconds=30.0, seconds_ago=1.0)
        return Probed({"shop-prober-0": ProberReport(standby_schema=said)}) if self.state else None

    def put(self, found: Manifest) -> None:
        """The cluster says something of an object."""
        self.api._version += 1
        found["metadata"]["resourceVersion"] = str(self.api._version)
        self.api.objects[Key(found["kind"], NAMESPACE, found["metadata"]["name"])] = found
        assert self.store.put(found)

    async def serves(self) -> None:
        await self.reconcile()
        for kind, name in ((DATABASE_REPLICA, "shop-db"), (EVENT_QUEUE, "shop-events")):
            found = await self.api.get(kind, NAMESPACE, name)
            assert found is not None
            self.put(found | {"status": conditions(condition(READY, True), condition(ZONE_TOLERANT, True))})
        await self.reconcile()
        for key, each in list(self.api.objects.items()):
            if key.kind == "Job":
                self.put(each | {"status": {"succeeded": 1}})
        await self.reconcile()
        self.roll_out()

    def roll_out(self) -> None:
        """All Deployments have their pods, since long ago."""
        for key, each in list(self.api.objects.items()):
            if key.kind != "Deployment":
                continue
            count, component = each["spec"]["replicas"], each["metadata"]["labels"]["app.kubernetes.io/component"]
            self.put(each | {"status": {"observedGeneration": 1, "updatedReplicas": count, "replicas": count}})
            for index in range(count):
                made = pod(owner(BAAS_INSTANCE, "shop"), f"{key.name}-{index}", component, on=f"node-zone-{'abc'[index % 3]}")
                made["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
                self.put(made)

    @property
    def loaded(self) -> str | None:
        said: dict[str, str] = self.api.objects[READS]["spec"]["template"]["metadata"]["annotations"]
        return said.get(SCHEMA_ANNOTATION)


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> Reading:
    made = Reading()
    monkeypatch.setattr(reconcile, "ask_operands", made.ask)
    await made.serves()
    await made.reconcile()
    return made


async def test_a_schema_that_probers_tell_of_rolls_the_pods_that_read_and_what_was_decided_stays(shop: Reading) -> None:
    assert shop.loaded is None
    shop.state = "17"
    await shop.reconcile()
    assert shop.loaded == "17"

    shop.api.asked.clear()
    await shop.reconcile()
    shop.state = None
    await shop.reconcile()
    assert shop.loaded == "17"
    assert shop.api.asked == [], "and nothing is written again and again"


async def test_one_that_the_api_server_does_not_take_is_asked_for_once_a_turn(shop: Reading) -> None:
    shop.state = "17"
    shop.refuse((READS.kind, READS.name), QUOTA)
    template = shop.api.objects[READS]["spec"]["template"]
    shop.put(copy.deepcopy(shop.api.objects[READS]) | {"spec": {"replicas": 3, "template": template | {"spec": {}}}})
    for _ in range(2):
        await shop.reconcile()
        assert shop.api.asked == [(READS.kind, READS.name)]
