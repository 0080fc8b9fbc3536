"""Moves that the operator begins by itself, a scale-in of the primary's own member, and a deletion in any order.

In this order: each begins with what the one before it leaves, and the last deletes the database.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube, until
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost
from tests.e2e.harness.plugin import kubectl_baas
from tests.harness.api import Object
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

MOVED_SECONDS = 30.0
"""From the cordon to another primary. What is measured and printed is a tenth of it on a quiet machine."""
GAP_SECONDS = 10.0
SETTLED_SECONDS = 240.0
"""All members have been well for a minute before a primary moves back, and the operator looks every 30 s."""
SCALED_SECONDS = 180.0
GONE_SECONDS = 90.0
"""For members that shut down as they should: 120 s and what comes after are the kubelet's, which kills."""


def node_of(kube: Kube, database: Database, member: str) -> str:
    return str(kube.must_get("Pod", database.namespace, member)["spec"]["nodeName"])


def begun_for(kube: Kube, database: Database, why: str) -> list[Object]:
    """Operations that the operator began for that, the youngest last."""
    found = kube.list("Operation", database.namespace, f"baas-operator.io/why={why}")
    return sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]))


def test_a_cordon_moves_the_primary_away_and_loses_nothing(kube: Kube, database: Database, ledger: Ledger) -> None:
    old = database.leader()
    node, was_at = node_of(kube, database, old), database.address(old)

    try:
        with ledger.writing():
            since = time.monotonic()
            kube.lab.kubectl("cordon", node)
            seconds = until(lambda: database.leader() != old, timeout_seconds=MOVED_SECONDS, what=f"{old} leads no more")
            ledger.wait_for_another_server(was_at)
        gap = ledger.longest_gap_seconds(since)
        wait_until(
            lambda: [each.get("status", {}).get("phase") for each in begun_for(kube, database, "node-leaving")] == ["Succeeded"],
            timeout_seconds=MOVED_SECONDS, what="one Operation says so",
        )  # fmt: skip
        print(f"\ncordoned: another primary after {seconds:.1f} s, {gap:.1f} s without writes, {len(ledger.in_doubt)} rows in doubt")
        assert gap < GAP_SECONDS
        (operation,) = begun_for(kube, database, "node-leaving")
        assert operation["spec"]["reason"] == f"{old} leads and {node} is cordoned."
        assert operation["status"]["result"]["fromMember"] == old
        assert kube.must_get("Pod", database.namespace, old)["metadata"].get("deletionTimestamp") is None, "a cordon takes no pod away"
        assert_nothing_lost(ledger, database)
        assert len(begun_for(kube, database, "node-leaving")) == 1
    finally:
        kube.lab.kubectl("uncordon", node)


def test_a_scale_in_moves_the_primary_before_its_member_goes_and_the_member_may_come_back(
    kube: Kube, database: Database, ledger: Ledger
) -> None:
    namespace, last = database.namespace, "main-2"
    if database.leader() != last:
        said = kubectl_baas(kube, namespace, "switchover", "main", "--to", last)
        assert said.returncode == 0, said.stdout + said.stderr
        database.wait_whole()
    was_at = database.address(last)
    started = kube.must_get("Pod", namespace, last)["metadata"]["uid"]

    with ledger.writing():
        since = time.monotonic()
        kube.must_patch("DatabaseReplica", namespace, "main", {"spec": {"replicas": 2}})
        ledger.wait_for_another_server(was_at)
        wait_until(lambda: kube.get("Pod", namespace, last) is None, timeout_seconds=SCALED_SECONDS, what=f"{last} is gone")
    print(f"\nscaled in: {ledger.longest_gap_seconds(since):.1f} s without writes, {len(ledger.in_doubt)} rows in doubt")

    (operation,) = begun_for(kube, database, "scale-in")
    assert operation["status"]["phase"] == "Succeeded"
    assert operation["status"]["result"]["fromMember"] == last
    assert kube.must_get("StatefulSet", namespace, "main")["spec"]["replicas"] == 2
    assert kube.get("PersistentVolumeClaim", namespace, f"data-{last}") is not None, "its volume stays"
    kube.wait_settled(namespace, "DatabaseReplica", "main")

    kube.must_patch("DatabaseReplica", namespace, "main", {"spec": {"replicas": 3}})
    wait_until(lambda: len(database.names()) == 3, timeout_seconds=SCALED_SECONDS, what="there are three members again")
    assert kube.must_get("Pod", namespace, last)["metadata"]["uid"] != started
    assert_nothing_lost(ledger, database)


@pytest.mark.chaos
def test_the_primary_moves_to_the_preferred_zone_in_a_window_and_not_before(kube: Kube, database: Database, ledger: Ledger) -> None:
    namespace, old = database.namespace, database.leader()
    standby = next(pod for pod in database.members() if pod["metadata"]["name"] != old)
    (zone,) = kube.zones_of([standby])
    later = datetime.now(UTC) + timedelta(hours=6)
    closed = {"schedule": f"{later.minute} {later.hour} * * *", "durationMinutes": 5}

    kube.must_patch(
        "DatabaseReplica", namespace, "main", {"spec": {"placement": {"preferredZones": [zone]}, "maintenanceWindows": [closed]}}
    )

    def says_when() -> bool:
        said = str(kube.condition(namespace, "DatabaseReplica", "main", "Ready")["message"])
        return "in the next maintenance window, which opens at" in said

    wait_until(says_when, timeout_seconds=60, what="it says when it moves")
    assert begun_for(kube, database, "failback") == []

    with ledger.writing():
        since = time.monotonic()
        kube.must_patch("DatabaseReplica", namespace, "main", {"spec": {"maintenanceWindows": [{"schedule": "* * * * *"}]}})
        wait_until(lambda: database.leader() != old, timeout_seconds=SETTLED_SECONDS, what="the primary moves")
    print(f"\nmoved back: {ledger.longest_gap_seconds(since):.1f} s without writes, {len(ledger.in_doubt)} rows in doubt")

    assert database.leader() == standby["metadata"]["name"]
    assert_nothing_lost(ledger, database)
    assert len(begun_for(kube, database, "failback")) == 1
    kube.must_patch("DatabaseReplica", namespace, "main", {"spec": {"placement": None, "maintenanceWindows": None}})


@pytest.mark.usefixtures("ledger")
def test_a_deletion_in_the_foreground_ends_soon_and_keeps_the_data(kube: Kube, database: Database, client: ClientPod) -> None:
    """Kubernetes then deletes all children at once, the members' rights and the pods that have them in any order."""
    namespace, uri = database.namespace, database.uri
    client.psql(uri, "create table kept (x int); insert into kept values (42)")
    claims = {each["metadata"]["name"] for each in kube.list("PersistentVolumeClaim", namespace)}
    path = kube.resource("DatabaseReplica").path(namespace, "main")

    status, answer = kube.request("DELETE", path, {"propagationPolicy": "Foreground"})
    assert status == 200, answer
    seconds = until(
        lambda: kube.get("DatabaseReplica", namespace, "main") is None and not kube.list("Pod", namespace, "baas-operator.io/name=main"),
        timeout_seconds=GONE_SECONDS, what="the database and its pods are gone",
    )  # fmt: skip
    print(f"\ndeleted in the foreground: all gone after {seconds:.1f} s")
    assert {each["metadata"]["name"] for each in kube.list("PersistentVolumeClaim", namespace)} == claims

    kube.must_apply(own("DatabaseReplica", "main", {"databases": [{"name": "shop"}]}), namespace)
    database.wait_whole()
    assert client.psql(uri, "select x from kept") == ["42"]
