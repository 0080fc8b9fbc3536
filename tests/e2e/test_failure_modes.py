"""What goes wrong with backends in the world, brought about, and what has to come of it (docs/failure-modes.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from baas_lab import faults
from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.clients import Clients, whole
from tests.e2e.harness.gateway import GATEWAY_PORT, Keys
from tests.e2e.harness.kube import Kube
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

NAME = "shop"
URL = f"http://{NAME}-gateway:{GATEWAY_PORT}"
ROWS = f"{URL}/rest/v1/notes?select=text"
SCHEMA = "create table notes (text text); insert into notes values ('there'); grant all on notes to anon, authenticated, service_role;"
COMPONENTS = ("gateway", "rest", "reads", "auth")
SEEN_SECONDS = 60.0
TOLD_SECONDS = 30.0
STORM = 40
STUCK_SECONDS = 60.0
BACK_SECONDS = 180.0
MISSING = "baas-operator/no-such-image:1"
WRONG = {"email": "nobody@example.com", "password": "wrong"}


@pytest.fixture(scope="module")
def keys(kube: Kube, namespace: str, client: ClientPod) -> Keys:
    """Those of a backend that serves, with a table that has a row."""
    spec = {"deletionPolicy": "Delete", "components": {name: {"replicas": 2} for name in COMPONENTS}}
    kube.must_apply(own("BaasInstance", NAME, spec), namespace)
    kube.wait_whole(namespace, "BaasInstance", NAME)
    client.psql(kube.secret(namespace, f"{NAME}-role-owner")["uri"], SCHEMA)
    return Keys.of(kube, namespace, NAME)


@pytest.fixture(scope="module")
def clients(kube: Kube, namespace: str, keys: Keys) -> Clients:
    made = Clients(kube, namespace, "backend.mjs", {})
    made.start()
    wait_until(
        lambda: all(made.ask("GET", ROWS, keys.anon).status == 200 for _ in range(4)),
        timeout_seconds=SEEN_SECONDS, what="PostgREST knows the table", poll_seconds=1,
    )  # fmt: skip
    return made


@pytest.fixture
def put_back(kube: Kube, namespace: str, keys: Keys) -> Iterator[Callable[[str, object], None]]:
    """Set a part of a component's spec; the test's end takes it out and waits until the backend is whole."""
    changed: list[tuple[str, str]] = []

    def change(component: str, spec: object) -> None:
        assert isinstance(spec, dict)
        changed.extend((component, key) for key in spec)
        kube.must_patch("BaasInstance", namespace, NAME, {"spec": {"components": {component: spec}}})

    yield change
    for component, key in changed:
        kube.must_patch("BaasInstance", namespace, NAME, {"spec": {"components": {component: {key: None}}}})
    wait_until(lambda: whole(kube, namespace, NAME), timeout_seconds=BACK_SECONDS, what="it is whole again", poll_seconds=1)
    kube.wait_whole(namespace, "BaasInstance", NAME)


def reconciling(kube: Kube, namespace: str) -> tuple[str, str]:
    said = kube.condition(namespace, "BaasInstance", NAME, "Reconciling")
    return str(said.get("reason", "")), str(said.get("message", ""))


def sign_in(clients: Clients, keys: Keys) -> int:
    return clients.ask("POST", f"{URL}/auth/v1/token?grant_type=password", keys.anon, WRONG).status


def test_an_upgrade_that_does_not_start_leaves_what_ran_before(
    kube: Kube, namespace: str, keys: Keys, clients: Clients, put_back: Callable[[str, object], None]
) -> None:
    put_back("auth", {"image": MISSING})
    wait_until(
        lambda: len(kube.pods_of(namespace, NAME, "auth")) == 3,
        timeout_seconds=TOLD_SECONDS, what="there is a pod of the new image", poll_seconds=0.5,
    )  # fmt: skip
    assert sign_in(clients, keys) == 400
    assert kube.condition(namespace, "BaasInstance", NAME, "Ready")["status"] == "True"
    assert kube.condition(namespace, "BaasInstance", NAME, "Reconciling")["status"] == "True"


def test_auth_that_hangs_takes_neither_reads_nor_users_tokens_with_it(kube: Kube, namespace: str, keys: Keys, clients: Clients) -> None:
    token = keys.token("authenticated", sub=str(uuid4()))
    for pod in kube.pods_of(namespace, NAME, "auth"):
        faults.pod_kill(kube.lab, namespace, pod["metadata"]["name"], "auth", "STOP")
    wait_until(lambda: sign_in(clients, keys) == 503, timeout_seconds=TOLD_SECONDS, what="signing in is refused at once", poll_seconds=0.5)
    for key in (keys.anon, token):
        answer = clients.ask("GET", ROWS, key)
        assert answer.status == 200, answer
        assert "there" in answer.body
    wait_until(
        lambda: "auth" in str(kube.condition(namespace, "BaasInstance", NAME, "Ready").get("message", "")),
        timeout_seconds=TOLD_SECONDS, what="the status says it", poll_seconds=0.5,
    )  # fmt: skip
    # Its kubelet starts it anew, as it does not answer.
    wait_until(lambda: sign_in(clients, keys) == 400, timeout_seconds=BACK_SECONDS, what="auth is back by itself", poll_seconds=2)
    kube.wait_whole(namespace, "BaasInstance", NAME)


def test_a_client_that_asks_too_much_is_refused_and_the_others_are_not(
    keys: Keys, clients: Clients, put_back: Callable[[str, object], None]
) -> None:
    loud, calm = (keys.token("authenticated", sub=str(uuid4())) for _ in range(2))
    put_back("gateway", {"limits": {"perClient": {"requestsPerSecond": 2, "burst": 4}}})

    def refused() -> bool:
        return any(status == 429 for status, _ in clients.storm(ROWS, loud, STORM))

    wait_until(refused, timeout_seconds=SEEN_SECONDS, what="the storm is refused", poll_seconds=0.5)
    answers = clients.storm(ROWS, loud, STORM)
    assert {status for status, _ in answers} <= {200, 429}
    assert all(later for status, later in answers if status == 429), "it is told when to come again"
    assert clients.ask("GET", ROWS, calm).status == 200


def test_standbys_that_lag_are_not_what_clients_read(kube: Kube, namespace: str, keys: Keys, clients: Clients, client: ClientPod) -> None:
    owner = kube.secret(namespace, f"{NAME}-role-owner")["uri"]
    superuser = kube.secret(namespace, f"{NAME}-db-role-postgres")
    standbys = kube.pods_of(namespace, f"{NAME}-db", "postgresql")
    paused = []
    try:
        for pod in standbys:
            if pod["metadata"]["labels"].get("baas-operator.io/role") == "standby":
                uri = f"postgresql://{superuser['username']}:{superuser['password']}@{pod['status']['podIP']}:5432/postgres?sslmode=require"
                client.psql(uri, "select pg_wal_replay_pause()")
                paused.append(uri)
        assert len(paused) == 2
        client.psql(owner, "insert into notes values ('fresh')")
        for _ in range(5):
            assert "fresh" in clients.ask("GET", ROWS, keys.anon).body
    finally:
        for uri in paused:
            client.psql(uri, "select pg_wal_replay_resume()")


def test_a_quota_that_leaves_no_room_is_told_and_what_runs_goes_on(
    kube: Kube, namespace: str, keys: Keys, clients: Clients, put_back: Callable[[str, object], None]
) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    kube.must_apply(quota, namespace)
    try:
        put_back("rest", {"maxRows": 77})
        wait_until(
            lambda: reconciling(kube, namespace)[0] == "RolloutStuck",
            timeout_seconds=STUCK_SECONDS, what="that it is stuck is told", poll_seconds=0.5,
        )  # fmt: skip
        assert "exceeded quota" in reconciling(kube, namespace)[1]
        assert kube.condition(namespace, "BaasInstance", NAME, "Ready")["status"] == "True"
        assert clients.ask("GET", ROWS, keys.anon).status == 200
    finally:
        assert kube.delete("ResourceQuota", namespace, "full").ok


def test_a_key_that_leaked_opens_nothing_any_more(kube: Kube, namespace: str, keys: Keys, clients: Clients) -> None:
    """Last, as the keys are others afterwards."""
    began = time.monotonic()
    kube.must_patch("BaasInstance", namespace, NAME, {"spec": {"keys": {"revoked": [keys.key_id]}}})
    wait_until(
        lambda: all(clients.ask("GET", ROWS, keys.service_role).status == 401 for _ in range(4)),
        timeout_seconds=TOLD_SECONDS, what="the leaked key is refused", poll_seconds=0.2,
    )  # fmt: skip
    print(f"refused {time.monotonic() - began:.1f} s after it was revoked")
    fresh = Keys.of(kube, namespace, NAME)
    assert fresh.key_id != keys.key_id
    wait_until(
        lambda: all(clients.ask("GET", ROWS, fresh.anon).status == 200 for _ in range(4)),
        timeout_seconds=BACK_SECONDS, what="the new keys open it", poll_seconds=0.5,
    )  # fmt: skip
    assert json.loads(clients.ask("GET", ROWS, fresh.anon).body)
