"""Kinds that only some clusters have: what is made of them when they come, and what becomes of that."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, CERTIFICATE, HTTP_ROUTE, NODE, OPTIONAL_KINDS, POD_MONITOR, Kind
from baas_operator.desired.meta import KIND_LABEL, Manifest
from baas_operator.engine import runtime
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError
from baas_operator.engine.reconcile import Reconciler
from baas_operator.engine.runtime import Runtime
from baas_operator.engine.store import Key
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, nodes, own

SHOP = Key(BAAS_INSTANCE.name, NAMESPACE, "shop")
SPEC = {"hosts": ["api.shop.example"], "components": {"gateway": {"httpRoute": {"name": "public"}, "tls": {"issuerRef": {"name": "ours"}}}}}
ROUTE = Key(HTTP_ROUTE.name, NAMESPACE, "shop-gateway")


class Cluster(StandInApi):
    """A stand-in for an API server that has some of the optional kinds."""

    def __init__(self, *kinds: Kind) -> None:
        super().__init__()
        self.has = set(kinds)
        self.ill: set[Kind] = set()
        self.listed: list[tuple[str, str]] = []

    async def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, repeat: bool = False) -> dict[str, Any]:
        """Discovery."""
        for kind in OPTIONAL_KINDS:
            if path == f"/apis/{kind.api_version}" and kind in self.has:
                if kind in self.ill:
                    raise ApiError(503, "ServiceUnavailable", "not now")
                return {"kind": "APIResourceList", "resources": [{"name": kind.plural}, {"name": f"{kind.plural}/status"}]}
        raise ApiError(404, "NotFound", "no such group")

    async def list(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> list[Manifest]:
        self.listed.append((kind.name, selector))
        if kind in OPTIONAL_KINDS and (kind not in self.has or kind in self.ill):
            raise ApiError(404 if kind not in self.has else 503, "NotFound", "no such resource")
        return [copy.deepcopy(each) for key, each in self.objects.items() if key.kind == kind.name]

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        if kind in OPTIONAL_KINDS and kind not in self.has:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return await super().apply(kind, manifest, subresource=subresource)


class World:
    """A leading operator over it, and a backend that asks for a route and a certificate."""

    def __init__(self, *kinds: Kind, config: Config | None = None) -> None:
        self.api = Cluster(*kinds)
        self.api.objects[SHOP] = own(BAAS_INSTANCE, "shop", copy.deepcopy(SPEC))
        for each in nodes(*ZONES).values():
            self.api.objects[Key(NODE.name, "", each["metadata"]["name"])] = each
        self.lead(config or Config())

    def lead(self, config: Config) -> None:
        """A new process, which knows nothing."""
        self.runtime = Runtime(cast(Client, self.api), config)
        self.reconciler = Reconciler(cast(Client, self.api), self.runtime.store, config)

    async def begin(self) -> None:
        await self.runtime.discover()
        await self.runtime.resync(everything=True)
        await self.reconcile()

    async def reconcile(self) -> list[tuple[str, str]]:
        self.api.writes.clear()
        await self.reconciler.reconcile(SHOP)
        return [each for each in self.api.writes if each[1].split("/")[0] in {kind.name for kind in OPTIONAL_KINDS}]

    async def waits(self) -> set[Key]:
        found = set()
        while len(self.runtime.queue):
            found.add(key := await self.runtime.queue.get())
            self.runtime.queue.done(key)
        return found

    def there(self) -> set[str]:
        return {key.kind for key in self.api.objects if key.kind in {kind.name for kind in OPTIONAL_KINDS}}


async def test_nothing_is_asked_of_kinds_that_the_cluster_lacks() -> None:
    world = World()
    await world.begin()

    assert world.there() == set()
    assert not {name for name, _ in world.api.listed} & {kind.name for kind in OPTIONAL_KINDS}
    assert world.runtime.store.served == frozenset()


async def test_what_was_asked_for_is_made_when_the_kind_comes_and_others_are_not_touched() -> None:
    world = World(POD_MONITOR)
    await world.begin()
    assert world.there() == {"PodMonitor"}
    await world.waits()

    world.api.has |= {HTTP_ROUTE, CERTIFICATE}
    await world.runtime.discover()

    assert await world.waits() == {SHOP}, "the backend is looked at anew"
    assert await world.reconcile() == [("apply", "Certificate/shop-gateway"), ("apply", "HTTPRoute/shop-gateway")]
    assert await world.reconcile() == []
    await world.runtime.discover()
    assert await world.waits() == set(), "nothing new, nothing to do"
    assert ("HTTPRoute", KIND_LABEL) in world.api.listed, "those of others stay where they are"


async def test_another_leader_finds_them_and_writes_nothing() -> None:
    world = World(*OPTIONAL_KINDS)
    await world.begin()
    world.lead(Config())
    await world.begin()
    assert await world.reconcile() == []


async def test_what_is_not_asked_for_any_more_goes_and_comes_back_when_it_is() -> None:
    world = World(*OPTIONAL_KINDS)
    await world.begin()

    def ask(spec: Manifest) -> None:
        now = world.api.objects[SHOP] | {"spec": copy.deepcopy(spec)}
        now["metadata"] = now["metadata"] | {"resourceVersion": "900" if spec else "800", "generation": 7}
        world.api.objects[SHOP] = now
        world.runtime.store.put(copy.deepcopy(now))

    ask({})
    assert sorted(await world.reconcile()) == [("delete", "Certificate/shop-gateway"), ("delete", "HTTPRoute/shop-gateway")]
    assert await world.reconcile() == [], "no watch says that it is gone, and it is not asked for again"
    ask(SPEC)
    assert ("apply", "HTTPRoute/shop-gateway") in await world.reconcile()
    assert ROUTE in world.api.objects


async def test_what_is_changed_or_deleted_by_hand_is_put_back_with_the_next_resync() -> None:
    world = World(*OPTIONAL_KINDS)
    await world.begin()
    live = world.api.objects[ROUTE]
    live["spec"]["hostnames"] = ["evil.example"]
    live["metadata"]["resourceVersion"] = "5000"
    del world.api.objects[Key(CERTIFICATE.name, NAMESPACE, "shop-gateway")]

    await world.runtime.resync(everything=False)

    assert SHOP in await world.waits()
    assert await world.reconcile() == [("apply", "Certificate/shop-gateway"), ("apply", "HTTPRoute/shop-gateway")]
    assert world.api.objects[ROUTE]["spec"]["hostnames"] == ["api.shop.example"]


async def test_changes_that_no_watch_could_have_told_of_are_not_held_against_the_watches() -> None:
    world = World(*OPTIONAL_KINDS)
    await world.begin()
    for count in range(5):
        world.api.objects[ROUTE]["spec"]["hostnames"] = [f"{count}.example"]
        world.api.objects[ROUTE]["metadata"]["resourceVersion"] = str(5000 + count)
        await world.runtime.resync(everything=False)
        world.runtime._unseen -= {SHOP}
        world.runtime._judge_watches()
    assert world.runtime.alive


async def test_when_the_kind_is_taken_away_the_backend_is_reconciled_without_it() -> None:
    world = World(*OPTIONAL_KINDS)
    await world.begin()
    await world.waits()
    world.api.has.remove(HTTP_ROUTE)
    for key in [key for key in world.api.objects if key.kind == HTTP_ROUTE.name]:
        del world.api.objects[key]

    await world.runtime.discover()

    assert SHOP in await world.waits()
    assert await world.reconcile() == []
    assert world.runtime.store.get(*ROUTE) is None


@pytest.mark.parametrize("at", ["discover", "list"])
async def test_a_kind_that_does_not_answer_holds_up_nothing_and_loses_nothing(at: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World(*OPTIONAL_KINDS)
    await world.begin()
    world.api.ill = {HTTP_ROUTE}

    await (world.runtime.discover() if at == "discover" else world.runtime.resync(everything=True))

    assert "optional kind" in caplog.text
    assert world.runtime.store.served == {kind.name for kind in OPTIONAL_KINDS}
    assert await world.reconcile() == []
    assert ROUTE in world.api.objects


async def test_podmonitors_are_left_out_where_the_chart_says_so_and_have_its_labels_elsewhere() -> None:
    world = World(*OPTIONAL_KINDS, config=Config(pod_monitors=False))
    await world.begin()
    assert world.there() == {"HTTPRoute", "Certificate"}

    world.lead(Config(monitoring_labels={"release": "x"}))
    await world.begin()
    made = [each for key, each in world.api.objects.items() if key.kind == POD_MONITOR.name]
    assert made
    assert all(each["metadata"]["labels"]["release"] == "x" for each in made)


async def test_a_leader_asks_anew_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime._DISCOVER_SECONDS <= 60
    monkeypatch.setattr(runtime, "_DISCOVER_SECONDS", 0.01)
    world = World()
    world.api.objects.pop(SHOP)
    await world.begin()
    world.api.has.add(POD_MONITOR)
    work = asyncio.create_task(world.runtime.work())
    for _ in range(500):
        if world.runtime.store.served:
            break
        await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert world.runtime.store.served == {"PodMonitor"}
