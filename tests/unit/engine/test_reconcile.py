"""A reconcile as a whole, against a stand-in for the API server."""

from __future__ import annotations

import asyncio
import base64
import copy
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION, STATEFUL_SET, Kind, OwnKind
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names as queue_names
from baas_operator.desired.secrets import Certificate
from baas_operator.engine import effects, gather, reconcile
from baas_operator.engine.certificates import draw
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import Refused
from baas_operator.engine.reconcile import Outcome, Reconciler
from baas_operator.engine.store import Key, Store
from baas_operator.engine.teardown import FINALIZER
from baas_operator.observe.view import View
from baas_operator.policy.plan import DeletePod, GrowVolume, Plan, RestartPostgres
from baas_operator.telemetry.metrics import CONDITION, LAST_FAILOVER, LAST_FAILOVER_TIME, READY_DISPATCHERS
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, condition, nodes, own, owner, pod


class Operator:
    """One operator with its store, over a stand-in."""

    def __init__(self, kind: OwnKind, name: str, **spec: object) -> None:
        self.api = StandInApi()
        self.store = Store()
        for each in nodes(*ZONES).values():
            self.store.put(each)
        self.key = Key(kind.name, NAMESPACE, name)
        self.api.objects[self.key] = own(kind, name, dict(spec))
        self.store.put(copy.deepcopy(self.api.objects[self.key]))
        self.restart(Config())

    def restart(self, config: Config) -> None:
        """Another operator with other settings takes over."""
        self._reconciler = Reconciler(cast(Client, self.api), self.store, config)

    async def outcome(self) -> Outcome:
        """What one reconcile says of itself."""
        return await self._reconciler.reconcile(self.key)

    async def reconcile(self) -> list[tuple[str, str]]:
        """The writes of one reconcile."""
        self.api.writes.clear()
        await self.outcome()
        return [each for each in self.api.writes if not each[1].startswith("Event/")]

    def live(self, kind: str, name: str) -> Manifest | None:
        return self.api.objects.get(Key(kind, NAMESPACE, name))

    def delete_by_hand(self, kind: str, name: str) -> None:
        """Somebody deletes an object, and the watch tells."""
        self.store.drop(self.api.objects.pop(Key(kind, NAMESPACE, name)))

    def ready(self) -> Manifest:
        found: Manifest = self.api.objects[self.key]["status"]
        return next(each for each in found["conditions"] if each["type"] == "Ready")


@pytest.fixture
def queue() -> Operator:
    return Operator(EVENT_QUEUE, "mq")


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


async def test_an_object_that_is_made_again_is_not_ready_by_the_children_of_the_one_before() -> None:
    """`kubectl delete`, `apply` and `wait --for=condition=Ready`, all before the garbage collector has come by."""
    database = Operator(DATABASE_REPLICA, "db")
    await database.reconcile()
    again = own(DATABASE_REPLICA, "db")
    again["metadata"] |= {"uid": "another", "resourceVersion": "9000"}
    database.api.objects[database.key] = copy.deepcopy(again)
    database.store.put(again)

    await database.reconcile()

    told = {each["type"]: each for each in database.api.objects[database.key]["status"]["conditions"]}
    for which in ("Ready", "ZoneTolerant"):
        assert (told[which]["status"], told[which]["reason"]) == ("False", "OldChildrenGoing")
    assert told["Reconciling"]["status"] == "True"
    assert "of an earlier object is still being deleted" in told["Reconciling"]["message"]


async def test_a_child_that_does_not_go_is_told_as_it_holds_up_what_is_behind_it(queue: Operator) -> None:
    await queue.reconcile()
    before = queue.ready()
    going = copy.deepcopy(queue.live("Service", "mq"))
    assert going
    going["metadata"] |= {"deletionTimestamp": "2026-05-01T12:00:00Z", "finalizers": ["theirs/cleanup"], "resourceVersion": "9000"}
    queue.store.put(going)

    await queue.reconcile()

    told = {each["type"]: each for each in queue.api.objects[queue.key]["status"]["conditions"]}
    assert (told["Reconciling"]["status"], told["Reconciling"]["reason"]) == ("True", "ChildGoing")
    assert "Service 'mq' is being deleted" in told["Reconciling"]["message"]
    assert (queue.ready()["status"], queue.ready()["reason"]) == (before["status"], before["reason"]), "what serves goes on serving"


async def test_who_depends_on_an_object_hears_of_it_also_where_its_event_can_not_be_written(queue: Operator) -> None:
    """An Event is a courtesy; that the status is another is not."""

    def no_answer(key: Key) -> None:
        if key.kind == "Event":
            raise TimeoutError

    queue.api.meanwhile = no_answer

    outcome = await queue.outcome()

    assert outcome.told


def series(operator: Operator) -> set[str]:
    samples = [each for metric in CONDITION.collect() for each in metric.samples]
    return {each.labels["type"] for each in samples if (each.labels["kind"], each.labels["name"]) == (operator.key.kind, operator.key.name)}


async def test_what_was_put_to_rest_pages_nobody() -> None:
    shop = Operator(BAAS_INSTANCE, "resting", hibernate=True)
    for _ in range(3):
        await shop.reconcile()
    assert shop.ready()["reason"] == "Hibernated"
    assert not {"Ready", "ZoneTolerant"} & series(shop)

    idle = Operator(DATABASE_REPLICA, "idle", suspend=True)
    await idle.reconcile()
    assert series(idle) == {"Suspended", "Reconciling", "Stalled"}


async def changed(operator: Operator, **spec: object) -> list[tuple[str, str]]:
    """The writes after the API server has taken that spec."""
    live = operator.api.objects[operator.key]
    live["metadata"] |= {"generation": 2, "resourceVersion": "9000"}
    live["spec"] |= spec
    operator.store.put(copy.deepcopy(live))
    return await operator.reconcile()


async def test_a_field_that_newer_crds_fill_in_stops_no_work() -> None:
    database = Operator(DATABASE_REPLICA, "db")
    await database.reconcile()
    database.delete_by_hand("Service", "db-r")

    writes = await changed(database, later={"enabled": True})

    assert ("apply", "Service/db-r") in writes


async def test_a_spec_that_is_not_understood_is_told_and_left_as_it_is() -> None:
    database = Operator(DATABASE_REPLICA, "db")
    await database.reconcile()
    database.delete_by_hand("Service", "db-r")

    writes = await changed(database, durability="of tomorrow")

    assert writes == [("status", "DatabaseReplica/db")]
    status = database.api.objects[database.key]["status"]
    told = {each["type"]: each for each in status["conditions"]}
    assert status["observedGeneration"] == 2
    assert (told["Stalled"]["status"], told["Stalled"]["reason"]) == ("True", "SpecNotUnderstood")
    assert told["Stalled"]["message"].startswith("spec.durability: ")


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


async def test_suspended_means_hands_off(queue: Operator) -> None:
    await queue.reconcile()
    queue.api.objects[queue.key]["spec"]["suspend"] = True
    queue.api.objects[queue.key]["metadata"]["resourceVersion"] = "9000"
    queue.store.put(copy.deepcopy(queue.api.objects[queue.key]))
    queue.delete_by_hand("Service", "mq")

    writes = await queue.reconcile()

    assert writes == [("status", "EventQueue/mq")]


async def test_what_is_suspended_keeps_what_was_last_observed_and_says_so_beside_it(queue: Operator) -> None:
    """What served goes on serving: nobody should read that it does not."""
    await queue.reconcile()
    serving = [condition("Ready", True, "Serving"), condition("ZoneTolerant", True), condition("Reconciling", True)]
    change = {"metadata": {"generation": 2}, "spec": {"suspend": True}, "status": {"conditions": serving, "readyReplicas": 3}}
    queue.store.put(await queue.api.merge(EVENT_QUEUE, NAMESPACE, "mq", change))

    await queue.reconcile()

    status = queue.api.objects[queue.key]["status"]
    told = {each["type"]: each["status"] for each in status["conditions"]}
    assert told == {"Ready": "True", "ZoneTolerant": "True", "Suspended": "True"}
    assert queue.ready()["reason"] == "Serving"
    assert (status["observedGeneration"], status["readyReplicas"]) == (2, 3)
    assert await queue.reconcile() == []


async def test_what_was_suspended_from_the_first_is_not_known_to_serve() -> None:
    queue = Operator(EVENT_QUEUE, "mq", suspend=True)

    await queue.reconcile()

    assert (queue.ready()["status"], queue.ready()["reason"]) == ("Unknown", "Suspended")


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
