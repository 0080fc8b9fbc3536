"""What the operator made for an object of ours, and how to wait until it is all there and quiet."""

from __future__ import annotations

import itertools
import time
import uuid

from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import CHILD_KINDS, OWN_KINDS
from tests.harness.api import Object

from .chart import SYSTEM_NAMESPACE
from .cluster import POLL_SECONDS, ControlPlane

Child = tuple[str, str]
"""Kind and name."""

LEASE = "baas-operator"
FIRST_SECONDS = 30.0
"""For a first reconcile, the operator's start included, on a machine that has other things to do."""

_OURS = frozenset(kind.name for kind in OWN_KINDS)
_LISTED = [kind.name for kind in (*CHILD_KINDS, *OWN_KINDS) if kind.name not in ("Pod", "PersistentVolumeClaim")]


def selector(kind: str, name: str) -> str:
    """The labels that every child of an object has."""
    return f"app.kubernetes.io/managed-by=baas-operator,baas-operator.io/kind={kind},baas-operator.io/name={name}"


def children(cp: ControlPlane, namespace: str, kind: str, name: str) -> dict[Child, Object]:
    """The objects that the operator itself made for one of ours: not their Pods, claims and mirrored slices."""
    found = {}
    for each in _LISTED:
        for made in cp.list(each, namespace, selector(kind, name)):
            makers = [ref["kind"] for ref in made["metadata"].get("ownerReferences", []) if ref.get("controller")]
            if not makers or makers[0] in _OURS:
                found[each, made["metadata"]["name"]] = made
    return found


def tree(cp: ControlPlane, namespace: str, instance: str) -> dict[Child, Object]:
    """The children of a BaasInstance and those of the database and the queue that it made."""
    found = children(cp, namespace, "BaasInstance", instance)
    for kind, name in list(found):
        if kind in _OURS:
            found |= children(cp, namespace, kind, name)
    return found


def condition(cp: ControlPlane, namespace: str, kind: str, name: str, which: str) -> Object | None:
    """A condition of an object, if it speaks of the object's present generation."""
    stored = cp.get(kind, namespace, name)
    if stored is None:
        return None
    for each in stored.get("status", {}).get("conditions", []):
        if each["type"] == which and each.get("observedGeneration") == stored["metadata"]["generation"]:
            return each  # type: ignore[no-any-return]
    return None


def wait_judged(cp: ControlPlane, namespace: str, kind: str, name: str, timeout: float = FIRST_SECONDS) -> Object:
    """Wait until the operator has said what it thinks of the object as it now is; returns `Ready`."""
    found = cp.wait(lambda: condition(cp, namespace, kind, name, "Ready"), timeout, f"a Ready condition of {kind} {namespace}/{name}")
    assert found is not None
    return found


def wait_quiet(cp: ControlPlane, quiet: float = 1.5, timeout: float = 60.0) -> None:
    """Wait until no operator has written anything for `quiet` seconds."""
    mark, since = cp.audit.mark(), time.monotonic()
    deadline = since + timeout
    last: list[object] = []
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, f"the operator goes on writing, its last words to the API server: {last[-5:]}"
        time.sleep(POLL_SECONDS)
        writes = cp.writes(mark)
        if writes:
            last = [str(each) for each in writes]
            mark, since = cp.audit.mark(), time.monotonic()


def wait_collector(cp: ControlPlane, namespace: str = "default", timeout: float = 60.0) -> None:
    """Wait until the garbage collector knows our kinds. It looks for new ones every 30 s, and asks ever more rarely for an owner whose kind
    it did not know: right after the CRDs were installed, 39 s were seen from an object's deletion to its children's."""
    deadline = time.monotonic() + timeout
    for number in itertools.count():
        assert time.monotonic() < deadline, f"after {timeout:g} s the garbage collector still does not know our kinds"
        owner = {"apiVersion": API_VERSION, "kind": "DatabaseReplica", "name": "nobody", "uid": str(uuid.uuid4())}
        name = f"orphan-{number}"
        # Each is a new one: those that were asked about in vain have to wait longer each time.
        cp.must_apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [owner]}}, namespace)
        time.sleep(1)
        if cp.get("ConfigMap", namespace, name) is None:
            return


def leader(cp: ControlPlane) -> str | None:
    """Name of the operator that holds the Lease."""
    lease = cp.get("Lease", SYSTEM_NAMESPACE, LEASE)
    return (lease or {}).get("spec", {}).get("holderIdentity") or None


def wait_leads(cp: ControlPlane, name: str, timeout: float = FIRST_SECONDS) -> None:
    """Wait until that operator holds the Lease."""
    cp.wait(lambda: leader(cp) == name, timeout, f"{name} holds the Lease")


def expire_lease(cp: ControlPlane) -> None:
    """Spare the next operator the wait for the Lease of one that was killed; test_leader waits for it in earnest."""
    cp.delete("Lease", SYSTEM_NAMESPACE, LEASE)
