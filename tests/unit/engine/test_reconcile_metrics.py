"""Metrics tell what is said now, and nothing of what is gone."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE, OPERATION
from baas_operator.telemetry.metrics import CONDITION, LAST_FAILOVER, LAST_FAILOVER_TIME, READY_DISPATCHERS
from tests.unit.engine.reconciling import Operator
from tests.unit.objects import NAMESPACE, own


async def test_the_metrics_tell_what_is_said_now_and_nothing_of_what_is_gone(queue: Operator) -> None:
    def told() -> set[str]:
        of_it = {"kind": "EventQueue", "namespace": NAMESPACE, "name": "mq"}
        samples = [each for metric in CONDITION.collect() for each in metric.samples]
        return {each.labels["type"] for each in samples if of_it.items() <= each.labels.items()}

    await queue.reconcile()
    assert told() == {"Ready", "Reconciling", "Stalled", "ZoneTolerant"}

    streams = [{"name": name, "subjects": ["same"]} for name in ("one", "two")]
    queue.store.put(await queue.api.merge(EVENT_QUEUE, NAMESPACE, "mq", {"metadata": {}, "spec": {"streams": streams}}))
    await queue.reconcile()
    assert told() == {"Ready", "Reconciling", "Stalled"}, "nobody says any more whether a zone may be lost"

    queue.delete_by_hand("EventQueue", "mq")
    await queue.reconcile()
    assert told() == set()


async def test_how_many_dispatchers_are_ready_is_a_metric_where_there_is_something_for_them_to_do(queue: Operator) -> None:
    def told() -> list[float]:
        samples = [each for metric in READY_DISPATCHERS.collect() for each in metric.samples]
        return [each.value for each in samples if each.labels == {"namespace": NAMESPACE, "name": "mq"}]

    async def declare(*streams: dict[str, object]) -> None:
        queue.store.put(await queue.api.merge(EVENT_QUEUE, NAMESPACE, "mq", {"metadata": {}, "spec": {"streams": list(streams)}}))
        await queue.reconcile()

    orders: dict[str, object] = {"name": "orders", "subjects": ["orders.>"]}
    await declare(orders)
    assert told() == []

    await declare(orders | {"deadLetter": {}})
    assert told() == [0], "it is there, and says that none is"

    await declare(orders)
    assert told() == []

    await declare(orders | {"deadLetter": {}})
    queue.delete_by_hand("EventQueue", "mq")
    await queue.reconcile()
    assert told() == []


async def test_an_operation_waits_for_the_one_before_it_and_is_no_alert_once_it_is_over() -> None:
    def told() -> set[str]:
        samples = [each for metric in CONDITION.collect() for each in metric.samples]
        return {each.labels["type"] for each in samples if each.labels["kind"] == "Operation" and each.labels["name"] == "two-b"}

    op = Operator(OPERATION, "two-b", target={"kind": "DatabaseReplica", "name": "db"}, action="switchover")
    first = own(OPERATION, "two-a", op.api.objects[op.key]["spec"])
    for each in (first, op.api.objects[op.key]):
        each["metadata"]["creationTimestamp"] = datetime.now(UTC).isoformat()
    for each in (first, op.api.objects[op.key] | {"metadata": op.api.objects[op.key]["metadata"] | {"resourceVersion": "2"}}):
        op.store.put(copy.deepcopy(each))
    op.store.put(own(DATABASE_REPLICA, "db"))

    await op.reconcile()
    assert "waits for Operation two-a" in op.ready()["message"]
    assert told() == {"Ready", "Reconciling", "Stalled"}

    op.store.drop(first)
    op.store.drop(own(DATABASE_REPLICA, "db"))
    await op.reconcile()
    assert op.ready()["reason"] == "TargetNotFound"
    assert told() == set()


async def test_the_last_failover_is_a_metric_for_as_long_as_its_database_is_there() -> None:
    def samples() -> list[tuple[str, str, float]]:
        found = [each for metric in LAST_FAILOVER.collect() for each in metric.samples]
        return [(each.labels["name"], each.labels["planned"], each.value) for each in found]

    def times() -> list[float]:
        return [each.value for metric in LAST_FAILOVER_TIME.collect() for each in metric.samples]

    async def tell(note: dict[str, object]) -> None:
        changed = {"metadata": {}, "status": {"lastFailover": note}}
        database.store.put(await database.api.merge(DATABASE_REPLICA, NAMESPACE, "told", changed))

    database = Operator(DATABASE_REPLICA, "told")
    note = {"at": "2026-05-01T10:00:07Z", "fromMember": "told-0", "toMember": "told-1", "planned": False, "seconds": 4.25}
    await tell(note)
    await database.reconcile()
    assert samples() == [("told", "false", 4.25)]
    assert times() == [datetime(2026, 5, 1, 10, 0, 7, tzinfo=UTC).timestamp()]

    await tell(note | {"planned": True, "seconds": 1.5})
    await database.reconcile()
    assert samples() == [("told", "true", 1.5)], "the one before is no longer the last"

    database.delete_by_hand(DATABASE_REPLICA.name, "told")
    await database.reconcile()
    assert samples() == times() == []
