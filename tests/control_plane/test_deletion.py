"""Deleting an object takes all that can be made again, and the data only where the spec says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.children import Child, children, expire_lease, selector, wait_collector, wait_judged, wait_quiet
from .harness.cluster import ControlPlane
from .harness.operator import OperatorProcess

GONE_SECONDS = 30.0


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[OperatorProcess]:
    wait_collector(cp)
    with cp.operator() as running:
        yield running


def claims(cp: ControlPlane, namespace: str, kind: str, name: str) -> dict[str, str]:
    found = cp.list("PersistentVolumeClaim", namespace, selector(kind, name))
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}


def made(cp: ControlPlane, namespace: str, kind: str, policy: str) -> None:
    cp.must_apply(own(kind, "shop", {"deletionPolicy": policy}), namespace)
    wait_judged(cp, namespace, kind, "shop")
    cp.wait(lambda: len(claims(cp, namespace, kind, "shop")) == 3, 30, "three volumes")
    wait_quiet(cp)


def delete(cp: ControlPlane, namespace: str, kind: str, name: str = "shop") -> None:
    cp.delete(kind, namespace, name)
    cp.wait(lambda: cp.get(kind, namespace, name) is None, GONE_SECONDS, f"{kind} {name} is gone")


def passwords(left: dict[Child, Object]) -> dict[str, tuple[str, str]]:
    return {name: (each["metadata"]["uid"], str(each["data"])) for (kind, name), each in left.items() if kind == "Secret"}


DATA = {"DatabaseReplica": "shop-role-postgres", "EventQueue": "shop-user-admin"}


@pytest.mark.parametrize("kind", ["DatabaseReplica", "EventQueue"])
def test_retain_keeps_volumes_and_passwords(cp: ControlPlane, namespace: str, kind: str) -> None:
    made(cp, namespace, kind, "Retain")
    volumes = claims(cp, namespace, kind, "shop")
    before = passwords(children(cp, namespace, kind, "shop"))

    delete(cp, namespace, kind)

    def kept() -> set[str]:
        return {child for child, _ in children(cp, namespace, kind, "shop")}

    cp.wait(lambda: kept() == {"Secret"}, GONE_SECONDS, "nothing is left but Secrets")
    cp.wait(lambda: cp.list("Pod", namespace) == [], GONE_SECONDS, "no pod is left")
    left = passwords(children(cp, namespace, kind, "shop"))
    assert claims(cp, namespace, kind, "shop") == volumes
    assert DATA[kind] in left
    assert left.items() <= before.items()

    # An object of the same name takes them up again: same volumes, same passwords.
    cp.must_apply(own(kind, "shop", {}), namespace)
    cp.wait(lambda: len(claims(cp, namespace, kind, "shop")) == 3 and len(cp.list("Pod", namespace)) >= 3, 30, "three pods")
    wait_quiet(cp)
    assert claims(cp, namespace, kind, "shop") == volumes
    again = passwords(children(cp, namespace, kind, "shop"))
    assert again.items() >= left.items()


@pytest.mark.parametrize("kind", ["DatabaseReplica", "EventQueue"])
def test_delete_leaves_nothing(cp: ControlPlane, namespace: str, kind: str) -> None:
    made(cp, namespace, kind, "Delete")

    delete(cp, namespace, kind)

    cp.wait(lambda: children(cp, namespace, kind, "shop") == {}, GONE_SECONDS, "no child is left")
    cp.wait(lambda: claims(cp, namespace, kind, "shop") == {}, GONE_SECONDS, "no volume is left")


def test_retained_instance_keeps_its_data(cp: ControlPlane, namespace: str) -> None:
    """The database and the queue that were made for it go with it; their volumes and passwords, and its keys, stay."""
    cp.must_apply(own("BaasInstance", "shop", {}), namespace)
    wait_judged(cp, namespace, "BaasInstance", "shop")
    cp.wait(lambda: len(claims(cp, namespace, "DatabaseReplica", "shop-db")) == 3, 30, "three volumes")
    cp.wait(lambda: len(claims(cp, namespace, "EventQueue", "shop-events")) == 3, 30, "three volumes")
    wait_quiet(cp)
    volumes = claims(cp, namespace, "DatabaseReplica", "shop-db") | claims(cp, namespace, "EventQueue", "shop-events")
    keys = passwords(children(cp, namespace, "BaasInstance", "shop"))

    delete(cp, namespace, "BaasInstance")

    cp.wait(lambda: cp.list("Deployment", namespace) == [], GONE_SECONDS, "no component is left")
    cp.wait(lambda: cp.list("StatefulSet", namespace) == [], GONE_SECONDS, "no server is left")
    kept = claims(cp, namespace, "DatabaseReplica", "shop-db") | claims(cp, namespace, "EventQueue", "shop-events")
    assert kept == volumes
    assert {"shop-signing-key", "shop-api-keys"} <= set(passwords(children(cp, namespace, "BaasInstance", "shop")))

    cp.must_apply(own("BaasInstance", "shop", {}), namespace)
    wait_judged(cp, namespace, "BaasInstance", "shop")
    wait_quiet(cp)
    assert passwords(children(cp, namespace, "BaasInstance", "shop")) == keys, "API keys that clients hold stopped working"


def test_deleted_instance_leaves_nothing_under_delete(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("BaasInstance", "shop", {"deletionPolicy": "Delete"}), namespace)
    wait_judged(cp, namespace, "BaasInstance", "shop")
    cp.wait(lambda: len(claims(cp, namespace, "DatabaseReplica", "shop-db")) == 3, 30, "three volumes")

    delete(cp, namespace, "BaasInstance")

    for kind, name in (("BaasInstance", "shop"), ("DatabaseReplica", "shop-db"), ("EventQueue", "shop-events")):
        cp.wait(lambda kind=kind, name=name: children(cp, namespace, kind, name) == {}, GONE_SECONDS, f"no child of {name} is left")
        cp.wait(lambda kind=kind, name=name: claims(cp, namespace, kind, name) == {}, GONE_SECONDS, f"no volume of {name} is left")


def test_database_that_is_referred_to_outlives_the_instance(cp: ControlPlane, namespace: str) -> None:
    made(cp, namespace, "DatabaseReplica", "Retain")
    cp.must_apply(own("BaasInstance", "app", {"databaseRef": {"name": "shop"}, "deletionPolicy": "Delete"}), namespace)
    wait_judged(cp, namespace, "BaasInstance", "app")
    wait_quiet(cp)

    delete(cp, namespace, "BaasInstance", "app")

    gone = selector("BaasInstance", "app")
    cp.wait(lambda: cp.list("Deployment", namespace, gone) == [], GONE_SECONDS, "no component is left")
    assert cp.get("DatabaseReplica", namespace, "shop") is not None
    assert len(claims(cp, namespace, "DatabaseReplica", "shop")) == 3


def test_a_change_of_mind_that_no_operator_saw_keeps_the_data(cp: ControlPlane, namespace: str, operator: OperatorProcess) -> None:
    """`kubectl patch … Retain && kubectl delete …` while none runs: what was made under Delete has owner references, and the garbage
    collector knows nothing of policies. The last story of this file: it ends the operator."""
    made(cp, namespace, "EventQueue", "Delete")
    cp.must_apply(own("BaasInstance", "app", {"deletionPolicy": "Delete"}), namespace)
    owners = [("EventQueue", "shop"), ("DatabaseReplica", "app-db"), ("EventQueue", "app-events")]
    for owner in owners:
        cp.wait(lambda owner=owner: len(claims(cp, namespace, *owner)) == 3, 30, f"three volumes of {owner[1]}")
    wait_quiet(cp)
    volumes = [claims(cp, namespace, *owner) for owner in owners]
    before = passwords(children(cp, namespace, "EventQueue", "shop")), passwords(children(cp, namespace, "BaasInstance", "app"))
    operator.stop()
    expire_lease(cp)

    for kind, name in (("EventQueue", "shop"), ("BaasInstance", "app")):
        cp.must_apply(own(kind, name, {"deletionPolicy": "Retain"}), namespace)
        cp.delete(kind, namespace, name)
    with cp.operator("baas-operator-1"):
        cp.wait(lambda: all(cp.list(kind, namespace) == [] for kind in ("BaasInstance", "DatabaseReplica", "EventQueue")), 60, "all gone")
        cp.wait(lambda: cp.list("StatefulSet", namespace) == [], GONE_SECONDS, "no server is left")
        cp.wait(lambda: cp.list("Pod", namespace) == [], GONE_SECONDS, "no pod is left")

    assert [claims(cp, namespace, *owner) for owner in owners] == volumes
    after = passwords(children(cp, namespace, "EventQueue", "shop")), passwords(children(cp, namespace, "BaasInstance", "app"))
    assert after[0] == {name: each for name, each in before[0].items() if name != "shop-auth"}
    assert after[1] == before[1]
