"""An object that the API server does not take holds up nothing but what needs it, is told, and is tried again."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.engine import asking, reconcile, taking
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError
from baas_operator.engine.gather import view_of
from baas_operator.engine.runtime import Runtime
from baas_operator.engine.store import Key
from baas_operator.policy.controllers import PLANNERS
from tests.unit.engine.picky import BUDGET, BUSY, DENIED, GATEWAY, HOOK, INVALID, LARGE, QUOTA, Shop, everything
from tests.unit.objects import NAMESPACE


@pytest.mark.parametrize("error", [QUOTA, INVALID, LARGE, DENIED])
async def test_what_is_refused_is_told_and_all_else_is_there(error: ApiError) -> None:
    shop = Shop()
    shop.refuse(BUDGET, error)

    outcome = await shop.reconcile()

    assert shop.names() == await everything() - {BUDGET}
    assert GATEWAY in shop.names()
    reason, message = shop.told("Stalled") or ("", "")
    assert reason == "Rejected"
    assert message == f"The API server refused PodDisruptionBudget 'shop-gateway': {error.message}."
    assert shop.told("Ready") == ("Rejected", message)
    assert outcome.failed, "it is tried again with back-off"
    assert outcome.after is None or outcome.after > 1.0


@pytest.mark.parametrize("error", [HOOK, BUSY, TimeoutError()])
async def test_what_is_not_taken_for_now_is_told_and_all_else_is_there(error: Exception) -> None:
    shop = Shop()
    shop.refuse(BUDGET, error)

    outcome = await shop.reconcile()

    assert shop.names() == await everything() - {BUDGET}
    reason, message = shop.told("Reconciling") or ("", "")
    assert reason == "ApiServerFails"
    assert "PodDisruptionBudget 'shop-gateway'" in message
    assert "It is tried again." in message
    if isinstance(error, ApiError):
        assert error.message in message
    assert shop.told("Stalled") is None, "nobody has to act"
    assert outcome.failed


async def test_it_is_there_as_soon_as_it_is_taken_and_nothing_is_told_any_more() -> None:
    shop = Shop()
    shop.refuse(BUDGET, QUOTA)
    await shop.reconcile()
    shop.api.refuses.clear()

    outcome = await shop.reconcile()

    assert shop.has(BUDGET)
    assert shop.api.asked == [BUDGET], "all else was there"
    assert shop.told("Stalled") is None
    assert (shop.told("Ready") or ("",))[0] == "DatabaseNotReady"
    assert not outcome.failed


@pytest.mark.parametrize(
    "what", [("ConfigMap", "shop-gateway"), ("ServiceAccount", "shop-gateway"), ("NetworkPolicy", "shop-default-deny")]
)
async def test_what_needs_it_waits_for_it(what: tuple[str, str]) -> None:
    """Pods that start without a file do not start, or would not be rolled when it comes; those without a policy are open to all."""
    shop = Shop()
    shop.refuse(what, QUOTA)

    await shop.reconcile()

    assert not shop.has(GATEWAY)
    assert shop.has(("Service", "shop-gateway"))
    assert shop.has(("DatabaseReplica", "shop-db"))
    assert "as it needs that: Deployment 'shop-gateway'" in (shop.told("Stalled") or ("", ""))[1]

    shop.api.refuses.clear()
    await shop.reconcile()
    assert shop.has(GATEWAY)


async def test_a_backend_is_not_shut_while_what_opens_it_is_refused() -> None:
    shop = Shop(isolation={"networkPolicy": False})
    await shop.reconcile()
    shop.edit()
    shop.refuse(("NetworkPolicy", "shop-gateway"), INVALID)

    for _ in range(2):
        await shop.reconcile()
        assert shop.has(("NetworkPolicy", "shop-auth"))
        assert not shop.has(("NetworkPolicy", "shop-default-deny"))
    shop.api.refuses.clear()
    await shop.reconcile()
    assert shop.has(("NetworkPolicy", "shop-default-deny"))


async def test_a_backend_is_opened_before_what_opened_its_parts_goes() -> None:
    shop = Shop()
    await shop.reconcile()
    shop.edit(isolation={"networkPolicy": False})
    shop.api.writes.clear()
    await shop.reconcile()

    gone = [name for verb, name in shop.api.writes if verb == "delete" and name.startswith("NetworkPolicy/")]
    assert len(gone) > 5
    assert gone[0] == "NetworkPolicy/shop-default-deny"


async def test_what_others_put_beside_the_api_keys_takes_no_component_away() -> None:
    """The set, the longest value of that Secret, was not kept beside so much, and a backend without a set has no components."""
    shop = Shop()
    await shop.reconcile()
    assert shop.has(GATEWAY)
    changed = copy.deepcopy(shop.api.objects[Key("Secret", NAMESPACE, "shop-api-keys")])
    changed["data"] |= {f"of-another-{number}": "eA==" * 25 for number in range(150)}
    changed["metadata"]["resourceVersion"] = "9500"
    shop.api.objects[Key("Secret", NAMESPACE, "shop-api-keys")] = changed
    shop.store.put(copy.deepcopy(changed))
    shop.api.writes.clear()

    await shop.reconcile()

    assert [each for each in shop.api.writes if each[0] == "delete"] == []
    assert shop.has(GATEWAY)


async def test_all_that_are_refused_are_told_and_a_refusal_comes_before_what_passes() -> None:
    shop = Shop()
    shop.refuse(("NetworkPolicy", "shop-auth"), HOOK)
    shop.refuse(BUDGET, QUOTA)
    shop.refuse(("Service", "shop-gateway"), INVALID)

    await shop.reconcile()

    reason, message = shop.told("Stalled") or ("", "")
    assert reason == "Rejected"
    places = [message.find(each) for each in ("refused Service", "refused PodDisruptionBudget", "did not take NetworkPolicy")]
    assert -1 not in places
    assert places == sorted(places)
    assert shop.told("Reconciling") is None


async def test_nothing_is_taken_away_meanwhile_as_its_successor_may_be_what_is_refused() -> None:
    shop = Shop(hosts=["api.shop.example"], components={"gateway": {"ingress": {}}})
    await shop.reconcile()
    assert shop.has(("Ingress", "shop-gateway"))
    changed = copy.deepcopy(shop.api.objects[shop.key])
    changed["spec"] = {"hosts": ["api.shop.example"]}
    changed["metadata"]["resourceVersion"] = "9000"
    shop.api.objects[shop.key] = changed
    shop.store.put(copy.deepcopy(changed))
    live = copy.deepcopy(shop.api.objects[Key("Service", NAMESPACE, "shop-gateway")])
    live["spec"]["ports"] = []
    live["metadata"]["resourceVersion"] = "9001"
    shop.store.put(live)
    shop.refuse(("Service", "shop-gateway"), QUOTA)

    await shop.reconcile()
    assert shop.has(("Ingress", "shop-gateway"))

    shop.api.refuses.clear()
    await shop.reconcile()
    assert not shop.has(("Ingress", "shop-gateway"))


async def test_a_secret_that_is_refused_stops_what_is_made_of_it_but_no_other_secret() -> None:
    shop = Shop(EVENT_QUEUE, "mq")
    shop.refuse(("Secret", "mq-user-admin"), QUOTA)

    await shop.reconcile()

    assert shop.has(("Secret", "mq-user-app"))
    assert not shop.has(("StatefulSet", "mq"))
    assert (shop.told("Stalled") or ("", ""))[1] == f"The API server refused Secret 'mq-user-admin': {QUOTA.message}."


async def test_a_secret_that_a_webhook_refuses_as_if_it_were_there_is_told_and_not_asked_for_all_the_time() -> None:
    shop = Shop(EVENT_QUEUE, "mq")
    shop.refuse(("Secret", "mq-user-admin"), DENIED)
    outcome = await shop.reconcile()
    assert (shop.told("Stalled") or ("", ""))[1] == f"The API server refused Secret 'mq-user-admin': {DENIED.message}."
    assert outcome.failed
    assert outcome.after == 30.0


async def test_what_is_not_wanted_any_more_is_told_no_more() -> None:
    shop = Shop(hosts=["api.shop.example"], components={"gateway": {"ingress": {}}})
    shop.refuse(("Ingress", "shop-gateway"), QUOTA)
    await shop.reconcile()
    assert "Ingress" in (shop.told("Stalled") or ("", ""))[1]
    changed = copy.deepcopy(shop.api.objects[shop.key])
    changed["spec"] = {}
    changed["metadata"]["resourceVersion"] = "9000"
    shop.store.put(changed)

    assert not (await shop.reconcile()).failed
    assert shop.told("Stalled") is None


async def test_what_can_not_be_read_is_told() -> None:
    env = [{"name": "A", "secret": {"name": "theirs", "key": "a"}}]
    shop = Shop(jobs=[{"name": "clean", "image": "clean:1", "schedule": "0 3 * * *", "env": env}])
    shop.refuse(("GET", "theirs"), ApiError(403, "Forbidden", 'secrets "theirs" is forbidden'))

    outcome = await shop.reconcile()

    assert outcome.failed
    assert shop.told("Reconciling") == (
        "ApiServerFails", 'The API server answered 403 Forbidden: secrets "theirs" is forbidden. It is tried again.'
    )  # fmt: skip


async def test_it_is_tried_again_with_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    shop.refuse(BUDGET, QUOTA)
    one = Runtime(cast(Client, shop.api), Config(resync_seconds=3600.0))
    one.store = shop.store
    one._reconciler = shop._reconciler
    asked = asyncio.Event()
    paused: list[float] = []
    add_failed = one.queue.add_failed

    def noted(key: Key) -> float:
        paused.append(add_failed(key))
        if len(paused) == 3:
            asked.set()
        return paused[-1]

    monkeypatch.setattr(one.queue, "add_failed", noted)
    one.queue.add(shop.key)
    running = asyncio.create_task(one.work())
    await asyncio.wait_for(asked.wait(), 10.0)
    running.cancel()
    await asyncio.wait({running})
    assert paused[0] < paused[1] < paused[2]


async def test_what_is_decided_knows_of_it_and_of_what_waits_for_it() -> None:
    shop = Shop()
    shop.refuse(("ConfigMap", "shop-gateway"), QUOTA)
    await shop.reconcile()
    assert view_of(shop.store, shop.api.objects[shop.key], Config()).untaken == {("ConfigMap", "shop-gateway"), GATEWAY}
    shop.store.drop(shop.api.objects[shop.key])
    assert shop.store.failing == shop.store.untaken == {}


async def test_it_is_not_tried_by_each_turn_that_looks_whether_an_operand_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such come ten times a second, as long as the operand hangs."""
    shop, answers = Shop(), asyncio.Event()

    async def ask(_: Any) -> None:
        await answers.wait()

    monkeypatch.setattr(asking, "_MOMENT_SECONDS", 0.01)
    monkeypatch.setattr(reconcile, "ask_operands", ask)
    shop.refuse(BUDGET, QUOTA)
    await shop.reconcile()
    assert BUDGET in shop.api.asked
    for _ in range(5):
        assert (await shop.reconcile()).failed
        assert shop.api.asked == []
    answers.set()
    await shop.reconcile()
    assert "PodDisruptionBudget" in (shop.told("Stalled") or ("", ""))[1]
    shop.api.refuses.clear()
    await shop.reconcile()
    assert shop.has(BUDGET)


async def test_nothing_is_remembered_of_an_object_that_is_deleted_meanwhile() -> None:
    shop = Shop()
    shop.refuse(BUDGET, QUOTA)
    resource = shop.store.get(*shop.key)
    assert resource
    one = taking.Taking(cast(Client, shop.api), shop.store, shop.key)
    manifests = PLANNERS[shop.key.kind](view_of(shop.store, resource, Config())).manifests
    shop.store.drop(resource)
    await one.apply(manifests)
    assert shop.store.failing == shop.store.untaken == {}
