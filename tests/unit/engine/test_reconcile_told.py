"""What is told of an object while something of it goes, while its spec is not understood, and while it rests."""

from __future__ import annotations

import copy

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, Kind
from baas_operator.desired.meta import Manifest
from baas_operator.engine.store import Key
from baas_operator.telemetry.metrics import CONDITION
from tests.unit.engine.reconciling import Operator
from tests.unit.objects import NAMESPACE, condition, own

# --- something goes ---------------------------------------------------------------------------------------------------


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


# --- it is not understood ---------------------------------------------------------------------------------------------


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


async def test_what_is_refused_is_looked_at_again() -> None:
    """What runs goes on, and what is told of it would be of the moment of the refusal for ever."""
    subjects = ["orders.>"]
    queue = Operator(EVENT_QUEUE, "mq", streams=[{"name": "one", "subjects": subjects}, {"name": "two", "subjects": subjects}])

    outcome = await queue.outcome()

    assert queue.ready()["reason"] == "SubjectsOverlap"
    assert outcome.after == 30.0


# --- it is edited meanwhile -------------------------------------------------------------------------------------------


async def test_a_spec_that_is_edited_during_a_reconcile_is_not_told_as_judged(queue: Operator) -> None:
    """`kubectl wait` after an edit would have the verdict of the spec before."""
    apply = queue.api.apply

    async def edited_meanwhile(kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        queue.api.objects[queue.key]["metadata"] |= {"generation": 2, "resourceVersion": "9000"}
        queue.store.put(copy.deepcopy(queue.api.objects[queue.key]))
        return await apply(kind, manifest, subresource=subresource)

    queue.api.apply = edited_meanwhile  # type: ignore[method-assign]
    await queue.reconcile()

    status = queue.api.objects[queue.key]["status"]
    assert status["observedGeneration"] == 1
    assert {each["observedGeneration"] for each in status["conditions"]} == {1}

    queue.api.apply = apply  # type: ignore[method-assign]
    await queue.reconcile()
    assert queue.api.objects[queue.key]["status"]["observedGeneration"] == 2


# --- it rests ---------------------------------------------------------------------------------------------------------


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
