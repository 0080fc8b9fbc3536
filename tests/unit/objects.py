"""Objects as the API server, the scheduler and the kubelet would have them, for stories about a cluster that is not there."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import OwnKind
from baas_operator.desired.meta import ZONE_LABEL, Manifest, Owner

NAMESPACE = "prod"
NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
ZONES = ("zone-a", "zone-b", "zone-c")


def own(kind: OwnKind, name: str, spec: Manifest | None = None, *, status: Manifest | None = None) -> Manifest:
    """An object of ours."""
    metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-of-{name}", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": API_VERSION, "kind": kind.name, "metadata": metadata, "spec": spec or {}, "status": status or {}}


def owner(kind: OwnKind, name: str) -> Owner:
    """The same as an owner of children."""
    return Owner(kind.name, NAMESPACE, name, f"uid-of-{name}")


def condition(kind: str, status: bool, reason: str = "Because", message: str = "It is so.") -> Manifest:
    """A condition of the generation that `own` makes."""
    return {
        "type": kind, "status": str(status), "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": "2026-05-01T11:00:00Z",
    }  # fmt: skip


def conditions(*made: Manifest) -> Manifest:
    """A status that has these."""
    return {"observedGeneration": 1, "conditions": list(made)}


def node(name: str, zone: str | None, *, control_plane: bool = False) -> Manifest:
    """A node."""
    taints = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}] if control_plane else []
    labels = {ZONE_LABEL: zone} if zone else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}


def nodes(*zones: str | None) -> dict[str, Manifest]:
    """One node a zone, named after it, beside a control plane in the first of them that takes no pods."""
    made = [node(f"node-{zone or index}", zone) for index, zone in enumerate(zones)]
    made.append(node("control-plane", zones[0] if zones else None, control_plane=True))
    return {each["metadata"]["name"]: each for each in made}


def pod(
    whose: Owner, name: str, component: str, *, on: str | None, ready: bool = True, ip: str | None = None,
    labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, waiting: tuple[str, str] | None = None,
) -> Manifest:  # fmt: skip
    """A pod; `on` is its node, `waiting` what the kubelet says of a container that does not start."""
    made = whose.child("v1", "Pod", name, component, labels=labels, annotations=annotations, spec={"nodeName": on} if on else {})
    made["metadata"] |= {"uid": f"{name}-uid"}
    made["status"] = {
        "podIP": ip,
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"state": {"waiting": {"reason": waiting[0], "message": waiting[1]}} if waiting else {"running": {}}}],
    }
    return made


def secret(whose: Owner, name: str, component: str, **values: str) -> Manifest:
    """A Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    made = whose.child("v1", "Secret", name, component, data=data)
    made["metadata"]["resourceVersion"] = "1"
    return made


def keyed(*manifests: Manifest) -> dict[tuple[str, str], Manifest]:
    """Children as a View has them."""
    return {(each["kind"], each["metadata"]["name"]): each for each in manifests}


def reason(found: Any, kind: str) -> str | None:
    """The reason of a plan's condition, or None if it has none of that type."""
    return next((each.reason for each in found.conditions if each.type == kind), None)


def message(found: Any, kind: str) -> str:
    """The sentence of a plan's condition."""
    return next(str(each.message) for each in found.conditions if each.type == kind)


def status(found: Any, kind: str) -> bool | None:
    """Whether a plan's condition is true."""
    return next((bool(each.status) for each in found.conditions if each.type == kind), None)
