"""What somebody deletes or edits by hand is put back, at once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.children import Child, tree, wait_judged, wait_quiet
from .harness.cluster import POLL_SECONDS, ControlPlane

BACK_WITHIN_SECONDS = 2.0

EDITS: dict[str, Object] = {
    "ServiceAccount": {"automountServiceAccountToken": True},
    "Role": {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]},
    "RoleBinding": {"subjects": []},
    "Service": {"spec": {"ports": [{"name": "wrong", "port": 1}]}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 3}},
    "NetworkPolicy": {"spec": {"ingress": [{}]}},
    "StatefulSet": {"spec": {"replicas": 0}},
    "Deployment": {"spec": {"replicas": 0}},
    "DatabaseReplica": {"spec": {"deletionPolicy": "Delete"}},
    "EventQueue": {"spec": {"deletionPolicy": "Delete"}},
    "EndpointSlice": {"metadata": {"labels": {"kubernetes.io/service-name": "elsewhere"}}},
}
"""A merge patch that changes what the operator wants. ConfigMaps are edited by key, Secrets are not put back (see below)."""

NEVER_EDITED = {"Secret", "Job"}
"""A Secret is drawn once and then kept, so that a rotation by hand is not undone; a Job's template can not be changed."""


@pytest.fixture(scope="module")
def instance(cp: ControlPlane) -> Iterator[str]:
    """A namespace with an instance named `shop` that is at rest."""
    namespace = "drift"
    cp.must_apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    with cp.operator():
        cp.must_apply(own("BaasInstance", "shop", {}), namespace)
        wait_judged(cp, namespace, "BaasInstance", "shop")
        cp.wait(lambda: ("StatefulSet", "shop-db") in tree(cp, namespace, "shop"), 30, "a database")
        wait_quiet(cp, quiet=4)
        yield namespace
        cp.delete("BaasInstance", namespace, "shop")
        cp.wait(lambda: cp.get("BaasInstance", namespace, "shop") is None, 30, "the instance is gone")
    cp.delete("Namespace", None, namespace)


def test_deleted_children_come_back(cp: ControlPlane, instance: str, figure: Callable[[str], None]) -> None:
    took: dict[Child, float] = {}
    before = tree(cp, instance, "shop")
    for (kind, name), made in before.items():
        if kind in ("DatabaseReplica", "EventQueue"):
            continue  # those are data: test_deletion
        started = time.monotonic()
        assert cp.delete(kind, instance, name).ok
        uid = made["metadata"]["uid"]
        again = await_child(cp, instance, (kind, name), lambda live, uid=uid: live["metadata"]["uid"] != uid)
        took[kind, name] = time.monotonic() - started
        if kind == "Secret":
            assert again["data"] == made["data"], f"Secret {name} came back with other content: nobody could log in any more"

    figure(told("deleted", took))
    assert {kind for kind, _ in took} >= {"ServiceAccount", "Role", "RoleBinding", "Secret", "ConfigMap", "Service", "StatefulSet"}
    assert max(took.values()) < BACK_WITHIN_SECONDS


def test_edited_children_are_put_back(cp: ControlPlane, instance: str, figure: Callable[[str], None]) -> None:
    wait_quiet(cp)
    took: dict[Child, float] = {}
    for (kind, name), made in tree(cp, instance, "shop").items():
        if kind in NEVER_EDITED:
            continue
        edit = {"data": {next(iter(made["data"])): "tampered"}} if kind == "ConfigMap" else EDITS[kind]
        started = time.monotonic()
        answer = cp.patch(kind, instance, name, edit)
        assert answer.ok, answer.message
        wanted = picked(made, edit)
        await_child(cp, instance, (kind, name), lambda live, edit=edit, wanted=wanted: picked(live, edit) == wanted)
        took[kind, name] = time.monotonic() - started

    figure(told("edited", took))
    assert {kind for kind, _ in took} >= set(EDITS)
    assert max(took.values()) < BACK_WITHIN_SECONDS


def test_child_that_lost_its_labels_is_found_again(cp: ControlPlane, instance: str) -> None:
    """Without its labels it leaves the operator's watch: that counts as a deletion."""
    wait_quiet(cp)
    labels = {"app.kubernetes.io/managed-by": None, "baas-operator.io/kind": None, "baas-operator.io/name": None}
    started = time.monotonic()

    cp.patch("Service", instance, "shop-db-ro", {"metadata": {"labels": labels}})

    await_child(cp, instance, ("Service", "shop-db-ro"), lambda live: live["metadata"]["labels"].get("baas-operator.io/name") == "shop-db")
    assert time.monotonic() - started < BACK_WITHIN_SECONDS


def test_what_others_add_stays(cp: ControlPlane, instance: str) -> None:
    """Annotations and labels of cost tools, service meshes and people are theirs."""
    wait_quiet(cp)
    theirs = {"labels": {"team": "shop"}, "annotations": {"example.org/note": "ours"}}
    cp.patch("Service", instance, "shop-db-rw", {"metadata": theirs})
    cp.patch("ConfigMap", instance, "shop-db-patroni", {"data": {"patroni.yml": "tampered"}})
    await_child(cp, instance, ("ConfigMap", "shop-db-patroni"), lambda live: live["data"]["patroni.yml"] != "tampered")
    wait_quiet(cp)

    live = cp.get("Service", instance, "shop-db-rw")
    assert live is not None
    assert live["metadata"]["labels"]["team"] == "shop"
    assert live["metadata"]["annotations"]["example.org/note"] == "ours"


def picked(live: Object, edit: Object) -> object:
    """The fields of `live` that `edit` touches."""
    made: dict[str, Any] = {}
    for key, value in edit.items():
        inner = live.get(key)
        made[key] = picked(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else copy.deepcopy(inner)
    return made


def await_child(cp: ControlPlane, namespace: str, child: Child, good: Any) -> Object:
    kind, name = child
    deadline = time.monotonic() + 20 * BACK_WITHIN_SECONDS
    while True:
        live = cp.get(kind, namespace, name)
        if live is not None and not live["metadata"].get("deletionTimestamp") and good(live):
            return live
        assert time.monotonic() < deadline, f"{kind} {name} did not come back"
        time.sleep(POLL_SECONDS / 5)


def told(what: str, took: dict[Child, float]) -> str:
    (kind, name), seconds = max(took.items(), key=lambda item: item[1])
    mean = sum(took.values()) / len(took)
    return f"{what}: {len(took)} children back after {mean:.2f} s on average, {seconds:.2f} s at worst ({kind} {name})"
