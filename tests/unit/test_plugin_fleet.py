"""What belongs to what, and whether it is well."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.common import Condition
from kubectl_baas.fleet import build_fleet
from kubectl_baas.health import complaints, verdict
from kubectl_baas.views import Fleet

from .test_plugin_example import (
    BEFORE,
    condition,
    healthy_database,
    lost_database,
    lost_instance,
    lost_queue,
    operation,
    ready,
    resource,
)

Manifest = dict[str, Any]


def healthy_instance(name: str, **spec: Any) -> Manifest:
    return resource("BaasInstance", name, ready(), spec=spec)


def healthy_queue(name: str) -> Manifest:
    return resource("EventQueue", name, ready())


def names(fleet: Fleet) -> tuple[list[str], list[str], list[str]]:
    return (
        [each.name for each in fleet.instances],
        [each.name for each in fleet.databases],
        [each.name for each in fleet.queues],
    )


def test_objects_of_an_instance_stand_below_it_and_others_alone() -> None:
    fleet = build_fleet([lost_instance()], [lost_database(), healthy_database("other-db")], [lost_queue(), healthy_queue("other-events")])
    assert names(fleet) == (["shop"], ["other-db"], ["other-events"])
    assert fleet.instances[0].database.name == "shop-db"
    assert fleet.instances[0].queue.name == "shop-events"


def test_a_new_instance_is_joined_by_the_names_that_it_will_give() -> None:
    fleet = build_fleet([healthy_instance("shop")], [healthy_database("shop-db")], [healthy_queue("shop-events")])
    assert fleet.ready
    assert names(fleet) == (["shop"], [], [])


def test_two_instances_may_share_a_database() -> None:
    shared = {"databaseRef": {"name": "common"}, "queueRef": {"name": "bus"}}
    fleet = build_fleet(
        [healthy_instance("a", **shared), healthy_instance("b", **shared)], [healthy_database("common")], [healthy_queue("bus")]
    )
    assert [each.database.name for each in fleet.instances] == ["common", "common"]
    assert not fleet.databases


def test_the_same_name_in_another_namespace_is_another_object() -> None:
    elsewhere = healthy_database("shop-db")
    elsewhere["metadata"]["namespace"] = "staging"
    fleet = build_fleet([healthy_instance("shop")], [elsewhere], [healthy_queue("shop-events")])
    assert not fleet.instances[0].database.exists
    assert [each.namespace for each in fleet.databases] == ["staging"]


def test_what_an_instance_names_and_is_not_there_is_not_ready() -> None:
    fleet = build_fleet([healthy_instance("shop")], [], [healthy_queue("shop-events")])
    assert not fleet.ready
    database = fleet.instances[0].database
    assert (database.exists, database.ready, database.reason) == (False, False, "NotFound")


def test_a_queue_that_is_down_makes_the_whole_not_ready() -> None:
    assert not build_fleet([], [healthy_database()], [lost_queue()]).ready
    assert build_fleet([], [healthy_database()], []).ready


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shop", (["shop"], [], [])),
        ("shop-db", ([], ["shop-db"], [])),
        ("shop-events", ([], [], ["shop-events"])),
        ("nobody", ([], [], [])),
    ],
)
def test_a_name_picks_any_kind(name: str, shown: tuple[list[str], list[str], list[str]]) -> None:
    assert names(build_fleet([lost_instance()], [lost_database()], [lost_queue()], name=name)) == shown


def test_operations_stand_by_their_target_newest_first() -> None:
    old = operation("old", "Succeeded", created="2026-04-30T00:00:00Z")
    new = operation("new", "Running", created="2026-05-01T00:00:00Z")
    unseen = operation("unseen", "Pending")
    del unseen["status"]
    fleet = build_fleet([], [lost_database(), healthy_database("other-db")], [], [old, new, unseen])
    shop, other = sorted(fleet.databases, key=lambda each: each.name, reverse=True)
    assert [(each.name, each.running) for each in shop.operations] == [("unseen", True), ("new", True), ("old", False)]
    assert other.operations == []


def test_fields_of_a_newer_operator_are_passed_over_however_deep() -> None:
    newer = {"mood": "fine"}
    instance, database, queue = lost_instance(), lost_database(), lost_queue()
    database["status"]["members"][0] |= {"trouble": {"reason": "NotFollowing", "since": BEFORE} | newer} | newer
    queue["status"]["servers"][0] |= newer
    queue["status"]["streams"][0] |= {"consumers": [{"name": "billing"} | newer], "copies": [{"name": "sales", "lag": 0} | newer]} | newer
    instance["status"]["components"][0] |= newer
    for each in (instance, database, queue):
        each["status"]["conditions"][0] |= newer
    done = operation("done", "Succeeded", result={"toMember": "shop-db-2"} | newer)
    shop = build_fleet([instance], [database], [queue], [done]).instances[0]
    trouble, stream = shop.database.members[0].trouble, shop.queue.streams[0]
    assert trouble is not None
    assert trouble.reason == "NotFollowing"
    assert (stream.consumers[0].name, stream.copies[0].name) == ("billing", "sales")


def test_what_programs_read_is_camel_case_and_whole() -> None:
    data = build_fleet([lost_instance()], [lost_database()], [lost_queue()]).model_dump(by_alias=True, mode="json")
    assert set(data) == {"ready", "operator", "instances", "databases", "queues"}
    database = data["instances"][0]["database"]
    assert {"kind", "namespace", "name", "exists", "ready", "reason", "message", "suspended", "createdAt", "conditions"} <= set(database)
    assert database["readyReplicas"] == 2
    assert database["members"][0]["lagBytes"] == 3 * 1024 * 1024
    assert data["instances"][0]["queue"]["servers"][0]["metaLeader"] is True


def test_a_status_of_an_older_generation_says_nothing() -> None:
    changed = healthy_database()
    changed["metadata"]["generation"] = 2
    assert verdict(changed)[:2] == (False, "NotObserved")


def test_what_is_being_deleted_or_was_never_seen_is_not_ready() -> None:
    leaving = healthy_database()
    leaving["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    assert verdict(leaving)[:2] == (False, "Deleting")
    new = healthy_database()
    del new["status"]
    assert verdict(new)[:2] == (False, "NotObserved")


def test_abnormal_conditions_are_bad_while_true_and_others_while_not() -> None:
    said = [
        condition("Ready", "False", "X", "x"),
        condition("Reconciling", "True", "X", "x"),
        condition("Stalled", "False", "X", "x"),
        condition("ZoneTolerant", "Unknown", "X", "x"),
        condition("BackupHealthy", "True", "X", "x"),
    ]
    bad = complaints([Condition.model_validate(each) for each in said])
    assert [each.type for each in bad] == ["Reconciling", "ZoneTolerant"]
