"""Metrics as a Prometheus would scrape them: all that docs/monitoring.md tells of is there, and says what is so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from baas_lab import faults
from baas_lab.errors import LabError
from baas_lab.waiting import wait_until
from baas_operator.desired.database import names
from tests.e2e.harness.client_pod import SQL, ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import OPERATOR, SYSTEM_NAMESPACE, Kube, until
from tests.e2e.harness.ledger import Ledger
from tests.e2e.harness.plugin import kubectl_baas

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
OPERATOR_PORT = 8080
MOST_BYTES = 40 * 1024 * 1024
"""What the exporter's process may take; it has been seen with 20 MB, and its container is killed at 48 MiB."""
PROCESS = "prometheus-postgres-exporter"[:15]
"""As the kernel has it."""
FAILOVER_SECONDS = 15.0
STATUS_SECONDS = 15.0
BACK_SECONDS = 30.0
FETCH = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=8).read().decode())"

Scraped = Mapping[str, list[Sample]]


def told() -> dict[str, set[str]]:
    """The metrics of the page's tables, by who has them."""
    rows = re.findall(r"^\|[^|]+\|([^|]+)\| (Patroni|exporter|operator) \|$", PAGE.read_text(), re.M)
    found: dict[str, set[str]] = {}
    for metrics, source in rows:
        found.setdefault(source, set()).update(re.findall(r"`((?:pg|patroni|baas)_\w+)`", metrics))
    return found


def read(text: str) -> Scraped:
    """By name of the sample. Without what is said of types: the parser would add `_total` to the name of each counter that lacks it."""
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(re.sub(r"^#.*\n", "", text, flags=re.M)):
        for each in family.samples:
            found.setdefault(each.name, []).append(each)
    return found


class Fetch:
    """Scrapes from a pod in the cluster."""

    def __init__(self, client: ClientPod) -> None:
        self._client = client

    def __call__(self, address: str, port: int) -> Scraped:
        words = ("python3", "-c", FETCH, f"http://{address}:{port}/metrics")
        text = self._client.kube.exec(self._client.namespace, "client", SQL, *words)
        return read(text)

    def member(self, database: Database, member: str) -> Scraped:
        """Patroni's and the exporter's."""
        address = database.address(member)
        return {**self(address, names.PATRONI_PORT), **self(address, names.EXPORTER_PORT)}

    def operator(self) -> Scraped:
        """Of the replica that leads."""
        kube = self._client.kube
        selector = kube.must_get("Deployment", SYSTEM_NAMESPACE, OPERATOR)["spec"]["selector"]["matchLabels"]
        pods = kube.list("Pod", SYSTEM_NAMESPACE, ",".join(f"{key}={text}" for key, text in selector.items()))
        found = [self(pod["status"]["podIP"], OPERATOR_PORT) for pod in pods if pod["status"].get("podIP")]
        return next(each for each in found if value(each, "baas_leading") == 1)


@pytest.fixture(scope="module")
def fetch(client: ClientPod) -> Fetch:
    return Fetch(client)


def value(scraped: Scraped, metric: str, /, **labels: str) -> float | None:
    """The one sample with these labels; None if there is none."""
    found = [each.value for each in scraped.get(metric, []) if labels.items() <= each.labels.items()]
    assert len(found) <= 1, f"{metric} {labels}: {found}"
    return found[0] if found else None


def test_every_metric_that_is_told_of_is_there(database: Database, fetch: Fetch) -> None:
    table = told()
    assert {source: len(found) > 2 for source, found in table.items()} == {"Patroni": True, "exporter": True, "operator": True}

    scraped = [fetch.member(database, each) for each in database.names()]
    # There are those of a failover once there was one: the last test here looks for them. Those of queues: tests/unit/test_metrics_page.py.
    elsewhere = {each for each in table["operator"] if "failover" in each or each.startswith("baas_queue_")}
    there = {name for each in (*scraped, fetch.operator()) for name in each} | elsewhere

    assert set().union(*table.values()) - there == set()


def test_members_tell_their_role_and_that_none_lags(database: Database, fetch: Fetch) -> None:
    leader = database.leader()
    for member in database.names():
        scraped, leads = fetch.member(database, member), member == leader
        assert value(scraped, "patroni_primary", scope="main", name=member) == leads
        assert value(scraped, "patroni_quorum_standby", name=member) == (not leads)
        assert value(scraped, "pg_replication_is_replica") == (not leads)
        assert value(scraped, "pg_up") == 1
        lag = value(scraped, "pg_replication_lag_seconds")
        assert lag is not None
        assert lag < 60
        assert value(scraped, "pg_database_size_bytes", datname="shop"), "a database that nobody else may connect to"
        if leads:
            standbys = {each.labels["application_name"] for each in scraped["pg_stat_replication_pg_wal_lsn_diff"]}
            assert standbys == set(database.names()) - {leader}


def test_no_collector_fails_and_the_exporter_is_small(database: Database, fetch: Fetch) -> None:
    for member in database.names():
        scraped = fetch.member(database, member)
        assert {each.labels["collector"]: each.value for each in scraped["pg_scrape_collector_success"] if each.value != 1} == {}
        assert value(scraped, "pg_exporter_last_scrape_error") == 0
        taken = value(scraped, "process_resident_memory_bytes")
        assert taken
        print(f"\nexporter beside {member}: {taken / 2**20:.1f} MiB")
        assert taken < MOST_BYTES


def test_the_exporter_has_neither_data_nor_a_token_nor_the_superusers_role(kube: Kube, database: Database) -> None:
    member = database.names()[0]

    def psql(role: str, sql: str) -> str:
        words = ("psql", "-XAtq", "-h", names.SOCKET_DIR, "-U", role, "-d", "postgres", "-c", sql)
        return kube.exec(database.namespace, member, "exporter", *words)

    assert psql(names.EXPORTER, "select current_user").strip() == names.EXPORTER
    with pytest.raises(LabError, match="permission denied"):
        psql(names.EXPORTER, "select * from pg_authid")
    for role in (names.SUPERUSER, names.REPLICATOR, database.owner):
        with pytest.raises(LabError, match=r"authentication failed|no pg_hba\.conf entry"):
            psql(role, "select 1")
    with pytest.raises(LabError):
        kube.exec(database.namespace, member, "exporter", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")


def test_an_exporter_that_dies_comes_back_and_its_member_stays_ready(kube: Kube, database: Database, fetch: Fetch) -> None:
    member = database.names()[0]

    def restarts() -> dict[str, int]:
        said = kube.must_get("Pod", database.namespace, member)["status"]["containerStatuses"]
        return {each["name"]: each["restartCount"] for each in said}

    before, ready = restarts(), kube.condition(database.namespace, "Pod", member, "Ready")
    assert ready["status"] == "True"
    began = value(fetch.member(database, member), "process_start_time_seconds")
    faults.pod_kill(kube.lab, database.namespace, member, "exporter", process=PROCESS)

    def back() -> bool:
        try:
            return value(fetch.member(database, member), "process_start_time_seconds") != began
        except LabError:
            return False

    wait_until(back, timeout_seconds=BACK_SECONDS, what="the exporter is back")
    assert restarts() == before, "it is begun anew inside its container"
    assert kube.condition(database.namespace, "Pod", member, "Ready")["lastTransitionTime"] == ready["lastTransitionTime"]


@pytest.mark.parametrize("planned", [True, False], ids=["switchover", "failover"])
def test_what_a_change_of_the_primary_took_is_told(kube: Kube, database: Database, ledger: Ledger, fetch: Fetch, planned: bool) -> None:
    database.wait_whole()
    old = database.leader()
    was_at = database.address(old)

    with ledger.writing():
        if planned:
            said = kubectl_baas(kube, database.namespace, "switchover", "main")
            assert said.returncode == 0, said.stdout + said.stderr
        else:
            faults.pod_kill(kube.lab, database.namespace, old, "postgres")
        ledger.wait_for_another_server(was_at)

    def last() -> dict[str, object]:
        return dict(kube.must_get("DatabaseReplica", database.namespace, "main")["status"].get("lastFailover") or {})

    until(lambda: last().get("fromMember") == old, timeout_seconds=STATUS_SECONDS, what="the status tells of it")
    found = last()
    assert (found["toMember"], found["planned"]) == (database.leader(), planned)
    seconds = found["seconds"]
    assert isinstance(seconds, int | float)
    print(f"\n{'switchover' if planned else 'failover'}: {seconds} s as the new primary's agent saw it")
    assert 0 < seconds < FAILOVER_SECONDS
    kind = str(planned).lower()
    wait_until(
        lambda: value(fetch.operator(), "baas_database_last_failover_seconds", name="main", planned=kind) == seconds,
        timeout_seconds=STATUS_SECONDS, what="the operator's metric says the same",
    )  # fmt: skip
