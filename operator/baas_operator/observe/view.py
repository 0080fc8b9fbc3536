"""What a decision may look at: one object of ours with its children, the nodes, and whatever it refers to."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from baas_operator.api.kinds import Kind
from baas_operator.api.placement import ANYWHERE, NodePlacement, Toleration, TolerationOperator
from baas_operator.desired.images import Images
from baas_operator.desired.meta import OPERATOR_NAMESPACE, ZONE_LABEL, Manifest, Owner
from baas_operator.observe.conditions import READY, is_true
from baas_operator.observe.text import of_scheduler, shorten

_MAX_QUOTE = 200
"""Characters of what the scheduler or the kubelet says that a condition repeats: the cause comes first."""


@dataclass(frozen=True)
class Named:
    """What is known of a Secret or ConfigMap of the user's, which nobody watches: its version, the names of its keys, and whether pods read
    it only when they start. `flaw`: why a certificate and its key are of no use, in a few words."""

    version: str
    keys: frozenset[str]
    at_start: bool = False
    flaw: str | None = None


@dataclass(frozen=True)
class View:
    """Everything that was gathered for one reconcile. `others` are objects of ours that this one refers to, by (kind, name), with
    their children under `other_children`. `queues` are the EventQueues that it copies streams of, those that they copy streams of, and so
    on, by (namespace, name). `secrets` are Secrets that it names and that may be anybody's, by name; `named`: what is known of the user's
    Secrets and ConfigMaps that a backend names, of those that are there, by (kind, name). `external` is what an operand's own API said
    (None: not asked, or no answer). `untaken`: manifests that the API server did not take, or that wait for such, by (kind, name). `kinds`:
    those of others that the API server has and children may be of (api/kinds.py, OPTIONAL_KINDS); `monitoring_labels`: what a Prometheus
    finds PodMonitors by."""

    resource: Manifest
    children: Mapping[tuple[str, str], Manifest]
    nodes: Mapping[str, Manifest]
    now: datetime
    images: Images = field(default_factory=Images)
    operator_namespace: str = OPERATOR_NAMESPACE
    monitoring_namespace: str = ""
    monitoring_labels: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    others: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    other_children: Mapping[tuple[str, str], Mapping[tuple[str, str], Manifest]] = field(default_factory=dict)
    queues: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    secrets: Mapping[str, Manifest] = field(default_factory=dict)
    named: Mapping[tuple[str, str], Named] = field(default_factory=dict)
    external: Any = None
    untaken: frozenset[tuple[str, str]] = frozenset()

    @property
    def owner(self) -> Owner:
        """The object as an owner of children."""
        metadata = self.resource["metadata"]
        return Owner(self.resource["kind"], metadata["namespace"], metadata["name"], metadata["uid"])

    @property
    def spec(self) -> dict[str, Any]:
        """The object's spec."""
        return self.resource.get("spec") or {}

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the user's ConfigMaps and Secrets that pods read only when they start, by name."""
        made = dict[str, str]()
        for (_, name), each in sorted(self.named.items()):
            if each.at_start:
                made[name] = f"{made.get(name, '')}{each.version}"
        return made

    def child(self, kind: Kind, name: str) -> Manifest | None:
        """One child."""
        return self.children.get((kind.name, name))

    def all(self, kind: Kind, component: str | None = None) -> Iterator[Manifest]:
        """All children of a kind (and a component), by name."""
        for (kind_name, _), each in sorted(self.children.items()):
            labels = each["metadata"].get("labels") or {}
            if kind_name == kind.name and (component is None or labels.get("app.kubernetes.io/component") == component):
                yield each

    def zone_of(self, pod: Manifest) -> str | None:
        """The zone of a pod's node."""
        node = self.nodes.get((pod.get("spec") or {}).get("nodeName") or "")
        return zone_of_node(node) if node else None

    def zones(self, placement: NodePlacement = ANYWHERE) -> set[str]:
        """Zones that have a node which pods may run on."""
        return {zone for node in self.nodes.values() if (zone := zone_of_node(node)) and _may_have_pods(node, placement)}

    def open_zones(self, placement: NodePlacement = ANYWHERE) -> set[str]:
        """Those of them with a node that is ready and takes new pods now: the scheduler keeps pods off all taints that they do not
        tolerate, and not only off those of whole node roles."""
        return {
            zone
            for node in self.nodes.values()
            if (zone := zone_of_node(node))
            and _may_have_pods(node, placement)
            and is_true(node, READY)
            and not (node.get("spec") or {}).get("unschedulable")
            and not any(_shuts_out(each) and not _tolerated(each, placement.tolerations) for each in _taints(node))
        }


def secret_text(secret: Manifest | None, key: str) -> str | None:
    """A value of a Secret; None where it is missing or no text, as in one that somebody made by hand."""
    try:
        return base64.b64decode(((secret or {}).get("data") or {})[key]).decode()
    except (KeyError, TypeError, ValueError):
        return None


def zone_of_node(node: Manifest) -> str | None:
    """The zone that a node is labelled with."""
    labels: dict[str, str] = node["metadata"].get("labels") or {}
    return labels.get(ZONE_LABEL)


def _may_have_pods(node: Manifest, placement: NodePlacement) -> bool:
    """Whether a node is a place for pods by design, even if it is down now: chosen, and no control plane that is not tolerated."""
    labels = node["metadata"].get("labels") or {}
    chosen = all(labels.get(key) == value for key, value in placement.node_selector.items())
    return chosen and not any(_keeps_pods_off(each) and not _tolerated(each, placement.tolerations) for each in _taints(node))


def _taints(node: Manifest) -> list[Manifest]:
    return (node.get("spec") or {}).get("taints") or []


def _shuts_out(taint: Manifest) -> bool:
    return taint.get("effect") in ("NoSchedule", "NoExecute")


def _keeps_pods_off(taint: Manifest) -> bool:
    return str(taint["key"]).startswith("node-role.kubernetes.io/") and taint.get("effect") != "PreferNoSchedule"


def _tolerated(taint: Manifest, tolerations: Sequence[Toleration]) -> bool:
    """Kubernetes' own rule (its documentation, "Taints and Tolerations")."""
    return any(
        each.key in (None, taint["key"])
        and each.effect in (None, taint.get("effect"))
        and (each.operator is TolerationOperator.EXISTS or (each.value or "") == (taint.get("value") or ""))
        for each in tolerations
    )


def is_ready(pod: Manifest) -> bool:
    """Whether a pod is ready and not on its way out."""
    return not pod["metadata"].get("deletionTimestamp") and is_true(pod, READY)


def trouble(pod: Manifest) -> str | None:
    """Why a pod does not run, in a few words and without a full stop, from what the scheduler and the kubelet say."""
    status = pod.get("status") or {}
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return _quoted(waiting["reason"], waiting.get("message") or "")
    for each in status.get("conditions") or []:
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return _quoted(each.get("reason") or "Unschedulable", of_scheduler(each.get("message") or ""))
    return None


def _quoted(reason: str, message: str) -> str:
    return f"{reason}: {shorten(message.strip().rstrip('.'), _MAX_QUOTE)}".rstrip(": ")
