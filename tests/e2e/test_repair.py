"""Standbys that do not come back by themselves are copied anew; a volume that fills holds writes off before it is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from baas_lab import faults
from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError
from baas_lab.kind_config import VOLUMES_IN_NODE
from baas_lab.waiting import wait_until
from baas_operator.observe.vitals import OUT_OF_SERVICE
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube, until
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost
from tests.e2e.harness.plugin import kubectl_baas
from tests.harness.manifests import own

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

REPAIRED_SECONDS = 300.0
"""A minute of patience, looks 30 s apart, a copy of a small database; on a busy machine."""
SHOWN_SECONDS = 120.0
DATA = "/var/lib/postgresql/data/pgdata"
FEW = {"max_slot_wal_keep_size": "32MB", "wal_keep_size": "16MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}
"""So little of the log is kept that a standby which is away for a moment lacks some of it."""
ROWS = "insert into bulk select repeat('x', 1000) from generate_series(1, 10000);\n"
"""10 MB in a commit of their own: a third of what is kept, so that the other standby, which has to confirm them, is never left behind."""


@pytest.fixture(scope="module")
def client(lab: Cluster, kube: Kube, namespace: str) -> ClientPod:
    """On the node that no test breaks."""
    pod = ClientPod(kube, namespace, node=lab.control_plane)
    pod.start()
    return pod


@pytest.fixture(scope="module")
def database(kube: Kube, namespace: str, client: ClientPod) -> Database:
    """A database whose members are given a minute."""
    spec = {"databases": [{"name": "shop"}], "repair": {"afterMinutes": 1}, "parameters": FEW}
    kube.must_apply(own("DatabaseReplica", "main", spec), namespace)
    made = Database(kube, namespace, "main", "shop")
    made.wait_whole()
    return made


@pytest.fixture(autouse=True)
def healed(lab: Cluster) -> Iterator[None]:
    yield
    faults.heal(lab)


def _status(kube: Kube, database: Database) -> dict[str, Any]:
    found: dict[str, Any] = kube.must_get("DatabaseReplica", database.namespace, database.name)["status"]
    return found


def _repairs(kube: Kube, database: Database, member: str) -> list[str]:
    return [each["reason"] for each in _status(kube, database).get("repairs", []) if each["member"] == member]


def _shell(kube: Kube, database: Database, member: str, script: str) -> str:
    return kube.exec(database.namespace, member, "postgres", "bash", "-c", script)


def _standby(kube: Kube, database: Database) -> str:
    """One that was not copied yet: each is, once in half an hour at the most. What an earlier test left broken is whole first."""
    database.wait_whole()
    copied = {each["member"] for each in _status(kube, database).get("repairs", [])}
    if not (left := set(database.names()) - copied - {database.leader()}):
        left = {database.leader()}
        said = kubectl_baas(kube, database.namespace, "switchover", "main")
        assert said.returncode == 0, said.stdout + said.stderr
        database.wait_whole()
    return min(left)


@pytest.mark.chaos
def test_a_standby_with_broken_files_is_copied_anew(lab: Cluster, kube: Kube, database: Database, ledger: Ledger) -> None:
    member = _standby(kube, database)
    before = database.address(member)

    with ledger.writing():
        ledger.wait_for_writes()
        # A replayed page that is written out needs pg_control, so without it PostgreSQL may well be down before it is killed.
        _shell(kube, database, member, f"read -r pid < {DATA}/postmaster.pid; rm {DATA}/global/pg_control; kill -9 $pid || true")
        wait_until(
            lambda: _repairs(kube, database, member) == ["NotStarting"], timeout_seconds=REPAIRED_SECONDS, what=f"{member} is copied anew"
        )
        database.wait_whole()
        ledger.wait_for_writes()

    assert database.address(member) == before, "in its place, with the pod that it had"
    assert_nothing_lost(ledger, database)


@pytest.mark.chaos
def test_a_standby_that_lacks_what_the_primary_threw_away_is_copied_anew_once_it_can_be(
    lab: Cluster, kube: Kube, database: Database, client: ClientPod, ledger: Ledger
) -> None:
    member = _standby(kube, database)
    leader = database.leader()
    nodes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in database.members()}
    faults.partition(lab, nodes[member], nodes[leader])

    client.psql(database.uri, "create table if not exists bulk (x text) with (autovacuum_enabled = false)")
    for _ in range(4):
        client.psql(database.uri, ROWS * 10, timeout_seconds=120)
        _shell(kube, database, leader, "psql -XAtqc checkpoint")

    def told() -> dict[str, Any]:
        return next((each.get("trouble") or {} for each in _status(kube, database)["members"] if each["name"] == member), {})

    wait_until(lambda: told().get("reason") == "NotFollowing", timeout_seconds=SHOWN_SECONDS, what="somebody has noticed")
    wait_until(
        lambda: kube.condition(database.namespace, "DatabaseReplica", "main", "Reconciling").get("reason") == "MemberStuck",
        timeout_seconds=REPAIRED_SECONDS, what="why nothing is done is told",
    )  # fmt: skip
    assert "NotFollowing" not in _repairs(kube, database, member), "who can not reach the primary must keep what it has"

    faults.heal(lab)
    wait_until(
        lambda: "NotFollowing" in _repairs(kube, database, member), timeout_seconds=REPAIRED_SECONDS, what=f"{member} is copied anew"
    )
    database.wait_whole()
    assert_nothing_lost(ledger, database)


@pytest.mark.chaos
def test_a_volume_that_went_with_its_node_is_made_anew(lab: Cluster, kube: Kube, database: Database, ledger: Ledger) -> None:
    """The zone has no other node, so the member waits for this one: without its data, as of a new disk."""
    member = _standby(kube, database)
    pod = kube.must_get("Pod", database.namespace, member)
    node, claim = pod["spec"]["nodeName"], f"data-{member}"
    before = kube.must_get("PersistentVolumeClaim", database.namespace, claim)["metadata"]["uid"]

    faults.kill(lab, node)
    try:
        lab.kubectl("taint", "node", node, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute")
        wait_until(
            lambda: (kube.get("PersistentVolumeClaim", database.namespace, claim) or pod)["metadata"]["uid"]
            not in (before, pod["metadata"]["uid"]),
            timeout_seconds=REPAIRED_SECONDS, what="the claim is another",
        )  # fmt: skip
        assert "NodeGone" in _repairs(kube, database, member)
    finally:
        faults.start(lab, node)
        lab.kubectl("taint", "node", node, f"{OUT_OF_SERVICE}-")
    database.wait_whole()
    assert_nothing_lost(ledger, database)


def test_writes_are_held_off_before_the_primarys_volume_is_full(lab: Cluster, kube: Kube, database: Database, client: ClientPod) -> None:
    client.psql(database.uri, "create table if not exists room (x int)")
    node = kube.must_get("Pod", database.namespace, database.leader())["spec"]["nodeName"]
    free = int(lab.docker.shell(node, f"df --output=avail -B1M {VOLUMES_IN_NODE} | tail -1"))
    size = int(lab.docker.shell(node, f"df --output=size -B1M {VOLUMES_IN_NODE} | tail -1"))

    faults.fill(lab, node, VOLUMES_IN_NODE, f"{free - size * 3 // 100}MiB")

    def refused() -> bool:
        try:
            client.psql(database.uri, "insert into room values (1)")
        except CommandError as error:
            return "read-only transaction" in str(error)
        return False

    held_off = until(refused, timeout_seconds=SHOWN_SECONDS, what="writes are held off")
    print(f"\nwrites held off {held_off:.0f} s after the volume filled")
    wait_until(
        lambda: kube.condition(database.namespace, "DatabaseReplica", "main", "StoragePressure").get("reason") == "ReadOnlyStorageFull",
        timeout_seconds=SHOWN_SECONDS, what="that is told",
    )  # fmt: skip
    assert kube.condition(database.namespace, "DatabaseReplica", "main", "Ready")["status"] == "False"
    assert len(client.psql(database.uri, "select count(*) from room")) == 1, "reads go on"
    client.psql(database.uri, "begin read write; delete from room; commit")

    faults.unfill(lab, node)
    until(lambda: not refused(), timeout_seconds=SHOWN_SECONDS, what="writes are taken again")
    database.wait_whole()
    assert kube.condition(database.namespace, "DatabaseReplica", "main", "StoragePressure") == {}
