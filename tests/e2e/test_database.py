"""A replicated database: what its services lead to, and what becomes of acknowledged rows when its primary moves or dies."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from baas_lab.errors import CommandError
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube, until
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost
from tests.e2e.harness.plugin import kubectl_baas

pytestmark = pytest.mark.e2e

TAKEN_OVER_SECONDS = 30.0
"""For a parameter: the operator writes it down, each member's Patroni reads that every 2 s and has PostgreSQL reload."""
FAILOVER_SECONDS = 15.0
"""Without a primary, after its pod was deleted: it hands over by itself, which takes 2 to 3 s on a quiet machine."""


def test_a_declared_database_takes_writes_through_its_secret(database: Database, client: ClientPod) -> None:
    said = client.psql(
        database.uri,
        "create table t (x int); insert into t values (7); select x, current_user, current_database(), pg_is_in_recovery() from t",
    )

    assert said == ["7|shop|shop|f"]


def test_ro_leads_to_standbys(database: Database, client: ClientPod) -> None:
    reader = database.uri_at("main-ro")

    assert {client.psql(reader, "select pg_is_in_recovery()")[0] for _ in range(4)} == {"t"}


def test_a_commit_waits_for_any_other_zone(database: Database, client: ClientPod) -> None:
    (names,) = client.psql(database.uri, "show synchronous_standby_names")

    standbys = sorted(set(database.names()) - {database.leader()})
    assert names.startswith("ANY 1 (")
    assert sorted(re.findall(r"main-\d", names)) == standbys


def test_a_changed_parameter_is_taken_over_without_a_restart(kube: Kube, database: Database, client: ClientPod) -> None:
    started = "select pg_postmaster_start_time()"
    before = {member: client.psql(database.member_uri(member), started) for member in database.names()}

    kube.must_patch("DatabaseReplica", database.namespace, "main", {"spec": {"parameters": {"work_mem": "7MB"}}})

    for member in database.names():
        uri = database.member_uri(member)
        wait_until(
            lambda uri=uri: client.psql(uri, "show work_mem") == ["7MB"], timeout_seconds=TAKEN_OVER_SECONDS, what=f"{member} has it"
        )
        assert client.psql(uri, started) == before[member], f"{member} was restarted"


def test_a_switchover_moves_the_primary_and_loses_nothing(kube: Kube, database: Database, ledger: Ledger) -> None:
    old = database.leader()
    target = next(name for name in database.names() if name != old)
    was_at = database.address(old)

    with ledger.writing():
        since = time.monotonic()
        said = kubectl_baas(kube, database.namespace, "switchover", "main", "--to", target)
        assert said.returncode == 0, said.stdout + said.stderr
        ledger.wait_for_another_server(was_at)

    assert f"{old} -> {target}" in said.stdout
    assert database.leader() == target
    assert ledger.acks[-1].server == database.address(target)
    (operation,) = [each for each in kube.list("Operation", database.namespace) if each["status"]["phase"] == "Succeeded"]
    result = operation["status"]["result"]
    assert (result["fromMember"], result["toMember"]) == (old, target)
    assert 0 < result["durationSeconds"] < FAILOVER_SECONDS
    print(
        f"\nswitchover: {result['durationSeconds']} s as the operator saw it, {ledger.longest_gap_seconds(since):.1f} s without writes "
        f"as the client saw it, {len(ledger.in_doubt)} rows in doubt"
    )
    assert_nothing_lost(ledger, database)


def test_who_comes_to_a_former_primary_while_rw_still_led_there_does_not_stay(kube: Kube, database: Database, client: ClientPod) -> None:
    """A reader would not notice: it was to have the primary, and reads what was for as long as that one is cut off."""
    database.wait_whole()
    former = database.member_uri(database.leader())

    # In the pod, by one command: it has to come within the seconds in which nodes learn where -rw leads.
    as_soon_as_it_is_a_standby = (
        'until [ "$(psql -XAtq "$1" -c "select pg_is_in_recovery()" 2>/dev/null)" = t ]; do sleep 0.02; done; '
        'exec psql -XAtq "$1" -c "select pg_sleep($2)"'
    )
    with ThreadPoolExecutor() as aside:
        move = aside.submit(kubectl_baas, kube, database.namespace, "switchover", "main")
        with pytest.raises(CommandError, match="terminating connection"):
            client.shell(as_soon_as_it_is_a_standby, former, str(FAILOVER_SECONDS), timeout_seconds=60)
        assert move.result().returncode == 0
    database.wait_whole()
    assert client.psql(former, "select pg_sleep(4), pg_is_in_recovery()") == ["|t"], "who comes later stays"


@pytest.mark.parametrize(("to", "reason"), [("main-7", "has no standby 'main-7'"), ("the primary", "is the primary already")])
def test_a_switchover_to_nowhere_is_refused_with_a_sentence(kube: Kube, database: Database, to: str, reason: str) -> None:
    leader = database.leader()

    said = kubectl_baas(kube, database.namespace, "switchover", "main", "--to", leader if to == "the primary" else to)

    assert said.returncode == 1, said.stdout + said.stderr
    assert said.stdout.startswith("Refused: ")
    assert reason in said.stdout
    assert database.leader() == leader


def test_a_primary_whose_pod_is_deleted_is_replaced_and_loses_nothing(kube: Kube, database: Database, ledger: Ledger) -> None:
    old = database.leader()
    was_at = database.address(old)

    with ledger.writing():
        since = time.monotonic()
        assert kube.delete("Pod", database.namespace, old).ok
        ledger.wait_for_another_server(was_at)
        routed = until(
            lambda: database.leader() != old and database.routed_to() == database.address(database.leader()),
            timeout_seconds=FAILOVER_SECONDS, what="-rw leads to the new primary",
        )  # fmt: skip

    gap = ledger.longest_gap_seconds(since)
    print(
        f"\npod deleted: {gap:.1f} s without writes, -rw right {routed:.1f} s after the first of them, {len(ledger.in_doubt)} rows in doubt"
    )
    assert gap < FAILOVER_SECONDS
    assert_nothing_lost(ledger, database)
