"""What all pods of ours share: spread over zones, restricted security, probes, disruption budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from baas_operator.desired.meta import HOST_LABEL, ZONE_LABEL, Manifest, Owner
from baas_operator.desired.quantity import parse

if TYPE_CHECKING:  # as in database/names.py
    from baas_operator.api.common import Resources, SecretRef
    from baas_operator.api.placement import NodePlacement

LOST_SECONDS = 120
"""How long a stateless pod waits for its node that was called lost."""


def spread(selector: dict[str, str], *, hard: bool) -> list[dict[str, Any]]:
    """Topology spread: over zones (`hard`: a pod waits rather than doubles up), then over nodes where possible."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": ZONE_LABEL,
            "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector},
        },
        {
            "maxSkew": 1,
            "topologyKey": HOST_LABEL,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector},
        },
    ]


def spread_for_surge(selector: dict[str, str], *, hard: bool) -> list[dict[str, Any]]:
    """Zone spread of a Deployment: each revision is spread by itself, so that a surge pod is never stuck, and a zone that is lost
    does not count as an empty one that pods have to wait for."""
    made = spread(selector, hard=hard)
    for constraint in made:
        constraint["matchLabelKeys"] = ["pod-template-hash"]
        constraint["nodeTaintsPolicy"] = "Honor"
    return made


def leave_lost_nodes() -> list[dict[str, Any]]:
    """Tolerations of a stateless pod: it is replaced elsewhere two minutes after its node was called lost.

    Not at once: those that are left go on, have the most to do just then, and would share their processors with the start of all that a
    zone had; a node that only starts anew finds its pods where they were. Not Kubernetes' five minutes either, which are also only there
    where an admission plugin adds them: a rollout waits for a new pod that is lost, and would be called stuck.
    """
    return [
        {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_SECONDS}
        for state in ("not-ready", "unreachable")
    ]


def placed(placement: NodePlacement, pull_secrets: Sequence[SecretRef]) -> dict[str, Any]:
    """Which nodes a pod may run on, and what its images are pulled with, as part of its spec. What is not asked for is not there: anything
    more in a template would roll all pods."""
    made: dict[str, Any] = {}
    if placement.node_selector:
        made["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        made["tolerations"] = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in placement.tolerations]
    if pull_secrets:
        made["imagePullSecrets"] = [{"name": each.name} for each in pull_secrets]
    return made


def pod_security(uid: int, *, gid: int | None = None) -> dict[str, Any]:
    """A pod security context that meets Kubernetes' "restricted" Pod Security Standard."""
    group = uid if gid is None else gid
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": group,
        "fsGroup": group,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """A container security context that meets the "restricted" standard, on a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def http_probe(path: str, port: int, *, period: int, failures: int, timeout: int = 2) -> dict[str, Any]:
    """An HTTP probe: down after `failures` misses, `period` seconds apart. HTTP and never exec: a process a probe costs CPU."""
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def resources(asked: Resources, *, cpu: str, memory: str) -> dict[str, Any]:
    """Resources of a container: what the user asked for, over default requests; no default limits (a throttled database is a
    slow one, and a limit that nobody chose is an outage that nobody understands). A default that is above the user's limit gives way to
    it: the API server refuses a pod that requests more than it may use."""
    said = asked.model_dump(by_alias=True, exclude_none=True)
    limits = said.get("limits", {})
    ours = {key: min(default, limits.get(key, default), key=parse) for key, default in {"cpu": cpu, "memory": memory}.items()}
    made: dict[str, Any] = {"requests": ours | said.get("requests", {})}
    if limits:
        made["limits"] = limits
    return made


def field_env(name: str, path: str) -> dict[str, Any]:
    """An environment variable from the downward API."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def disruption_budget(owner: Owner, name: str, component: str) -> Manifest:
    """A PodDisruptionBudget that lets one pod go at a time, also a pod that is not ready anyway (so that drains never hang)."""
    return owner.child(
        "policy/v1",
        "PodDisruptionBudget",
        name,
        component,
        spec={
            "maxUnavailable": 1,
            "selector": {"matchLabels": owner.selector(component)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def service(
    owner: Owner,
    name: str,
    component: str,
    ports: dict[str, int],
    *,
    selector: dict[str, str] | None,
    headless: bool = False,
    not_ready: bool = False,
    same_zone: bool = False,
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """A Service; `selector=None` for one whose EndpointSlice is written by hand, `not_ready` also publishes unready pods, `same_zone` leads
    clients to pods in their own zone while it has any (Kubernetes documentation, "Service", "Traffic distribution")."""
    spec: dict[str, Any] = {
        "type": "ClusterIP",
        "ports": [{"name": key, "port": port, "targetPort": port, "protocol": "TCP"} for key, port in ports.items()],
    }
    if selector is not None:
        spec["selector"] = selector
    if headless:
        spec["clusterIP"] = "None"
    if not_ready:
        spec["publishNotReadyAddresses"] = True
    if same_zone:
        spec["trafficDistribution"] = "PreferClose"  # 1.34 knows it as PreferSameZone, too; this name is understood by all
    return owner.child("v1", "Service", name, component, annotations=annotations, spec=spec)


def service_account(owner: Owner, name: str, component: str) -> Manifest:
    """A ServiceAccount of the pods' own; its token is mounted only where a pod says so."""
    return owner.child("v1", "ServiceAccount", name, component, automountServiceAccountToken=False)


def scrape(port: int) -> dict[str, str]:
    """Annotations that common configurations of Prometheus go by; of a pod for its own port, of a Service for its pods'."""
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": "/metrics"}
