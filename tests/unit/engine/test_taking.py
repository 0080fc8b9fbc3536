"""An object that the API server does not take holds up nothing but what needs it, is told, and is tried again."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE, Kind
from baas_operator.desired.key_set import KeySet
from baas_operator.desired.meta import Manifest
from baas_operator.engine import asking, reconcile, taking
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError, Failing
from baas_operator.engine.gather import view_of
from baas_operator.engine.reconcile import Outcome, Reconciler
from baas_operator.engine.runtime import Runtime
from baas_operator.engine.store import Key, Store
from baas_operator.observe.keys import read_key_set
from baas_operator.policy.controllers import PLANNERS
from baas_operator.policy.queue.plan import plan_queue
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, nodes, own

QUOTA = ApiError(403, "Forbidden", 'poddisruptionbudgets "x" is forbidden: exceeded quota: tight, used: 3, limited: 3')
INVALID = ApiError(422, "Invalid", "spec.template.spec.containers[0].env[0].name: Invalid value")
LARGE = ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
HOOK = ApiError(500, "InternalError", 'failed calling webhook "policy.example": connection refused')
BUSY = ApiError(429, "TooManyRequests", "the server has received too many requests")
DENIED = ApiError(409, "Conflict", 'admission webhook "policy.example" denied the request: no budgets here')
BUDGET, GATEWAY = ("PodDisruptionBudget", "shop-gateway"), ("Deployment", "shop-gateway")


class PickyApi(StandInApi):
    """A stand-in that does not take some objects. `asked`: what it was asked to write, whether it took it or not."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: dict[tuple[str, str], Exception] = {}
        self.asked: list[tuple[str, str]] = []

    def _look(self, kind: Kind, name: str) -> None:
        if kind.name != "Event":
            self.asked.append((kind.name, name))
        if (kind.name, name) in self.refuses:
            raise self.refuses[kind.name, name]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        if ("GET", name) in self.refuses:
            raise self.refuses["GET", name]
        return await super().get(kind, namespace, name)

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        if subresource is None:
            self._look(kind, manifest["metadata"]["name"])
        return await super().apply(kind, manifest, subresource=subresource)

    async def merge(self, kind: Kind, namespace: str | None, name: str, patch: dict[str, Any]) -> Manifest:
        self._look(kind, name)
        return await super().merge(kind, namespace, name, patch)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        self._look(kind, manifest["metadata"]["name"])
        return await super().create(kind, manifest)


class Shop:
    """A backend, and its operator."""

    def __init__(self, kind: Any = BAAS_INSTANCE, name: str = "shop", **spec: Any) -> None:
        self.api, self.store = PickyApi(), Store()
        for each in nodes(*ZONES).values():
            self.store.put(each)
        self.key = Key(kind.name, NAMESPACE, name)
        self.api.objects[self.key] = own(kind, name, spec)
        self.store.put(copy.deepcopy(self.api.objects[self.key]))
        self._reconciler = Reconciler(cast(Client, self.api), self.store, Config())

    async def reconcile(self) -> Outcome:
        self.api.asked.clear()
        return await self._reconciler.reconcile(self.key)

    @property
    def keys(self) -> KeySet:
        """Its signing keys."""
        found = read_key_set(self.api.objects[Key("Secret", NAMESPACE, "shop-signing-key")])
        assert found
        return found

    def revoke_its_key(self) -> str:
        """Somebody revokes the key that signs."""
        changed = copy.deepcopy(self.api.objects[self.key])
        changed["spec"] = {"keys": {"revoked": [self.keys.current.kid]}}
        changed["metadata"]["resourceVersion"] = "9000"
        self.api.objects[self.key] = changed
        self.store.put(copy.deepcopy(changed))
        return self.keys.current.kid

    def refuse(self, what: tuple[str, str], error: Exception) -> None:
        self.api.refuses[what] = error

    def has(self, what: tuple[str, str]) -> bool:
        return Key(what[0], NAMESPACE, what[1]) in self.api.objects

    def told(self, kind: str) -> tuple[str, str] | None:
        found = self.api.objects[self.key]["status"]["conditions"]
        return next(((each["reason"], each["message"]) for each in found if each["type"] == kind), None)

    def names(self) -> set[tuple[str, str]]:
        return {(key.kind, key.name) for key in self.api.objects if key.kind != "Event"}


async def everything(**spec: Any) -> set[tuple[str, str]]:
    shop = Shop(**spec)
    await shop.reconcile()
    return shop.names()


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
