"""Components that waited for the same object, which the API server did not take, are rolled one after another once it does."""

from __future__ import annotations

import copy

import pytest

from baas_operator.engine import reconcile
from baas_operator.engine.store import Key
from tests.unit.engine.picky import QUOTA
from tests.unit.engine.test_reads_roll import Reading
from tests.unit.objects import NAMESPACE

POLICY = Key("NetworkPolicy", NAMESPACE, "shop-default-deny")
CHANGED = ("gateway", "rest", "reads", "auth")


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> Reading:
    made = Reading()
    monkeypatch.setattr(reconcile, "ask_operands", made.ask)
    await made.serves()
    await made.reconcile()
    return made


def rolled(shop: Reading) -> list[str]:
    """Components that have the change."""
    return [each for each in CHANGED if "64m" in str(shop.api.objects[Key("Deployment", NAMESPACE, f"shop-{each}")]["spec"])]


async def edit(shop: Reading) -> None:
    """All are changed while the policy that they need is not taken; then it is."""
    changed = copy.deepcopy(shop.api.objects[shop.key])
    changed["spec"] = {"components": {each: {"resources": {"requests": {"cpu": "64m"}}} for each in CHANGED}}
    shop.put(changed)
    edited = copy.deepcopy(shop.api.objects[POLICY])
    edited["spec"]["policyTypes"] = []
    shop.put(edited)
    shop.refuse((POLICY.kind, POLICY.name), QUOTA)
    for _ in range(2):
        await shop.reconcile()
        assert rolled(shop) == []
    shop.api.refuses.clear()


async def test_they_have_their_turns(shop: Reading) -> None:
    await edit(shop)
    found: list[str] = []
    for count in range(1, len(CHANGED) + 1):
        await shop.reconcile()
        (now,) = set(rolled(shop)) - set(found)
        found.append(now)
        deployment = shop.api.objects[Key("Deployment", NAMESPACE, f"shop-{now}")]
        shop.put(deployment | {"status": deployment["status"] | {"updatedReplicas": 0}})
        await shop.reconcile()
        assert len(rolled(shop)) == count, "one is under way"
        shop.roll_out()


async def test_the_others_are_looked_at_again_at_once(shop: Reading) -> None:
    await edit(shop)
    assert (await shop.reconcile()).after == 0.0
    assert (await shop.reconcile()).after != 0.0
