"""Nodes that are about to go: cordoned, being deleted, or marked by what will take them away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from baas_operator.api.kinds import POD
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.observe.view import View

_TAINTS: Mapping[str, str] = {
    "ToBeDeletedByClusterAutoscaler": "is removed by the cluster autoscaler",
    "karpenter.sh/disrupted": "is removed by Karpenter",
    "karpenter.sh/disruption": "is removed by Karpenter",
    "node.kubernetes.io/out-of-service": "is out of service",
}
"""Taints that are put on a node once it is decided that it goes (kubernetes/autoscaler, cluster-autoscaler/utils/taints; Karpenter's
documentation, "Disruption", and until its v1 another name; Kubernetes' own, "Well-Known Labels, Annotations and Taints").

Not `DeletionCandidateOfClusterAutoscaler`: that is a node which is not needed now, and for ten minutes more it may be needed again.
"""
_CORDONED = "is cordoned"


def leaving(node: Manifest) -> str | None:
    """Why nothing should be moved to a node, and a primary away from it, in a few words: `is cordoned`. None for one that stays."""
    spec = node.get("spec") or {}
    if node["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    told = (_TAINTS[each["key"]] for each in spec.get("taints") or [] if each["key"] in _TAINTS)
    return next(told, _CORDONED if spec.get("unschedulable") else None)


def drain_begins(database: View, member: str) -> bool:
    """Whether a member's node is cordoned and nothing else is told of it. Then its pods are most likely being evicted at this moment
    (`kubectl drain` cordons first). Who taints nodes takes their pods away later: cluster-autoscaler waits for five seconds (its flag
    `--node-delete-delay-after-taint`), Karpenter until there is another node."""
    return any(name == member and leaving(node) == _CORDONED for name, node in _nodes(database))


def members_leaving(database: View) -> dict[str, str]:
    """Members whose node is about to go, and why, as `worker-2 is cordoned`."""
    return {name: f"{node['metadata']['name']} {why}" for name, node in _nodes(database) if (why := leaving(node))}


def _nodes(database: View) -> Iterator[tuple[str, Manifest]]:
    """Members and the node that each runs on, as far as it is known."""
    for pod in database.all(POD, names.COMPONENT):
        if (node := database.nodes.get((pod.get("spec") or {}).get("nodeName") or "")) is not None:
            yield pod["metadata"]["name"], node
