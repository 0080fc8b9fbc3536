"""The data plane never waits for the operator: a primary dies while none runs, and another takes its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from baas_lab import faults
from baas_lab.cluster import Cluster
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost

pytestmark = pytest.mark.e2e

FAILOVER_SECONDS = 40.0
"""The leader lock's ttl of 20 s, which decides where a member can not let go of it, and an election."""


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
    assert_nothing_lost(ledger, database)
