"""An object that would be too large to be looked at is not written, and what somebody else made too large is not fought: both are told."""

from __future__ import annotations

import copy

from baas_operator.engine.store import Key
from tests.unit.engine.picky import GATEWAY, Shop, everything
from tests.unit.objects import NAMESPACE

LONG = [{"name": f"LONG_{number}", "value": "x" * 2000} for number in range(60)]


async def test_what_is_too_large_to_be_looked_at_is_never_made_and_told() -> None:
    """The store would not keep it: it would be as if it were not there, and the backend never ready, without a word."""
    shop = Shop(components={"gateway": {"env": LONG}})

    await shop.reconcile()

    assert shop.names() == await everything() - {GATEWAY}
    reason, message = shop.told("Stalled") or ("", "")
    assert reason == "TooLarge"
    assert message.startswith("Deployment 'shop-gateway' would have 123 KiB, and may have 96: say less")
    await shop.reconcile()
    assert shop.api.asked == []


async def test_one_that_serves_is_left_as_it_is_where_it_would_become_too_large() -> None:
    shop = Shop()
    await shop.reconcile()
    before = shop.api.objects[Key(*GATEWAY[:1], NAMESPACE, GATEWAY[1])]
    changed = copy.deepcopy(shop.api.objects[shop.key])
    changed["spec"] = {"components": {"gateway": {"env": LONG}}}
    changed["metadata"]["resourceVersion"] = "9000"
    shop.store.put(changed)

    await shop.reconcile()

    assert (shop.told("Stalled") or ("",))[0] == "TooLarge"
    assert shop.api.objects[Key(*GATEWAY[:1], NAMESPACE, GATEWAY[1])] == before


async def test_what_somebody_made_too_large_is_told_and_not_fought() -> None:
    shop = Shop()
    await shop.reconcile()
    key = Key(*GATEWAY[:1], NAMESPACE, GATEWAY[1])
    live = shop.api.objects[key]
    live["spec"]["theirs"] = "x" * 200_000
    live["metadata"]["resourceVersion"] = "9000"
    assert shop.store.put(copy.deepcopy(live))
    assert shop.store.get(*key) is None

    for _ in range(2):
        await shop.reconcile()
        assert shop.api.asked == []
    reason, message = shop.told("Stalled") or ("", "")
    assert reason == "TooLarge"
    assert "somebody else has added to it" in message

    del live["spec"]["theirs"]
    live["metadata"]["resourceVersion"] = "9001"
    shop.store.put(copy.deepcopy(live))
    await shop.reconcile()
    assert shop.told("Stalled") is None
