"""Deleting a backend: its data and its keys stay until they are said to go, and then nothing stays."""

from __future__ import annotations

import pytest

from baas_lab.waiting import wait_until
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.kube import Kube
from tests.harness.api import Object
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

CHILD_KINDS = (
    "Pod", "StatefulSet", "Deployment", "ReplicaSet", "Job", "Service", "EndpointSlice", "ConfigMap", "Secret", "ServiceAccount", "Role",
    "RoleBinding", "PodDisruptionBudget", "PersistentVolumeClaim", "DatabaseReplica", "EventQueue", "BaasInstance",
)  # fmt: skip
NOT_OURS = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default"), ("Pod", "client")}
GONE_SECONDS = 300.0
READY_SECONDS = 360.0
PATRONI = {f"shop-db-{part}" for part in ("config", "leader", "sync", "failover", "failsafe", "status")}
"""ConfigMaps that Patroni makes by itself; they belong to the data: a member that starts on its volume looks for them."""


def left(kube: Kube, namespace: str) -> dict[tuple[str, str], Object]:
    """Everything in the namespace that is not the cluster's own or the test's."""
    found = {(kind, each["metadata"]["name"]): each for kind in CHILD_KINDS for each in kube.list(kind, namespace)}
    return {key: each for key, each in found.items() if key not in NOT_OURS}


def delete_and_wait(kube: Kube, namespace: str, stays: set[str]) -> dict[tuple[str, str], Object]:
    """Delete the instance, and wait until only these kinds, and what Patroni made, are left. Returns that."""
    assert kube.delete("BaasInstance", namespace, "shop").ok

    def settled() -> bool:
        return all(kind in stays or (stays and name in PATRONI) for kind, name in left(kube, namespace))

    def what() -> str:
        return f"only {', '.join(sorted(stays)) or 'nothing'} is left"

    wait_until(settled, timeout_seconds=GONE_SECONDS, what=what())
    return left(kube, namespace)


@pytest.fixture(scope="module")
def owner_uri(kube: Kube, namespace: str) -> str:
    kube.must_apply(own("BaasInstance", "shop", {}), namespace)
    kube.wait_condition(namespace, "BaasInstance", "shop", timeout_seconds=READY_SECONDS)
    return kube.secret(namespace, "shop-role-owner")["uri"]


def test_retained_data_and_keys_are_taken_up_again(kube: Kube, namespace: str, client: ClientPod, owner_uri: str) -> None:
    client.psql(owner_uri, "create table kept (x int); insert into kept values (42)")
    before = left(kube, namespace)
    secrets = {name for kind, name in before if kind == "Secret"}

    after = delete_and_wait(kube, namespace, {"PersistentVolumeClaim", "Secret"})

    assert {name for kind, name in after if kind == "PersistentVolumeClaim"} == {
        f"data-shop-{part}-{index}" for part in ("db", "events") for index in range(3)
    }
    kept = {name for kind, name in after if kind == "Secret"}
    # The queue's configuration is made of the passwords; only those are worth keeping.
    assert kept == secrets - {"shop-events-auth"}
    assert all(after["Secret", name]["data"] == before["Secret", name]["data"] for name in kept)

    kube.must_apply(own("BaasInstance", "shop", {}), namespace)
    kube.wait_condition(namespace, "BaasInstance", "shop", timeout_seconds=READY_SECONDS)

    assert client.psql(owner_uri, "select x from kept") == ["42"]
    again = left(kube, namespace)
    assert all(again["Secret", name]["data"] == before["Secret", name]["data"] for name in kept)
    volumes = {key: each["spec"]["volumeName"] for key, each in before.items() if key[0] == "PersistentVolumeClaim"}
    assert {key: again[key]["spec"]["volumeName"] for key in volumes} == volumes


@pytest.mark.usefixtures("owner_uri")
def test_nothing_is_left_where_the_data_goes_too(kube: Kube, namespace: str) -> None:
    kube.must_patch("BaasInstance", namespace, "shop", {"spec": {"deletionPolicy": "Delete"}})
    for kind, name in (("DatabaseReplica", "shop-db"), ("EventQueue", "shop-events")):
        wait_until(
            lambda kind=kind, name=name: kube.must_get(kind, namespace, name)["spec"]["deletionPolicy"] == "Delete",
            timeout_seconds=30, what=f"{kind} {name} knows of it",
        )  # fmt: skip
        kube.wait_condition(namespace, kind, name, timeout_seconds=READY_SECONDS)

    after = delete_and_wait(kube, namespace, set())

    assert after == {}
