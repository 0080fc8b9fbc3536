"""A key that leaked is taken out of everything by the very reconcile that is told of it."""

from __future__ import annotations

import copy

from baas_operator.engine.store import Key
from baas_operator.observe.keys import read_key_set
from tests.unit.engine.picky import Shop
from tests.unit.objects import NAMESPACE


def named_in(shop: Shop, kid: str) -> set[tuple[str, str]]:
    """The objects that still name a key, but for the one that remembers those that are gone."""
    return {
        (key.kind, key.name) for key, each in shop.api.objects.items()
        if key.kind in ("ConfigMap", "Deployment") and kid in str(each.get("data") or each.get("spec"))
    }  # fmt: skip


async def test_one_reconcile_takes_it_out_of_all_that_is_written() -> None:
    shop = Shop()
    await shop.reconcile()
    held = read_key_set(shop.api.objects[Key("Secret", NAMESPACE, "shop-signing-key")])
    assert held
    leaked = held.current.kid
    assert ("ConfigMap", "shop-gateway") in named_in(shop, leaked)
    told = copy.deepcopy(shop.api.objects[shop.key])
    told["spec"] = {"keys": {"revoked": [leaked]}}
    told["metadata"]["resourceVersion"] = "9000"
    shop.store.put(told)

    await shop.reconcile()

    assert named_in(shop, leaked) == set()
