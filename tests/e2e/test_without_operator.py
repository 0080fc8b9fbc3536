"""The data plane never waits for the operator: a primary dies while none runs, and another takes its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from baas_lab import faults
from baas_lab.cluster import Cluster
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube
from tests.e2e.harness.ledger import Ledger
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

FAILOVER_SECONDS = 40.0
"""The leader lock's ttl of 20 s, which decides where a member can not let go of it, and an election."""
WHOLE_SECONDS = 180.0


@pytest.fixture(scope="module")
def database(kube: Kube, namespace: str, client: ClientPod) -> Database:
    kube.must_apply(own("DatabaseReplica", "main", {"databases": [{"name": "shop"}]}), namespace)
    made = Database(kube, namespace, "main", "shop")
    made.wait_whole()
    return made


@pytest.fixture(scope="module")
def ledger(database: Database, client: ClientPod) -> Ledger:
    made = Ledger(client, database.uri)
    made.prepare()
    return made


@pytest.fixture
def nobody(kube: Kube, ledger: Ledger) -> Iterator[None]:
    """No operator runs."""
    kube.scale_operator(0)
    yield
    kube.scale_operator(2)


def _delete(lab: Cluster, kube: Kube, namespace: str, pod: str) -> None:
    assert kube.delete("Pod", namespace, pod).ok


def _kill(lab: Cluster, kube: Kube, namespace: str, pod: str) -> None:
    faults.pod_kill(lab, namespace, pod, "postgres")


def _kill_postgres(lab: Cluster, kube: Kube, namespace: str, pod: str) -> None:
    faults.pod_kill(lab, namespace, pod, "postgres", process="postgres")


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("strike", [_delete, _kill, _kill_postgres], ids=["its pod deleted", "its container killed", "PostgreSQL killed"])
def test_a_primary_that_dies_is_replaced_though_no_operator_runs(
    lab: Cluster, kube: Kube, database: Database, ledger: Ledger, strike: Callable[[Cluster, Kube, str, str], None]
) -> None:
    old = database.leader()
    was_at = database.address(old)

    with ledger.writing():
        since = time.monotonic()
        strike(lab, kube, database.namespace, old)
        ledger.wait_for_another_server(was_at, FAILOVER_SECONDS)
    gap = ledger.longest_gap_seconds(since)

    new = database.leader()
    assert new != old
    assert database.routed_to() == database.address(new) == ledger.acks[-1].server
    print(f"\n{gap:.1f} s without writes, {len(ledger.acks)} rows acknowledged, {len(ledger.in_doubt)} in doubt")

    kube.scale_operator(2)
    database.wait_whole(WHOLE_SECONDS)
    for member in database.names():
        ledger.wait_replayed(database.member_uri(member))
        assert not ledger.missing_in(database.member_uri(member)), f"{member} lacks acknowledged rows"
