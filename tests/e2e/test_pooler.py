"""Through the pooler: what clients feel when the primary moves, dies or freezes, and when a pooler itself goes.

`docs/decisions/pooler.md` has what was found with one PgBouncer and no cluster; here are its image, kube-proxy and the whole of Patroni.
"""

from __future__ import annotations

import time

import pytest

from baas_lab import faults
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost
from tests.e2e.harness.plugin import kubectl_baas

pytestmark = pytest.mark.e2e

STALL_SECONDS = 3.0
"""Twice what is promised: a busy machine runs this in between."""
FAILOVER_SECONDS = 15.0
FROZEN_SECONDS = 10.0
"""More than is promised, as above; the leader lock would run out after 20 s."""
SETTLED_SECONDS = 5.0
"""By then a primary has renewed its lock with its own voters; before, the lock of one that falls silent has to run out
(docs/decisions/early-release.md, "What it does not do")."""
POOLERS = 3


@pytest.fixture(scope="module")
def uri(kube: Kube, database: Database) -> str:
    """What the Secret of a new role says of the pooler."""
    return kube.secret(database.namespace, f"main-role-{database.owner}")["pooler_uri"]


@pytest.fixture(scope="module")
def pooled(database: Database, client: ClientPod, uri: str) -> Ledger:
    """What the database acknowledges to a client of the pooler."""
    made = Ledger(client, uri)
    made.prepare()
    return made


def test_the_secret_leads_through_the_pooler_to_the_primary(kube: Kube, database: Database, client: ClientPod, uri: str) -> None:
    (address,) = client.psql(uri, "select host(inet_server_addr())")

    assert address == database.address(database.leader())
    assert len(kube.zones_of(kube.pods_of(database.namespace, "main", "pooler"))) == POOLERS
    assert kube.must_get("DatabaseReplica", database.namespace, "main")["status"]["poolerReadyReplicas"] == POOLERS


def test_tls_is_all_the_way(kube: Kube, database: Database, client: ClientPod, uri: str) -> None:
    assert client.psql(uri, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == ["t"], "to PostgreSQL, too"
    with pytest.raises(Exception, match="SSL required"):
        client.psql(uri.replace("sslmode=require", "sslmode=disable"), "select 1")


def test_no_superuser_comes_through_the_pooler(kube: Kube, database: Database, client: ClientPod) -> None:
    passwords = {role: kube.secret(database.namespace, f"main-role-{role}")["password"] for role in ("postgres", "rewind")}
    for role, password in {**passwords, "replicator": "it has none"}.items():
        with pytest.raises(Exception, match=r"no such user|authentication failed"):
            client.psql(f"postgresql://{role}:{password}@main-pooler.{database.namespace}.svc:5432/postgres", "select 1")


def test_a_switchover_is_a_stall_and_no_error(kube: Kube, database: Database, pooled: Ledger) -> None:
    was_at = database.address(database.leader())
    pooled.in_doubt.clear()

    with pooled.writing():
        since = time.monotonic()
        said = kubectl_baas(kube, database.namespace, "switchover", "main")
        assert said.returncode == 0, said.stdout + said.stderr
        pooled.wait_for_another_server(was_at)

    gap = pooled.longest_gap_seconds(since)
    print(f"\nswitchover through the pooler: {gap:.2f} s without writes, {len(pooled.in_doubt)} rows in doubt")
    assert pooled.in_doubt == []
    assert gap < STALL_SECONDS
    assert_nothing_lost(pooled, database)


def test_a_killed_primary_is_waited_for(kube: Kube, database: Database, pooled: Ledger) -> None:
    database.wait_whole()
    old = database.leader()
    was_at = database.address(old)

    with pooled.writing():
        since = time.monotonic()
        faults.pod_kill(kube.lab, database.namespace, old, "postgres")
        pooled.wait_for_another_server(was_at)

    gap = pooled.longest_gap_seconds(since)
    print(f"\nprimary killed, through the pooler: {gap:.2f} s without writes, {len(pooled.in_doubt)} rows in doubt")
    assert gap < FAILOVER_SECONDS
    assert_nothing_lost(pooled, database)


def test_a_frozen_primary_holds_no_client(kube: Kube, database: Database, pooled: Ledger) -> None:
    """A query that a frozen server has got hangs without the pooler: the server's kernel goes on acknowledging. A pooler may freeze with
    it; the client, which must not, then finds the other one."""
    database.wait_whole()
    nodes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in database.members()}
    beside_us = kube.must_get("Pod", database.namespace, "client")["spec"]["nodeName"]
    if nodes[database.leader()] == beside_us:
        elsewhere = next(name for name, node in nodes.items() if node != beside_us)
        assert kubectl_baas(kube, database.namespace, "switchover", "main", "--to", elsewhere).returncode == 0
        database.wait_whole()
        time.sleep(SETTLED_SECONDS)
    old = database.leader()
    was_at = database.address(old)
    node = nodes[old]

    faults.pause(kube.lab, node)
    try:
        since = time.monotonic()
        with pooled.writing():
            pooled.wait_for_another_server(was_at, timeout_seconds=FROZEN_SECONDS)
    finally:
        faults.unpause(kube.lab, node)
    gap = pooled.longest_gap_seconds(since)
    print(f"\nprimary frozen, through the pooler: {gap:.1f} s without writes for a client that came while it was")
    assert gap < FROZEN_SECONDS
    assert_nothing_lost(pooled, database)


def test_a_pooler_that_has_to_go_takes_no_transaction_with_it(kube: Kube, database: Database, pooled: Ledger) -> None:
    database.wait_whole()
    pooled.in_doubt.clear()

    with pooled.writing():
        for pod in kube.pods_of(database.namespace, "main", "pooler"):
            name = pod["metadata"]["name"]
            assert kube.delete("Pod", database.namespace, name).ok
            wait_until(lambda name=name: kube.get("Pod", database.namespace, name) is None, timeout_seconds=60, what=f"{name} has drained")
            kube.wait_rollout(database.namespace, "deployment/main-pooler", timeout_seconds=60)

    print(f"\nboth poolers replaced: {len(pooled.in_doubt)} rows in doubt")
    # A query that was on its way just then is answered by the end of the connection: what was said before is lost with it (TCP).
    cut = {each.split(":")[0].removeprefix("row ") for each in pooled.in_doubt if "shutting down" not in each}
    done = cut & set(pooled.client.psql(pooled.uri, "select id from ledger"))
    assert not done, "turned away between two transactions, and never within one"
    assert_nothing_lost(pooled, database)


def test_a_changed_password_works_at_once(database: Database, client: ClientPod, uri: str) -> None:
    client.psql(database.uri, "alter role shop password 'another-one'")
    changed = uri.replace(uri.split(":")[2].split("@")[0], "another-one")

    assert client.psql(changed, "select 1") == ["1"]
    with pytest.raises(Exception, match="authentication failed"):
        client.psql(uri, "select 1")
