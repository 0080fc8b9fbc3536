"""A write that hangs has its turn after all others, and holds up nothing that can do without it."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.engine import taking
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import Failing
from baas_operator.engine.gather import view_of
from baas_operator.engine.store import Key
from baas_operator.policy.queue.plan import plan_queue
from tests.unit.engine.picky import BUDGET, GATEWAY, Shop
from tests.unit.objects import NAMESPACE


async def test_one_that_hangs_has_its_turn_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes so long that the rest waits once, and never again."""
    monkeypatch.setattr(taking, "_PATIENCE_SECONDS", 0.0)
    shop, first = Shop(), ("DatabaseReplica", "shop-db")
    shop.refuse(first, TimeoutError())
    await shop.reconcile()
    assert shop.api.asked[-1] == first
    assert not shop.has(GATEWAY)

    shop.refuse(BUDGET, TimeoutError())
    await shop.reconcile()
    assert shop.api.asked[-1] == BUDGET

    await shop.reconcile()
    assert shop.has(GATEWAY)
    assert shop.api.asked[-1] == first
    await shop.reconcile()
    assert shop.api.asked == [BUDGET], "those that are not taken take turns"
    message = (shop.told("Reconciling") or ("", ""))[1]
    assert "'shop-db'" in message
    assert "'shop-gateway'" in message


async def test_a_plan_without_a_secret_is_not_applied_where_there_was_no_time_to_draw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that hangs is there, and due."""
    shop = Shop(EVENT_QUEUE, "mq")
    await shop.reconcile()
    monkeypatch.setattr(taking, "_PATIENCE_SECONDS", 0.0)
    requests = plan_queue(view_of(shop.store, shop.api.objects[shop.key], Config())).secrets
    first, second = requests[:2]
    shop.store.drop(shop.api.objects[Key("Secret", NAMESPACE, second.name)])
    one = taking.Taking(cast(Client, shop.api), shop.store, shop.key)

    async def hangs(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(taking.applier, "ensure_secret", hangs)
    with pytest.raises(Failing, match=first.name):
        await one.draw([first, second])


async def test_a_secret_that_is_due_and_hangs_holds_nothing_else_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, so that the plan has all that it needs: what was changed by hand is put back in the meantime."""
    monkeypatch.setattr(taking, "_PATIENCE_SECONDS", 0.0)
    shop, hanging = Shop(), ("Secret", "shop-signing-key")
    await shop.reconcile()
    shop.refuse(hanging, TimeoutError())
    leaked = shop.revoke_its_key()
    await shop.reconcile()
    gateway = Key("Service", NAMESPACE, "shop-gateway")
    edited = copy.deepcopy(shop.api.objects[gateway])
    edited["spec"]["type"] = "NodePort"
    edited["metadata"]["resourceVersion"] = "9001"
    shop.api.objects[gateway] = edited
    shop.store.put(copy.deepcopy(edited))

    await shop.reconcile()
    assert shop.api.objects[gateway]["spec"]["type"] == "ClusterIP"
    assert "Secret 'shop-signing-key'" in (shop.told("Reconciling") or ("", ""))[1]

    shop.api.refuses.clear()
    assert (await shop.reconcile()).after == 0.0, "what follows from it is to be written, too"
    await shop.reconcile()
    assert leaked not in str(shop.api.objects[Key("ConfigMap", NAMESPACE, "shop-gateway")]["data"])


async def test_one_that_hung_is_drawn_though_somebody_elses_object_stands_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_PATIENCE_SECONDS", 0.0)
    shop, hanging = Shop(), ("Secret", "shop-signing-key")
    await shop.reconcile()
    shop.refuse(hanging, TimeoutError())
    leaked = shop.revoke_its_key()
    await shop.reconcile()
    shop.api.refuses.clear()
    theirs = Key("Service", NAMESPACE, "shop-gateway")
    shop.store.drop(shop.api.objects[theirs])
    metadata = {"name": theirs.name, "namespace": NAMESPACE, "uid": "theirs", "resourceVersion": "9000"}
    shop.api.objects[theirs] = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}

    assert (await shop.reconcile()).after == 0.0
    await shop.reconcile()
    assert (shop.told("Stalled") or ("",))[0] == "NameTaken"
    assert leaked not in {each.kid for each in shop.keys.keys}
