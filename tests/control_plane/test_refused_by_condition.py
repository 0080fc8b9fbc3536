"""What only a look at the cluster can tell to be wrong is refused by a condition: Ready=False, Stalled=True, and a sentence.

`Stalled` is how kstatus (Argo CD, Flux) knows that waiting is of no use. Once the cause is gone, it goes on by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from baas_operator.policy.operations.common import KEPT
from tests.harness.api import Object
from tests.harness.manifests import own, switchover

from .harness.children import condition, wait_judged
from .harness.cluster import ZONES, ControlPlane, node


class Refused(NamedTuple):
    """Objects of which the last is refused, for `reason`, in words that have all of `says`."""

    id: str
    objects: list[Object]
    reason: str
    says: tuple[str, ...]


def streams(*subjects: str) -> Object:
    return {"streams": [{"name": f"s{number}", "subjects": [each]} for number, each in enumerate(subjects)]}


REFUSED = [
    Refused(
        "database that is not there", [own("BaasInstance", "it", {"databaseRef": {"name": "missing"}})],
        "DatabaseReplicaNotFound", ("'missing'", "spec.databaseRef", "create it"),
    ),
    Refused(
        "queue that is not there", [own("BaasInstance", "it", {"queueRef": {"name": "missing"}})],
        "EventQueueNotFound", ("'missing'", "spec.queueRef", "create it"),
    ),
    Refused(
        "database that declares what the backend makes",
        [own("DatabaseReplica", "db", {"databases": [{"name": "it"}]}), own("BaasInstance", "it", {"databaseRef": {"name": "db"}})],
        "DatabaseContested", ("'db' declares it,", "under another name"),
    ),
    Refused(
        "same subject in two streams", [own("EventQueue", "it", streams("orders.paid", "orders.paid"))],
        "SubjectsOverlap", ("s0", "s1", "'orders.paid'", "change the subjects"),
    ),
    Refused(
        "subject inside of another's wildcard", [own("EventQueue", "it", streams("orders.>", "orders.eu.paid"))],
        "SubjectsOverlap", ("'orders.>'", "'orders.eu.paid'", "change the subjects"),
    ),
    Refused(
        "two wildcards that meet", [own("EventQueue", "it", streams("orders.*.paid", "orders.eu.*"))],
        "SubjectsOverlap", ("'orders.*.paid'", "'orders.eu.*'", "change the subjects"),
    ),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[None]:
    with cp.operator():
        yield


def assert_refused(cp: ControlPlane, namespace: str, kind: str, name: str, reason: str, says: tuple[str, ...]) -> None:
    stalled = cp.wait(lambda: condition(cp, namespace, kind, name, "Stalled"), 30, f"{kind} {name} is Stalled")
    ready = wait_judged(cp, namespace, kind, name)
    assert stalled is not None
    assert (stalled["status"], ready["status"]) == ("True", "False")
    assert (stalled["reason"], ready["reason"]) == (reason, reason)
    for part in says:
        assert part in stalled["message"]
    assert stalled["message"].endswith("."), "not a sentence"


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.id.replace(" ", "-"))
def test_refused(cp: ControlPlane, namespace: str, row: Refused) -> None:
    for manifest in row.objects:
        cp.must_apply(manifest, namespace)

    assert_refused(cp, namespace, row.objects[-1]["kind"], "it", row.reason, row.says)
    assert cp.list("Deployment", namespace) == [], "something was made all the same"


@pytest.mark.parametrize(
    ("objects", "reason", "says"),
    [
        ([switchover("it", "missing")], "TargetNotFound", ("'missing'", "check spec.target.name")),
        (
            [own("DatabaseReplica", "db", {}), switchover("it", "db", to="db-7")],
            "NoPrimary", ("no primary", "wait until the database is Ready"),
        ),
    ],
    ids=["of-no-database", "without-a-primary"],
)  # fmt: skip
def test_refused_operation_is_over(cp: ControlPlane, namespace: str, objects: list[Object], reason: str, says: tuple[str, ...]) -> None:
    """It is never Stalled: nothing waits for anybody to act."""
    for manifest in objects:
        cp.must_apply(manifest, namespace)

    ready = wait_judged(cp, namespace, "Operation", "it")

    assert (ready["status"], ready["reason"]) == ("False", reason)
    for part in says:
        assert part in ready["message"]
    stored = cp.get("Operation", namespace, "it")
    assert stored is not None
    assert stored["status"]["phase"] == "Refused"
    assert [each["type"] for each in stored["status"]["conditions"]] == ["Ready"]


def test_only_the_youngest_operations_that_are_over_are_kept(cp: ControlPlane, namespace: str) -> None:
    for number in range(KEPT + 3):
        cp.must_apply(switchover(f"it-{number:02}", "missing"), namespace)
        wait_judged(cp, namespace, "Operation", f"it-{number:02}")

    left = {each["metadata"]["name"] for each in cp.list("Operation", namespace)}
    assert left == {f"it-{number:02}" for number in range(3, KEPT + 3)}


def test_refused_instance_goes_on_once_its_database_is_there(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("BaasInstance", "it", {"databaseRef": {"name": "later"}}), namespace)
    cp.wait(lambda: condition(cp, namespace, "BaasInstance", "it", "Stalled"), 30, "Stalled")

    cp.must_apply(own("DatabaseReplica", "later", {}), namespace)

    cp.wait(lambda: condition(cp, namespace, "BaasInstance", "it", "Stalled") is None, 10, "no longer Stalled")
    cp.wait(lambda: cp.list("Secret", namespace, "baas-operator.io/name=it"), 10, "its keys")


def test_corrected_subjects_are_taken(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("EventQueue", "it", streams("a.>", "a.b")), namespace)
    cp.wait(lambda: condition(cp, namespace, "EventQueue", "it", "Stalled"), 30, "Stalled")

    cp.must_apply(own("EventQueue", "it", streams("a.>", "b.>")), namespace)

    cp.wait(lambda: cp.get("StatefulSet", namespace, "it"), 10, "the servers")
    cp.wait(lambda: condition(cp, namespace, "EventQueue", "it", "Stalled") is None, 10, "no longer Stalled")


def test_instance_whose_database_is_deleted_says_so(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("DatabaseReplica", "db", {}), namespace)
    cp.must_apply(own("BaasInstance", "it", {"databaseRef": {"name": "db"}}), namespace)
    wait_judged(cp, namespace, "BaasInstance", "it")
    cp.wait(lambda: cp.list("Deployment", namespace), 30, "its components")
    before = {each["metadata"]["uid"] for each in cp.list("Deployment", namespace)}

    cp.delete("DatabaseReplica", namespace, "db")

    assert_refused(cp, namespace, "BaasInstance", "it", "DatabaseReplicaNotFound", ("'db'", "create it"))
    after = {each["metadata"]["uid"] for each in cp.list("Deployment", namespace)}
    assert after == before, "components were taken down: they would have served again once the database is back"


@pytest.fixture
def one_zone(cp: ControlPlane) -> Iterator[None]:
    """A cluster whose nodes are all in one zone."""
    for zone in ZONES[1:]:
        cp.delete("Node", None, node(zone)["metadata"]["name"])
    yield
    for zone in ZONES[1:]:
        cp.must_apply(node(zone))


@pytest.mark.usefixtures("one_zone")
def test_zone_quorum_in_one_zone(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("DatabaseReplica", "it", {}), namespace)

    says = ("zone-quorum", "two zones", "topology.kubernetes.io/zone", "spec.durability")
    assert_refused(cp, namespace, "DatabaseReplica", "it", "ZonesInsufficient", says)
    assert cp.get("StatefulSet", namespace, "it") is None

    cp.must_apply(own("DatabaseReplica", "it", {"durability": "quorum"}), namespace)
    cp.wait(lambda: cp.get("StatefulSet", namespace, "it"), 10, "the members, with what one zone can give")


@pytest.mark.usefixtures("one_zone")
def test_zone_quorum_goes_on_when_a_second_zone_comes(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("DatabaseReplica", "it", {}), namespace)
    cp.wait(lambda: condition(cp, namespace, "DatabaseReplica", "it", "Stalled"), 30, "Stalled")

    cp.must_apply(node("zone-b"))

    cp.wait(lambda: cp.get("StatefulSet", namespace, "it"), 10, "the members")
