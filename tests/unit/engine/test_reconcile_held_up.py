"""Servers that hang, a member that does not answer and an effect that is refused: nothing behind them is held up."""

from __future__ import annotations

import asyncio
import copy
import time
from dataclasses import replace

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.desired.queue import names as queue_names
from baas_operator.engine import effects, gather, reconcile
from baas_operator.engine.errors import Refused
from baas_operator.engine.store import Key
from baas_operator.observe.view import View
from baas_operator.policy.plan import DeletePod, GrowVolume, Plan, RestartPostgres
from tests.unit.engine.reconciling import Operator
from tests.unit.objects import NAMESPACE, ZONES, owner, pod


async def test_servers_that_hang_keep_nothing_from_being_put_right_and_are_told_of_once_they_are_given_up(
    queue: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.reconcile()
    monkeypatch.setattr(gather, "_OPERAND_SECONDS", 1.5)
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.1")
    ask, port = gather.monitor.nats_meta, silent.sockets[0].getsockname()[1]
    monkeypatch.setattr(gather.monitor, "nats_meta", lambda host, _: ask(host, port))
    whose = owner(EVENT_QUEUE, "mq")
    for number, zone in enumerate(ZONES):
        queue.store.put(pod(whose, f"mq-{number}", queue_names.COMPONENT, on=f"node-{zone}", ip="127.0.0.1"))
    said = queue.ready()

    started = time.monotonic()
    assert await queue.reconcile() == []
    live = copy.deepcopy(queue.live("Service", "mq"))
    assert live
    live["spec"]["ports"][0]["port"] = 9999
    live["metadata"]["resourceVersion"] = "9000"
    queue.store.put(live)
    assert await queue.reconcile() == [("apply", "Service/mq")]
    assert time.monotonic() - started < 1.4, "both turns were over before the servers were given up"
    assert queue.ready() == said

    while queue.ready() == said:
        assert time.monotonic() - started < 30
        await queue.reconcile()
    assert queue.ready()["reason"] == "JetStreamNotReady"
    silent.close()


async def test_a_member_that_does_not_answer_keeps_nothing_from_being_put_right_while_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart of PostgreSQL may take 20 s, and the member may never answer."""
    op = Operator(DATABASE_REPLICA, "db")
    await op.reconcile()
    asked: list[str] = []

    def ask(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        asked.append("restart")

    silent = await asyncio.start_server(ask, "127.0.0.1")
    port = silent.sockets[0].getsockname()[1]
    restart, plan_of = effects.monitor.patroni_restart, reconcile.PLANNERS[DATABASE_REPLICA.name]
    monkeypatch.setattr(effects.monitor, "patroni_restart", lambda host, _, **more: restart(host, port, **more))

    def with_restart(view: View) -> Plan:
        return replace(plan_of(view), effects=(RestartPostgres("db-0", "127.0.0.1"),))

    monkeypatch.setitem(reconcile.PLANNERS, DATABASE_REPLICA.name, with_restart)  # type: ignore[arg-type]

    started = time.monotonic()
    for count in range(1, 3):
        live = copy.deepcopy(op.live("Service", "db-ro"))
        assert live
        live["spec"]["ports"][0]["port"] = 9999
        live["metadata"]["resourceVersion"] = str(9000 + count)
        op.store.put(live)
        op.api.objects[Key("Service", NAMESPACE, "db-ro")] = live
        assert ("apply", "Service/db-ro") in await op.reconcile()
    assert time.monotonic() - started < 5
    assert asked == ["restart"]
    silent.close()


async def test_an_effect_that_is_refused_holds_up_nothing_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume that can not grow keeps no pod from being made anew, and nothing that is not wanted any more from going."""
    op = Operator(DATABASE_REPLICA, "db")
    await op.reconcile()
    old = copy.deepcopy(op.live("Service", "db-ro"))
    assert old
    old["metadata"] |= {"name": "db-old", "uid": "u-old"}
    op.api.objects[Key("Service", NAMESPACE, "db-old")] = old
    op.store.put(old)
    done, plan_of = [], reconcile.PLANNERS[DATABASE_REPLICA.name]

    async def bring_about(effect: object, *_: object) -> None:
        done.append(type(effect).__name__)
        if isinstance(effect, GrowVolume):
            raise Refused("VolumeCannotGrow", "It can not grow.")

    monkeypatch.setattr(reconcile, "bring_about", bring_about)
    monkeypatch.setitem(
        reconcile.PLANNERS, DATABASE_REPLICA.name,  # type: ignore[arg-type]
        lambda view: replace(plan_of(view), effects=(GrowVolume("data-db-0", "9Gi"), DeletePod("db-1", "u-1"))),
    )  # fmt: skip

    assert ("delete", "Service/db-old") in await op.reconcile()
    assert done == ["GrowVolume", "DeletePod"]
    made = op.live("DatabaseReplica", "db")
    assert made
    assert [each["reason"] for each in made["status"]["conditions"] if each["type"] == "Stalled"] == ["VolumeCannotGrow"]
