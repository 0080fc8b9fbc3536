"""A reconcile as a whole, against a stand-in for the API server: what is wanted comes, what is not goes, what others made stays."""

from __future__ import annotations

import base64
import copy
import time

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, STATEFUL_SET, Kind, OwnKind
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import Certificate
from baas_operator.engine.certificates import draw
from baas_operator.engine.config import Config
from baas_operator.engine.store import Key
from baas_operator.engine.teardown import FINALIZER
from tests.unit.engine.reconciling import Operator
from tests.unit.objects import NAMESPACE, own, owner


async def test_one_reconcile_makes_all_and_the_next_writes_nothing(queue: Operator) -> None:
    first = await queue.reconcile()
    assert ("create", "Secret/mq-user-app") in first
    assert ("apply", "StatefulSet/mq") in first, "the plan is made anew once the passwords are drawn"
    assert first[-1] == ("status", "EventQueue/mq")

    assert await queue.reconcile() == []


async def test_a_secret_that_was_deleted_comes_back_as_it_was_and_takes_nothing_down(queue: Operator) -> None:
    await queue.reconcile()
    before = copy.deepcopy(queue.live("Secret", "mq-user-app"))
    queue.delete_by_hand("Secret", "mq-user-app")

    writes = await queue.reconcile()

    assert writes == [("create", "Secret/mq-user-app")]
    after = queue.live("Secret", "mq-user-app")
    assert before
    assert after
    assert after["data"] == before["data"]


async def test_a_plan_without_a_password_is_never_carried_out_whatever_else_vanishes_at_that_moment(queue: Operator) -> None:
    """It has no StatefulSet, so that one would be pruned; and with deletionPolicy Delete its volumes would go with it."""
    await queue.reconcile()
    queue.delete_by_hand("Secret", "mq-user-app")
    queue.store.put(own(DATABASE_REPLICA, "unrelated"))

    def vanish(_: Key) -> None:
        queue.store.drop(own(DATABASE_REPLICA, "unrelated"))

    queue.api.meanwhile = vanish

    writes = await queue.reconcile()

    assert writes == [("create", "Secret/mq-user-app")]
    assert queue.live("StatefulSet", "mq") is not None


async def test_drift_is_put_right(queue: Operator) -> None:
    await queue.reconcile()
    live = copy.deepcopy(queue.live("Service", "mq"))
    assert live
    live["spec"]["ports"][0]["port"] = 9999
    live["metadata"]["resourceVersion"] = "9000"
    queue.store.put(live)

    assert await queue.reconcile() == [("apply", "Service/mq")]


async def test_a_prometheus_that_the_operator_is_told_of_later_is_let_in_by_databases_that_are_there() -> None:
    database = Operator(DATABASE_REPLICA, "db")
    await database.reconcile()
    assert await database.reconcile() == []

    database.restart(Config(monitoring_namespace="monitoring"))

    assert await database.reconcile() == [("apply", "NetworkPolicy/db")]
    database.restart(Config())
    assert await database.reconcile() == [("apply", "NetworkPolicy/db")]


async def test_what_is_no_longer_wanted_is_pruned_and_what_others_made_is_not() -> None:
    op = Operator(DATABASE_REPLICA, "db")
    await op.reconcile()
    ours = copy.deepcopy(op.live("Service", "db-ro"))
    assert ours
    ours["metadata"] |= {"name": "db-old", "uid": "u-old"}
    theirs = copy.deepcopy(ours)
    theirs["metadata"] |= {"name": "db-theirs", "uid": "u-theirs", "annotations": {}}
    for each in (ours, theirs):
        op.api.objects[Key("Service", NAMESPACE, each["metadata"]["name"])] = each
        op.store.put(each)

    assert await op.reconcile() == [("delete", "Service/db-old")]


async def test_a_name_that_is_taken_is_refused_and_left_alone(queue: Operator) -> None:
    stranger = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mq", "namespace": NAMESPACE, "uid": "u"}, "spec": {}}
    queue.api.objects[Key("Service", NAMESPACE, "mq")] = copy.deepcopy(stranger)

    await queue.reconcile()

    assert queue.live("Service", "mq") == stranger
    assert queue.ready()["reason"] == "NameTaken"
    assert "delete it or give this object another name" in queue.ready()["message"]


async def test_a_queue_that_is_called_like_a_database_touches_nothing_of_it_and_says_what_to_do(queue: Operator) -> None:
    budget = owner(DATABASE_REPLICA, "mq").child("policy/v1", "PodDisruptionBudget", "mq", "postgresql")
    budget["metadata"] |= {"uid": "theirs", "resourceVersion": "50"}
    queue.api.objects[Key("PodDisruptionBudget", NAMESPACE, "mq")] = copy.deepcopy(budget)
    queue.store.put(budget)

    writes = await queue.reconcile()

    assert {what.partition("/")[0] for _, what in writes} == {"Secret", "EventQueue"}
    assert queue.ready()["reason"] == "NameTaken"
    assert queue.ready()["message"].endswith("belongs to the DatabaseReplica 'mq': create this object under another name.")


async def test_another_leader_that_drew_the_secret_first_wins(queue: Operator) -> None:
    """Whoever comes second finds it there: no two versions of a password."""
    drawn: dict[Key, Manifest] = {}

    def faster(key: Key) -> None:
        if key.name == "mq-user-admin" and not drawn:
            theirs = {"kind": "Secret", "metadata": {"name": key.name, "namespace": NAMESPACE, "uid": "u", "resourceVersion": "50"}}
            drawn[key] = queue.api.objects[key] = theirs | {"data": {"password": "dGhlaXJz"}}

    queue.api.meanwhile = faster

    await queue.reconcile()

    assert drawn
    assert queue.live("Secret", "mq-user-admin") == drawn[Key("Secret", NAMESPACE, "mq-user-admin")]
    assert queue.live("StatefulSet", "mq") is None, "it waits, and looks again"


@pytest.mark.parametrize("kind", [DATABASE_REPLICA, EVENT_QUEUE, BAAS_INSTANCE], ids=lambda kind: str(kind.name))
async def test_what_deletes_its_data_is_held_until_nothing_leads_to_the_data_any_more(kind: OwnKind) -> None:
    op = Operator(kind, "mq", deletionPolicy="Delete")

    def held() -> bool:
        return FINALIZER in (op.api.objects[op.key]["metadata"].get("finalizers") or [])

    await op.reconcile()
    assert held()

    async def change(kind: Kind, **what: object) -> None:
        op.store.put(await op.api.merge(kind, NAMESPACE, "mq", {"metadata": {}, **what}))

    await change(kind, spec={"deletionPolicy": "Retain"})
    if op.live("StatefulSet", "mq") is not None:
        await change(STATEFUL_SET, metadata={"generation": 2})  # its controller has not seen it
        for _ in range(3):
            await op.reconcile()
        assert held(), "its volumes would still go"
        await change(STATEFUL_SET, status={"observedGeneration": 2})
    for _ in range(3):
        await op.reconcile()

    assert not held()
    assert not any(each["metadata"].get("ownerReferences") for key, each in op.api.objects.items()
                   if key.kind == "Secret" and key.name != "mq-auth")  # fmt: skip


@pytest.mark.parametrize("good", [True, False])
async def test_a_link_to_another_queue_follows_the_secret_that_anybody_made(good: bool) -> None:
    """It has none of our labels, so nobody watches it. One with a file that servers do not take would keep all of them from starting."""
    east = {"name": "mq", "namespace": "east", "credentials": {"name": "east-copier"}}
    queue = Operator(EVENT_QUEUE, "mq", streams=[{"name": "copy", "mirror": {"stream": "orders", "queue": east}}])
    key = Key("Secret", NAMESPACE, "east-copier")

    def bring(**values: str) -> None:
        data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
        queue.api.objects[key] = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": key.name, "namespace": NAMESPACE, "uid": "1"}, "data": data,
        }  # fmt: skip

    def remotes() -> str:
        live = queue.live("Secret", "mq-auth")
        assert live
        return base64.b64decode(live["data"]["leafnodes.conf"]).decode()

    await queue.reconcile()
    assert "remotes" not in remotes()

    made, _ = draw(Certificate("ca", "their CA", 10), None, int(time.time()))
    authority = made["ca.crt"] if good else "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"
    bring(username="copier", password="p/ 1", **{"ca.crt": authority})
    assert (("apply", "Secret/mq-auth") in await queue.reconcile()) is good
    assert ("tls://copier:p%2F%201@mq.east.svc:7422" in remotes()) is good

    if good:
        bring(username="copier-alt", password="2", **{"ca.crt": authority})
        assert await queue.reconcile() == [("apply", "Secret/mq-auth")], "and nothing that would make a pod anew"
        assert "tls://copier-alt:2@mq.east.svc:7422" in remotes()
