"""The runtime: a reconcile that hangs ends and does no harm, and watches are judged by what they really do not bring."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, CONFIG_MAP, DATABASE_REPLICA, EVENT_QUEUE, OPERATION, Kind
from baas_operator.desired.meta import KIND_LABEL, NAME_LABEL, Manifest
from baas_operator.engine import runtime
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError
from baas_operator.engine.reconcile import Outcome, Reconciler
from baas_operator.engine.runtime import Runtime
from baas_operator.engine.store import Key, key_of
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, nodes, own

SOON = 5.0
QUEUE = Key(EVENT_QUEUE.name, NAMESPACE, "mq")


class HangingApi(StandInApi):
    """A stand-in which does what it is asked for the n-th time, and then never answers; every other answer is given."""

    def __init__(self, hangs_at: int | None = None) -> None:
        super().__init__()
        self.left = hangs_at
        self.hangs = asyncio.Event()

    def _put(self, verb: str, key: Key, found: Manifest) -> Manifest:
        made = super()._put(verb, key, found)
        if self.left is not None:
            self.left -= 1
        return made

    async def _answer(self) -> None:
        if self.left == 0:
            self.left = None
            self.hangs.set()
            await asyncio.Event().wait()

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        made = await super().apply(kind, manifest, subresource=subresource)
        await self._answer()
        return made

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        made = await super().create(kind, manifest)
        await self._answer()
        return made


def runtime_of(api: StandInApi) -> Runtime:
    made = Runtime(cast(Client, api), Config(resync_seconds=3600.0))
    for each in nodes(*ZONES).values():
        made.store.put(each)
    api.objects[QUEUE] = own(EVENT_QUEUE, "mq")
    made.store.put(copy.deepcopy(api.objects[QUEUE]))
    return made


@asynccontextmanager
async def at_work(one: Runtime) -> AsyncIterator[None]:
    running = asyncio.create_task(one.work())
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_reconcile_that_hangs_is_cut_off_tried_again_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "_RECONCILE_SECONDS", 0.02)
    asked = 0
    again = asyncio.Event()

    async def hangs(_: Reconciler, __: Key) -> Outcome:
        nonlocal asked
        asked += 1
        if asked == 2:
            again.set()
            return Outcome()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    monkeypatch.setattr(Reconciler, "reconcile", hangs)
    one = runtime_of(StandInApi())
    one.queue.add(QUEUE)
    with caplog.at_level(logging.WARNING):
        async with at_work(one):
            await asyncio.wait_for(again.wait(), SOON)

    assert "it was not over after 0 s, and was cut off" in caplog.text
    assert "reconcile failed, again in 0." in caplog.text


async def test_an_objects_own_timeout_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_answer(_: Reconciler, __: Key) -> Outcome:
        raise TimeoutError("the API server did not answer")

    monkeypatch.setattr(Reconciler, "reconcile", no_answer)
    with pytest.raises(TimeoutError, match="the API server did not answer"):
        await runtime_of(StandInApi())._reconcile(QUEUE)


def content_of(api: StandInApi) -> dict[Key, object]:
    """What is there, but for what is drawn: versions, times, passwords."""

    def told(resource: Manifest) -> list[tuple[str, str]]:
        return [(each["type"], each["reason"]) for each in (resource.get("status") or {}).get("conditions") or []]

    return {key: (each.get("spec"), sorted(each.get("data") or {}), told(each)) for key, each in api.objects.items() if key.kind != "Event"}


async def test_a_reconcile_that_is_cut_off_after_any_write_is_made_good_by_the_next() -> None:
    """The write has happened, and nobody was told: neither the store nor whoever asked."""
    whole = HangingApi()
    await runtime_of(whole)._reconcile(QUEUE)
    writes = len(whole.writes)
    assert writes > 5

    for number in range(1, writes + 1):
        api = HangingApi(hangs_at=number)
        one = runtime_of(api)
        cut_off = asyncio.create_task(one._reconcile(QUEUE))
        await asyncio.wait_for(api.hangs.wait(), SOON)
        cut_off.cancel()  # as the deadline does
        await asyncio.wait({cut_off}, timeout=SOON)
        assert cut_off.cancelled()
        secrets = {key: each["data"] for key, each in api.objects.items() if key.kind == "Secret"}

        for _ in range(3):
            await one._reconcile(QUEUE)

        assert content_of(api) == content_of(whole), f"cut off after write {number}"
        assert all(api.objects[key]["data"] == data for key, data in secrets.items()), "no password is drawn twice"


def child(version: str, **data: str) -> Manifest:
    labels = {KIND_LABEL: EVENT_QUEUE.name, NAME_LABEL: "mq"}
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": "mq-x", "namespace": NAMESPACE, "uid": "u", "resourceVersion": version, "labels": labels},
    }  # fmt: skip


async def listed(one: Runtime, monkeypatch: pytest.MonkeyPatch, *found: Manifest) -> None:
    """A full list finds these ConfigMaps, beside what the store has of other kinds."""

    async def answer(kind: Kind) -> list[Manifest]:
        return [copy.deepcopy(each) for each in (found if kind == CONFIG_MAP else one.store.of_kind(kind.name))]

    monkeypatch.setattr(one, "_list", answer)
    await one.resync(everything=True)


class NamespacedApi(StandInApi):
    """A stand-in that lets the operator into namespace `shop` alone."""

    async def list(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> list[Manifest]:
        if namespace != "shop" and kind.namespaced:
            raise ApiError(403, "Forbidden", f"cannot list {kind.plural} in {namespace}")
        return [copy.deepcopy(each) for key, each in self.objects.items() if key.kind == kind.name]


@pytest.mark.parametrize("other", [None, {"deletionTimestamp": "2026-05-01T12:00:00Z"}])
async def test_a_namespace_that_is_deleted_takes_no_other_with_it(other: dict[str, str] | None) -> None:
    """Its RoleBinding goes with it, so that what is in it can not be listed any more."""
    api = NamespacedApi()
    mine = own(EVENT_QUEUE, "mq")
    mine["metadata"]["namespace"] = "shop"
    api.objects[Key(EVENT_QUEUE.name, "shop", "mq")] = mine
    if other:
        api.objects[Key("Namespace", "", "blog")] = {"metadata": {"name": "blog"} | other}
    one = Runtime(cast(Client, api), Config(namespaces=("shop", "blog")))

    await one.resync(everything=True)

    assert [key_of(each) for each in one.store.of_kind(EVENT_QUEUE.name)] == [Key(EVENT_QUEUE.name, "shop", "mq")]


async def test_a_namespace_that_the_operator_is_not_let_into_is_told() -> None:
    api = NamespacedApi()
    api.objects[Key("Namespace", "", "blog")] = {"metadata": {"name": "blog"}}

    with pytest.raises(ApiError, match="Forbidden"):
        await Runtime(cast(Client, api), Config(namespaces=("shop", "blog"))).resync(everything=True)


async def test_a_change_that_was_on_its_way_when_the_list_saw_it_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    one = runtime_of(StandInApi())
    for number in range(2, 12, 2):
        await listed(one, monkeypatch, child(str(number), changed=str(number)))
        one.event(child(str(number), changed=str(number)), deleted=False)
        one._judge_watches()
    await listed(one, monkeypatch)
    one.event(child("12", changed="last"), deleted=True)
    one._judge_watches()

    assert one.alive
    assert one._missed == 0


async def test_watches_that_bring_nothing_are_dead_after_three_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    one = runtime_of(StandInApi())
    for number in range(2, 5):
        assert one.alive
        await listed(one, monkeypatch, child(str(number), changed=str(number)))
        one._judge_watches()

    assert not one.alive


async def test_watches_are_judged_a_while_after_the_list_and_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = runtime_of(StandInApi())
    slept: list[float] = []
    missed: list[int] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        missed.append(one._missed)
        if len(slept) == 2:
            one.event(child("2", changed="late"), deleted=False)
        if len(slept) == 3:
            raise asyncio.CancelledError

    async def answer(kind: Kind) -> list[Manifest]:
        return [child("2", changed="late")] if kind == CONFIG_MAP else list(one.store.of_kind(kind.name))

    monkeypatch.setattr(one, "_list", answer)
    monkeypatch.setattr(runtime.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await one._resync_loop()

    assert slept == [10.0, 30.0, 3570.0]
    assert missed == [0, 0, 0]


async def test_what_becomes_of_an_operation_is_news_for_its_database() -> None:
    one = runtime_of(StandInApi())
    database = own(DATABASE_REPLICA, "db", status={"observedGeneration": 1})
    one.store.put(database)

    one.event(own(OPERATION, "mine", {"target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover"}), deleted=False)

    assert {await one.queue.get(), await one.queue.get()} == {
        Key(OPERATION.name, NAMESPACE, "mine"),
        Key("DatabaseReplica", NAMESPACE, "db"),
    }


async def test_what_the_operator_itself_says_of_a_database_is_news_for_its_backends() -> None:
    """It is in the store before the watch brings it, which finds it known."""
    api = StandInApi()
    made = runtime_of(api)
    database, instance = Key(DATABASE_REPLICA.name, NAMESPACE, "shop-db"), Key(BAAS_INSTANCE.name, NAMESPACE, "shop")
    for key, kind in ((database, DATABASE_REPLICA), (instance, BAAS_INSTANCE)):
        api.objects[key] = own(kind, key.name)
        made.store.put(copy.deepcopy(api.objects[key]))
    seen: list[Key] = []

    class Told:
        async def reconcile(self, key: Key) -> Outcome:
            seen.append(key)
            return Outcome(told=key == database)

    made._reconciler = cast(Reconciler, Told())
    made.queue.add(database)
    working = asyncio.create_task(made._worker())
    async with asyncio.timeout(SOON):
        while instance not in seen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    working.cancel()
    assert seen == [database, instance]
