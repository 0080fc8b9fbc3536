"""A workload that keeps data: a StatefulSet with a volume a pod, spread over zones, whose volumes outlive it unless told otherwise."""

from __future__ import annotations

from typing import Any

from baas_operator.api.common import DeletionPolicy, StorageSpec
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Manifest, Owner
from baas_operator.desired.pods import spread


def build_stateful_set(
    owner: Owner, component: str, *, replicas: int, service: str, storage: StorageSpec, policy: DeletionPolicy, config_checksum: str,
    hard_spread: bool, pod: dict[str, Any], update: str = "RollingUpdate",
    annotations: dict[str, str] | None = None,
) -> Manifest:  # fmt: skip
    """The StatefulSet, named as its owner. `pod` is the pod's spec without what is the same for all, `annotations` are more of
    the pod's; the volume is called `data`.

    Pods start in parallel: members find each other by themselves, and one that can not start must not keep the others from it.
    """
    selector = owner.selector(component)
    labels = owner.labels(component)
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": storage.size}},
    }
    if storage.storage_class_name:
        claim["storageClassName"] = storage.storage_class_name
    return owner.child(
        "apps/v1",
        "StatefulSet",
        owner.name,
        component,
        spec={
            "replicas": replicas,
            "serviceName": service,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": update},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Delete" if policy is DeletionPolicy.DELETE else "Retain",
                "whenScaled": "Retain",
            },
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": labels, "annotations": {CHECKSUM_ANNOTATION: config_checksum} | (annotations or {})},
                "spec": {
                    "enableServiceLinks": False,
                    "topologySpreadConstraints": spread(selector, hard=hard_spread),
                    **pod,
                },
            },
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "data", "labels": labels},
                    "spec": claim,
                }
            ],
        },
    )
