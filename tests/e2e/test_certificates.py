"""A server certificate renewed while clients are connected: on the wire, at each member and each pooler, and nothing is restarted."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from cryptography import x509

from baas_lab.errors import CommandError
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import SQL, ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import until
from tests.e2e.harness.ledger import Ledger, assert_nothing_lost

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

SECRET = "main-server-tls"
EXPIRES = "baas-operator.io/expires"
PORT = "5432"
DRAWN_SECONDS = 30.0
SHOWN_SECONDS = 180.0
"""The kubelet brings a Secret to a pod within its sync period (60 s) and what its cache adds; the agents look every 10 s."""
SELDOM = 2.0
"""Seconds between two looks: each is a kubectl exec, and what is to be seen is that nobody is disturbed."""


def issued(database: Database) -> x509.Certificate:
    """The certificate in the Secret."""
    return x509.load_pem_x509_certificate(database.kube.secret(database.namespace, SECRET)["tls.crt"].encode())


def shown(client: ClientPod, host: str) -> x509.Certificate:
    """What a new client is shown. Raises CommandError."""
    return x509.load_pem_x509_certificate(client.python(SQL, "served_certificate.py", host, PORT).encode())


def servers(database: Database) -> dict[str, str]:
    """Whoever shows the certificate: each member and each pooler, and its address."""
    found = [*database.members(), *database.kube.pods_of(database.namespace, database.name, "pooler")]
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found}


def starts(database: Database, client: ClientPod) -> dict[str, object]:
    """What would be another if anything was restarted: when each PostgreSQL started, and the containers of the poolers."""
    asked = "select pg_postmaster_start_time()"
    poolers = database.kube.pods_of(database.namespace, database.name, "pooler")
    return {
        **{member: client.psql(database.member_uri(member), asked) for member in database.names()},
        **{pod["metadata"]["name"]: sorted(each["containerID"] for each in pod["status"]["containerStatuses"]) for pod in poolers},
    }


@pytest.mark.parametrize("through", ["uri", "pooler_uri"])
def test_a_renewed_certificate_reaches_new_clients_and_old_ones_go_on(database: Database, client: ClientPod, through: str) -> None:
    database.wait_whole()
    old, running, addresses = issued(database), starts(database, client), servers(database)
    assert {shown(client, each).serial_number for each in addresses.values()} == {old.serial_number}
    ledger = Ledger(client, database.kube.secret(database.namespace, f"{database.name}-role-{database.owner}")[through])
    client.psql(database.uri, "drop table if exists ledger")
    ledger.prepare()

    with ledger.writing():
        database.kube.must_patch("Secret", database.namespace, SECRET, {"metadata": {"annotations": {EXPIRES: "2020-01-01T00:00:00Z"}}})
        drawn = until(
            lambda: issued(database).serial_number != old.serial_number, timeout_seconds=DRAWN_SECONDS, what=f"{SECRET} has another"
        )
        new = issued(database)

        def is_shown(name: str) -> bool:
            try:
                return shown(client, addresses[name]).serial_number == new.serial_number
            except CommandError as error:
                pytest.fail(f"{name} turned a client away: {error}")

        since = time.monotonic()
        wait_until(
            lambda: all(map(is_shown, addresses)), timeout_seconds=SHOWN_SECONDS, poll_seconds=SELDOM,
            what="everybody shows it to new clients",
        )  # fmt: skip
        arrived = time.monotonic() - since
        ledger.wait_for_writes()

    print(f"\n{through}: drawn after {drawn:.1f} s, shown by {len(addresses)} servers {arrived:.0f} s later, in doubt: {ledger.in_doubt}")
    assert ledger.in_doubt == []
    assert starts(database, client) == running, "nothing was restarted"
    bundle = database.kube.must_get("ConfigMap", database.namespace, "main-ca")["data"]["ca.crt"]
    new.verify_directly_issued_by(x509.load_pem_x509_certificate(bundle.encode()))
    expires = database.kube.must_get("Secret", database.namespace, SECRET)["metadata"]["annotations"][EXPIRES]
    assert datetime.fromisoformat(expires) > datetime.now(UTC)
    assert_nothing_lost(ledger, database)
