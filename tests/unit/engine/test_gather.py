"""What a decision is shown: beside the object and its children, the Operations that are on the same database."""

from __future__ import annotations

import asyncio

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.engine import monitor
from baas_operator.engine.config import Config
from baas_operator.engine.gather import ask_operands, dependents, view_of
from baas_operator.engine.store import Key, Store
from baas_operator.observe.probes import Probed, ProberReport
from tests.unit.objects import own, owner, pod


def operation(name: str, database: str, phase: str | None = None) -> Manifest:
    spec = {"target": {"kind": "DatabaseReplica", "name": database}, "action": "switchover"}
    return own(OPERATION, name, spec, status={"phase": phase} if phase else {})


@pytest.fixture
def store() -> Store:
    made = Store()
    for each in (
        own(DATABASE_REPLICA, "db"), operation("db", "db"), operation("done", "db", "Succeeded"), operation("waits", "db"),
        operation("elsewhere", "other"),
    ):  # fmt: skip
        made.put(each)
    return made


def operations_in_view(store: Store, kind: str, name: str) -> set[str]:
    resource = store.get(kind, "prod", name)
    assert resource
    return {name for kind, name in view_of(store, resource, Config()).others if kind == OPERATION.name}


def test_a_database_is_shown_the_operations_on_it_whoever_made_them_and_whatever_they_are_called(store: Store) -> None:
    assert operations_in_view(store, "DatabaseReplica", "db") == {"db", "done", "waits"}


def test_an_operation_is_shown_the_others_until_it_is_over(store: Store) -> None:
    assert operations_in_view(store, "Operation", "waits") == {"db", "done"}
    assert operations_in_view(store, "Operation", "done") == set()


def test_a_queue_is_shown_the_databases_of_its_outboxes_and_hears_of_them(store: Store) -> None:
    outboxes = [{"name": each, "databaseRef": {"name": each}, "database": "shop", "stream": "orders"} for each in ("db", "gone")]
    store.put(own(EVENT_QUEUE, "mq", {"streams": [{"name": "orders", "subjects": ["orders.>"]}], "outboxes": outboxes}))
    store.put(own(EVENT_QUEUE, "other"))
    resource = store.get("EventQueue", "prod", "mq")
    assert resource
    assert {key for key in view_of(store, resource, Config()).others if key[0] == "DatabaseReplica"} == {("DatabaseReplica", "db")}
    told = dependents(store, Key("DatabaseReplica", "prod", "db"))
    assert [each.name for each in told if each.kind == "EventQueue"] == ["mq"]


async def test_of_a_backend_the_probers_that_are_ready_are_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def prober_report(host: str) -> ProberReport | None:
        asked.append(host)
        return ProberReport() if host == "10.0.0.1" else None

    monkeypatch.setattr(monitor, "prober_report", prober_report)
    shop = own(BAAS_INSTANCE, "shop")
    store.put(shop)
    for index, ready in enumerate((True, True, False)):
        store.put(pod(owner(BAAS_INSTANCE, "shop"), f"shop-prober-{index}", "prober", on="node", ready=ready, ip=f"10.0.0.{index + 1}"))
    store.put(pod(owner(BAAS_INSTANCE, "shop"), "shop-rest-0", "rest", on="node", ip="10.0.0.9"))

    said = await ask_operands(view_of(store, shop, Config()))

    assert asked == ["10.0.0.1", "10.0.0.2"]
    assert said == Probed({"shop-prober-0": ProberReport(), "shop-prober-1": None})


async def test_a_thousand_that_say_they_are_probers_are_asked_a_few_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = most = 0

    async def report(_: str) -> ProberReport:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return ProberReport()

    monkeypatch.setattr(monitor, "prober_report", report)
    resource = own(BAAS_INSTANCE, "shop")
    store.put(resource)
    for number in range(1000):
        store.put(pod(owner(BAAS_INSTANCE, "shop"), f"forged-{number}", "prober", on=None, ip="192.0.2.1"))
    found = await ask_operands(view_of(store, resource, Config()))
    assert isinstance(found, Probed)
    assert len(found.reports) == 1000
    assert most <= 8
