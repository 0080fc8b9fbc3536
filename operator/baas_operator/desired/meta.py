"""Names, labels and owner references: the few rules that every manifest follows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from baas_operator.api.group import API_VERSION

Manifest = dict[str, Any]
"""A Kubernetes object as the API server takes it."""

MANAGED_BY = "baas-operator"
OPERATOR_NAMESPACE = "baas-system"
"""Where the operator runs unless it is told otherwise."""
KIND_LABEL = "baas-operator.io/kind"
NAME_LABEL = "baas-operator.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
ROLE_LABEL = "baas-operator.io/role"
CHECKSUM_ANNOTATION = "baas-operator.io/config-checksum"
ZONE_LABEL = "topology.kubernetes.io/zone"
HOST_LABEL = "kubernetes.io/hostname"
DIGEST = "baas-operator.io/digest"
"""In the data of an object that the operator keeps a part of, in the place of what it does not keep (engine/store.py)."""


@dataclass(frozen=True)
class Owner:
    """The object of ours that a child belongs to. `uid` is None when manifests are rendered offline."""

    kind: str
    namespace: str
    name: str
    uid: str | None = None

    def selector(self, component: str | None = None) -> dict[str, str]:
        """Labels that select the children of this object, or of one component of it; they never change."""
        made = {KIND_LABEL: self.kind, NAME_LABEL: self.name}
        return made | ({COMPONENT_LABEL: component} if component else {})

    def labels(self, component: str) -> dict[str, str]:
        """Labels of a child: Kubernetes' recommended ones, and ours.

        Not app.kubernetes.io/instance: Argo CD can track by that label, and would prune the kept Secrets of an application so named.
        """
        return {
            "app.kubernetes.io/name": component,
            "app.kubernetes.io/managed-by": MANAGED_BY,
            **self.selector(component),
        }

    def reference(self) -> dict[str, Any] | None:
        """The owner reference of a child, or None offline."""
        if self.uid is None:
            return None
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def child(
        self,
        api_version: str,
        kind: str,
        name: str,
        component: str,
        *,
        owned: bool = True,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        **body: Any,
    ) -> Manifest:
        """A child's manifest. `owned=False` leaves the owner reference out, so that it outlives this object."""
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(component) | (labels or {}),
        }
        if annotations:
            metadata["annotations"] = annotations
        reference = self.reference() if owned else None
        if reference:
            metadata["ownerReferences"] = [reference]
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def checksum(*parts: object) -> str:
    """A short stable hash of anything JSON can say, for names and for the annotation that rolls pods on a change."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
