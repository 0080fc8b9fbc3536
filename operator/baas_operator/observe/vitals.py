"""What is known of a member that does not work: what Patroni last said of it, whether it is there to say it, and where its volume is."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.kinds import VOLUME_CLAIM
from baas_operator.desired.meta import HOST_LABEL, Manifest
from baas_operator.observe.conditions import READY, find
from baas_operator.observe.database import annotations_of, patroni_status
from baas_operator.observe.report import Report, read_report
from baas_operator.observe.view import View, is_ready

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""Taint by which somebody says that a node is shut down for sure (Kubernetes documentation, "Non-graceful node shutdown")."""
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""Annotation of a claim: the node that its volume was made for."""


@dataclass(frozen=True)
class Vitals:
    """A member. `state`, `streams` and `position` (bytes of WAL) are what Patroni last noted; `runs`: its container does, on a node that
    answers. `claim` is None once the claim of its volume is deleted; `lost_node`: where the volume was, if that node is gone."""

    name: str
    uid: str
    created: str
    ip: str | None
    goes: bool
    ready: bool
    runs: bool
    placed: bool
    revision: str | None
    state: str
    streams: bool
    position: int | None
    timeline: int | None
    report: Report
    claim: Manifest | None
    lost_node: str | None


def node_is_gone(view: View, name: str) -> bool:
    """Whether a node is proven gone: somebody deleted it, or said that it is out of service. One that does not answer is not: it may
    only be cut off."""
    if not view.nodes:
        return False
    node = view.nodes.get(name)
    return node is None or is_out_of_service(node)


def is_out_of_service(node: Manifest) -> bool:
    """Whether somebody said that a node is shut down for sure."""
    return any(each.get("key") == OUT_OF_SERVICE for each in (node.get("spec") or {}).get("taints") or [])


def hosts_of(volume: Manifest) -> frozenset[str]:
    """The hosts that a PersistentVolume can be used on, where it is tied to hosts; none for one that is not, such as one of a whole zone.

    A volume can be used where any of its terms holds (Kubernetes API reference, `VolumeNodeAffinity`): it is tied to hosts if each of them
    names some.
    """
    affinity = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}
    found: set[str] = set()
    for term in affinity.get("nodeSelectorTerms") or []:
        hosts = [
            each.get("values") or [] for each in term.get("matchExpressions") or []
            if each.get("key") == HOST_LABEL and each.get("operator") == "In"
        ]  # fmt: skip
        if not any(hosts):
            return frozenset()
        found |= {host for values in hosts for host in values}
    return frozenset(found)


def _runs(view: View, pod: Manifest) -> bool:
    node = view.nodes.get((pod.get("spec") or {}).get("nodeName") or "")
    answers = node is not None and (find(node, READY) or {"status": "True"})["status"] == "True"
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    return answers and any("running" in (each.get("state") or {}) for each in containers)


def _lost_node(view: View, pod: Manifest, claim: Manifest | None) -> str | None:
    """The node that is gone and had the volume of a pod that has no place for it."""
    if (pod.get("spec") or {}).get("nodeName") or claim is None or not (claim.get("spec") or {}).get("volumeName"):
        return None
    node = annotations_of(claim).get(_SELECTED_NODE)
    return node if node and node_is_gone(view, node) else None


def vitals_of(view: View, pod: Manifest) -> Vitals:
    """Read a member's pod and its claim."""
    metadata, said = pod["metadata"], patroni_status(pod)
    claim = view.child(VOLUME_CLAIM, f"data-{metadata['name']}")
    position, timeline = said.get("xlog_location"), said.get("timeline")
    return Vitals(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        created=metadata.get("creationTimestamp", ""),
        ip=(pod.get("status") or {}).get("podIP"),
        goes=bool(metadata.get("deletionTimestamp")),
        ready=is_ready(pod),
        runs=_runs(view, pod),
        placed=bool((pod.get("spec") or {}).get("nodeName")),
        revision=(metadata.get("labels") or {}).get("controller-revision-hash"),
        state=str(said.get("state", "unknown")),
        streams=said.get("replication_state") == "streaming",
        position=position if isinstance(position, int) else None,
        timeline=timeline if isinstance(timeline, int) else None,
        report=read_report(pod),
        claim=claim,
        lost_node=_lost_node(view, pod, claim),
    )
