"""What somebody deletes or edits by hand is back within the moment, while the backend goes on serving.

`tests/control_plane/test_drift.py` does this to every child; here pods run behind them, and a client looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import SQL, ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.gateway import GATEWAY_PORT, Keys
from tests.e2e.harness.kube import Kube, until
from tests.harness.api import Object
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

BACK_SECONDS = 2.0
GIVEN_UP_SECONDS = 20.0
SETTLES_SECONDS = 300.0

NOWHERE = "192.0.2.1"
"""An address that nobody has (RFC 5737)."""

EDITS: dict[tuple[str, str], Object] = {
    ("Service", "shop-gateway"): {"spec": {"type": "NodePort"}},
    ("Service", "shop-db-ro"): {"spec": {"selector": {"baas-operator.io/role": "nobody"}}},
    ("ConfigMap", "shop-gateway"): {"data": {"envoy.yaml": "{}"}},
    ("ConfigMap", "shop-db-patroni"): {"data": {"patroni.yml": "scope: other"}},
    ("PodDisruptionBudget", "shop-db"): {"spec": {"maxUnavailable": 3}},
    ("Deployment", "shop-gateway"): {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 29}}}},
    ("StatefulSet", "shop-events"): {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 59}}}},
    ("EndpointSlice", "shop-db-rw"): {"endpoints": [{"addresses": [NOWHERE], "conditions": {"ready": True}}]},
}
"""The way in is opened to the world, but not cut: no operator is faster than kube-proxy, which follows a wrong selector at once."""

DELETED = [
    ("Service", "shop-db-rw"), ("Service", "shop-rest"), ("ConfigMap", "shop-gateway"), ("ConfigMap", "shop-db-patroni"),
    ("PodDisruptionBudget", "shop-db"), ("EndpointSlice", "shop-db-rw"), ("RoleBinding", "shop-db-member"),
    ("Secret", "shop-api-keys"), ("Secret", "shop-signing-key"), ("Secret", "shop-role-authenticator"), ("Secret", "shop-db-role-postgres"),
    ("Secret", "shop-events-user-app"),
]  # fmt: skip
"""Not here: the gateway's own Service, which comes back with another address, as any Service does."""


@pytest.fixture(scope="module")
def shop(kube: Kube, namespace: str, client: ClientPod) -> str:
    """A backend with a table."""
    kube.must_apply(own("BaasInstance", "shop", {}), namespace)
    kube.wait_whole(namespace, "BaasInstance", "shop")
    client.psql(kube.secret(namespace, "shop-role-owner")["uri"], "create table notes (x int); insert into notes values (1)")
    return "shop"


@contextmanager
def served(kube: Kube, client: ClientPod, namespace: str) -> Iterator[list[dict[str, Any]]]:
    """A client reads all the while; the answers that it got."""
    answers: list[dict[str, Any]] = []
    url = f"http://shop-gateway.{namespace}.svc:{GATEWAY_PORT}/rest/v1/notes"
    with client.running(SQL, "prober.py", url, Keys.of(kube, namespace, "shop").anon, tell=answers.append):
        wait_until(lambda: any(each["ok"] for each in answers), timeout_seconds=30, what="the backend serves")
        answers.clear()
        yield answers
        had = len(answers)
        wait_until(lambda: len(answers) >= had + 10, timeout_seconds=30, what="ten more answers")


def assert_all_answered(answers: list[dict[str, Any]]) -> None:
    """The client noticed nothing."""
    failed = [each["said"] for each in answers if not each["ok"]]
    assert not failed, f"{len(failed)} of {len(answers)} requests failed, such as {failed[:3]}"


def settled(kube: Kube, namespace: str) -> None:
    """Until a rollout that an edit began is over."""
    for workload in ("deployment/shop-gateway", "deployment/shop-rest"):
        kube.wait_rollout(namespace, workload, timeout_seconds=SETTLES_SECONDS)
    kube.wait_whole(namespace, "EventQueue", "shop-events", timeout_seconds=SETTLES_SECONDS)
    kube.wait_whole(namespace, "DatabaseReplica", "shop-db", timeout_seconds=SETTLES_SECONDS)
    kube.wait_whole(namespace, "BaasInstance", "shop", timeout_seconds=SETTLES_SECONDS)


def back(kube: Kube, namespace: str, kind: str, name: str, good: Callable[[Object], bool]) -> float:
    """Seconds until the child is there and good."""

    def look() -> bool:
        live = kube.get(kind, namespace, name)
        return live is not None and not live["metadata"].get("deletionTimestamp") and good(live)

    return until(look, timeout_seconds=GIVEN_UP_SECONDS, what=f"{kind} {name} is back")


def tell(what: str, took: dict[tuple[str, str], float]) -> None:
    worst = max(took, key=lambda key: took[key])
    mean = sum(took.values()) / len(took)
    print(f"\n{what}: {len(took)} children back after {mean:.2f} s on average, {took[worst]:.2f} s at worst ({' '.join(worst)})")


def picked(live: Any, edit: Any) -> Any:
    """The fields of `live` that an edit touches."""
    if isinstance(edit, dict) and isinstance(live, dict):
        return {key: picked(live.get(key), value) for key, value in edit.items()}
    if isinstance(edit, list) and isinstance(live, list):
        return [picked(each, edit[0]) for each in live]
    return live


def test_what_is_edited_is_put_back_and_the_backend_goes_on(kube: Kube, namespace: str, client: ClientPod, shop: str) -> None:
    took = {}
    with served(kube, client, namespace) as answers:
        for (kind, name), edit in EDITS.items():
            before = picked(kube.must_get(kind, namespace, name), edit)
            kube.must_patch(kind, namespace, name, edit)
            took[kind, name] = back(kube, namespace, kind, name, lambda live, edit=edit, before=before: picked(live, edit) == before)
        settled(kube, namespace)

    tell("edited", took)
    assert max(took.values()) < BACK_SECONDS
    assert_all_answered(answers)


def test_what_is_deleted_comes_back_as_it_was_and_the_backend_goes_on(kube: Kube, namespace: str, client: ClientPod, shop: str) -> None:
    took = {}
    with served(kube, client, namespace) as answers:
        for kind, name in DELETED:
            before = kube.must_get(kind, namespace, name)
            assert kube.delete(kind, namespace, name).ok
            uid = before["metadata"]["uid"]
            took[kind, name] = back(kube, namespace, kind, name, lambda live, uid=uid: live["metadata"]["uid"] != uid)
            if kind in ("Secret", "ConfigMap"):
                again = kube.must_get(kind, namespace, name)
                assert again["data"] == before["data"], f"{kind} {name} came back with other content"
        settled(kube, namespace)

    tell("deleted", took)
    assert max(took.values()) < BACK_SECONDS
    assert_all_answered(answers)


def test_writes_find_the_primary_again(kube: Kube, namespace: str, client: ClientPod, shop: str) -> None:
    """By hand, `-rw` was led elsewhere, deleted, and its Service too (above): it has to lead to the primary now."""
    database = Database(kube, namespace, "shop-db", "postgres")
    assert database.routed_to() == database.address(database.leader())

    uri = kube.secret(namespace, "shop-role-owner")["uri"]
    assert client.psql(uri, "insert into notes values (2) returning pg_is_in_recovery()") == ["f"]


def test_a_deployment_that_is_deleted_comes_back_with_its_pods(kube: Kube, namespace: str, shop: str) -> None:
    """Its pods go with it and drain; new ones take over as soon as they are ready."""
    before = kube.must_get("Deployment", namespace, "shop-rest")["metadata"]["uid"]
    assert kube.delete("Deployment", namespace, "shop-rest").ok

    took = back(kube, namespace, "Deployment", "shop-rest", lambda live: live["metadata"]["uid"] != before)
    settled(kube, namespace)

    print(f"\nDeployment back after {took:.2f} s")
    assert took < BACK_SECONDS
