"""How many dispatchers there are while messages wait, and what of them is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.kinds import DATABASE_REPLICA, DEPLOYMENT, EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.webhooks import Dispatcher
from baas_operator.desired.meta import Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.effects import bring_about
from baas_operator.engine.errors import ApiError
from baas_operator.engine.store import Store
from baas_operator.observe.dispatchers import DispatcherReport, OutboxReport
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View
from baas_operator.policy.dispatchers import (
    YOUNG_SECONDS,
    dispatchers_now,
    outboxes_databases,
    scale_dispatchers,
    told_of_webhooks,
    wanted_dispatchers,
)
from baas_operator.policy.plan import Scale
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, NOW, keyed, own, owner, pod
from tests.unit.policy.queue_model import ORDERS, Nats

MQ = owner(EVENT_QUEUE, "mq")
RULES = Dispatcher(replicas=2, max_replicas=6, backlog_per_replica=1000)
HOOK = {"name": "crm", "stream": "orders", "url": "https://crm.example/hook"}


def wanted(waiting: int | None, now: int, youngest: float | None = None) -> int:
    return wanted_dispatchers(RULES, waiting=waiting, now=now, youngest_seconds=youngest)


@pytest.mark.parametrize(("waiting", "count"), [(0, 2), (999, 2), (1000, 3), (3500, 5), (10**9, 6)])
def test_each_step_of_backlog_is_a_pod_more_at_once(waiting: int, count: int) -> None:
    assert wanted(waiting, 2, youngest=1.0) == count


def test_one_at_a_time_goes_and_not_before_half_a_step_is_worked_off() -> None:
    assert wanted(999, 3) == 3
    assert wanted(500, 3) == 3
    assert wanted(499, 3) == 2
    assert wanted(0, 6) == 5


def test_nothing_goes_while_one_is_young() -> None:
    assert wanted(0, 4, youngest=YOUNG_SECONDS - 1) == 4
    assert wanted(0, 4, youngest=YOUNG_SECONDS) == 3


def test_what_is_not_known_changes_nothing_but_what_the_spec_says_counts() -> None:
    assert wanted(None, 4) == 4
    assert wanted(None, 1) == 2
    assert wanted(None, 9) == 6


@given(st.integers(0, 10**5), st.integers(0, 20))
def test_a_backlog_that_stays_comes_to_rest(waiting: int, now: int) -> None:
    seen = [now]
    for _ in range(20):
        seen.append(wanted(waiting, seen[-1]))
    assert 2 <= seen[-1] <= 6
    assert seen[-1] == seen[-2]
    assert len({one < other for one, other in pairwise(seen[1:]) if one != other}) <= 1, "up or down, not both"
    assert seen[-1] >= min(6, 2 + waiting // 1000)


def deployment(replicas: int) -> Manifest:
    made = MQ.child("apps/v1", "Deployment", "mq-dispatcher", "dispatcher", spec={"replicas": replicas})
    made["metadata"]["resourceVersion"] = "7"
    return made


def dispatcher(name: str, age_seconds: float) -> Manifest:
    made = pod(MQ, name, "dispatcher", on="node-zone-a")
    made["metadata"]["creationTimestamp"] = to_text(NOW - timedelta(seconds=age_seconds))
    return made


def view(*children: Manifest, spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> View:
    return View(own(EVENT_QUEUE, "mq", spec, status=status), keyed(*children), {}, NOW)


def said(pending: int) -> DispatcherReport:
    return DispatcherReport.model_validate({"webhooks": [{"name": "crm", "state": "Closed", "pending": pending, "retrying": 0}]})


SPEC = EventQueueSpec.model_validate({
    "streams": [{"name": "orders", "subjects": ["orders.>"]}], "webhooks": [HOOK],
    "dispatcher": {"replicas": 2, "maxReplicas": 6, "backlogPerReplica": 1000},
})  # fmt: skip


def test_the_manifest_keeps_the_number_and_an_effect_changes_it() -> None:
    there = view(deployment(2), dispatcher("a", 60), dispatcher("b", 9000))
    assert dispatchers_now(SPEC, there) == 2
    assert scale_dispatchers(SPEC, there, [said(2500)]) == [Scale("Deployment", "mq-dispatcher", 4, "7")]
    grown = view(deployment(4), dispatcher("a", 60), dispatcher("b", 9000))
    assert dispatchers_now(SPEC, grown) == 4
    assert scale_dispatchers(SPEC, grown, [said(0)]) == [], "one is young"
    older = view(deployment(4), dispatcher("a", 600), dispatcher("b", 9000))
    assert scale_dispatchers(SPEC, older, [said(0)]) == [Scale("Deployment", "mq-dispatcher", 3, "7")]


def test_nobody_is_scaled_on_silence_or_before_there_are_any() -> None:
    assert scale_dispatchers(SPEC, view(deployment(4)), []) == []
    assert scale_dispatchers(SPEC, view(), [said(10**6)]) == []
    assert dispatchers_now(SPEC, view()) == 2


def test_while_none_answers_what_they_told_last_stays() -> None:
    status = {"webhooks": [{"name": "crm", "state": "Open", "reason": "503"}, {"name": "gone", "state": "Closed"}]}
    silent = view(dispatcher("a", 60), status=status)
    assert [(each.name, each.state) for each in told_of_webhooks(SPEC, silent, [])] == [("crm", "Open")]
    assert told_of_webhooks(SPEC, view(status=status), []) == [], "there are none that could say anything"
    assert [each.state for each in told_of_webhooks(SPEC, silent, [said(0)])] == ["Closed"]


def test_an_outbox_finds_the_databases_that_are_there() -> None:
    outboxes = [
        {"name": each, "databaseRef": {"name": each}, "database": "shop", "stream": "orders"} for each in ("db", "gone")
    ]  # fmt: skip
    spec = EventQueueSpec.model_validate({"streams": [{"name": "orders", "subjects": ["orders.>"]}], "outboxes": outboxes})
    database = own(DATABASE_REPLICA, "db", {"databases": [{"name": "shop"}]})
    seen = replace(view(), others={("DatabaseReplica", "db"): database})
    assert [(name, each.databases[0].name) for name, each in outboxes_databases(spec, seen).items()] == [("db", "shop")]


def test_the_plan_of_a_queue_tells_what_dispatchers_say_and_scales_them() -> None:
    outbox = {"name": "shop", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"}
    mq = Nats(ORDERS, webhooks=[HOOK], outboxes=[outbox], dispatcher={"replicas": 2, "maxReplicas": 6, "backlogPerReplica": 1000})
    mq.others = [deployment(3), dispatcher("mq-dispatcher-a", 600)]
    assert mq.jetstream
    relaying = {"name": "shop", "state": "relaying", "backlog": 4, "oldestSeconds": 9.5}
    report = said(4500).model_copy(update={"outboxes": [OutboxReport.model_validate(relaying)]})
    mq.jetstream = replace(mq.jetstream, dispatchers=(report,))

    plan = mq.plan()

    assert Scale("Deployment", "mq-dispatcher", 6, "7") in plan.effects
    (made,) = (each for each in plan.manifests if each["kind"] == "Deployment")
    assert made["spec"]["replicas"] == 3, "what is there stays until the effect changes it"
    (config,) = (each["data"]["dispatcher.json"] for each in plan.manifests if "dispatcher.json" in (each.get("data") or {}))
    assert json.loads(config)["replicas"] == 3, "so many share a rate"
    assert "There is no DatabaseReplica db" in json.loads(config)["outboxes"][0]["trouble"]
    assert plan.status["webhooks"] == [{"name": "crm", "state": "Closed", "pending": 4500}]
    assert plan.status["outboxes"] == [{"name": "shop", "state": "Relaying", "pending": 4, "oldestPendingSeconds": 9}]

    mq.jetstream = None
    assert not [each for each in mq.plan().effects if isinstance(each, Scale)]


async def test_a_deployment_is_scaled_only_as_it_was_seen() -> None:
    api, store = StandInApi(), Store()
    live = await api.create(DEPLOYMENT, deployment(2))
    version = live["metadata"]["resourceVersion"]
    await bring_about(Scale("Deployment", "mq-dispatcher", 5, version), view(), cast(Client, api), store)
    scaled = await api.get(DEPLOYMENT, NAMESPACE, "mq-dispatcher")
    assert scaled
    assert scaled["spec"]["replicas"] == 5
    with pytest.raises(ApiError) as conflict:
        await bring_about(Scale("Deployment", "mq-dispatcher", 2, version), view(), cast(Client, api), store)
    assert conflict.value.conflict
