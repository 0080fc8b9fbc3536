"""A component of a backend as data, and the manifests that any component becomes.

An engine (supabase.py) returns components; nothing else in the code knows which engine it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from baas_operator.api.common import Resources
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Manifest, Owner, checksum
from baas_operator.desired.pods import (
    container_security,
    disruption_budget,
    pod_security,
    resources,
    service,
    service_account,
    spread,
)

_DRAIN_SECONDS = 8
"""How long a pod goes on serving after it was told to go: until every node's kube-proxy and the gateway have let go of it."""


@dataclass(frozen=True)
class Component:
    """One component. `files`: mount folder -> (Secret or ConfigMap reference, checksum of it or None when it may be reread)."""

    name: str
    image: str
    uid: int
    replicas: int
    resources: Resources
    ports: dict[str, int]
    startup: dict[str, Any]
    readiness: dict[str, Any]
    liveness: dict[str, Any]
    cpu: str = "20m"
    memory: str = "64Mi"
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    config_mount: str | None = None
    service_type: str = "ClusterIP"
    node_port: int | None = None
    public_port: str = "http"
    headless: bool = False


def build_component(owner: Owner, component: Component, *, hard_spread: bool) -> list[Manifest]:
    """Deployment, Service, PodDisruptionBudget, ServiceAccount and ConfigMap of a component."""
    name = f"{owner.name}-{component.name}"
    selector = owner.selector(component.name)
    made = [service_account(owner, name, component.name)]
    if component.config:
        made.append(owner.child("v1", "ConfigMap", name, component.name, data=component.config))
    made.append(_service(owner, name, component, selector))
    made.append(disruption_budget(owner, name, component.name))
    made.append(_deployment(owner, name, component, selector, hard_spread))
    return made


def _service(owner: Owner, name: str, component: Component, selector: dict[str, str]) -> Manifest:
    public = {component.public_port: component.ports[component.public_port]}
    made = service(owner, name, component.name, public, selector=selector, headless=component.headless)
    made["spec"]["type"] = component.service_type
    if component.node_port:
        made["spec"]["ports"][0]["nodePort"] = component.node_port
    return made


def _deployment(owner: Owner, name: str, component: Component, selector: dict[str, str], hard_spread: bool) -> Manifest:
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path inside the pod
    if component.config and component.config_mount:
        volumes.append({"name": "config", "configMap": {"name": name}})
        mounts.append({"name": "config", "mountPath": component.config_mount, "readOnly": True})
    for index, (mount, secret) in enumerate(sorted(component.secrets.items())):
        volumes.append({"name": f"secret-{index}", "secret": {"secretName": secret, "defaultMode": 0o440}})
        mounts.append({"name": f"secret-{index}", "mountPath": mount, "readOnly": True})
    container: dict[str, Any] = {
        "name": component.name,
        "image": component.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in sorted(component.env.items())],
        "ports": [{"name": key, "containerPort": port, "protocol": "TCP"} for key, port in component.ports.items()],
        "startupProbe": component.startup,
        "readinessProbe": component.readiness,
        "livenessProbe": component.liveness,
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        "resources": resources(component.resources, cpu=component.cpu, memory=component.memory),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }
    if component.command:
        container["command"] = list(component.command)
    if component.args:
        container["args"] = list(component.args)
    return owner.child(
        "apps/v1",
        "Deployment",
        name,
        component.name,
        spec={
            "replicas": component.replicas,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {
                    "labels": owner.labels(component.name),
                    "annotations": {CHECKSUM_ANNOTATION: checksum(component.config)},
                },
                "spec": {
                    "serviceAccountName": name,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": _DRAIN_SECONDS + 22,
                    "securityContext": pod_security(component.uid),
                    "topologySpreadConstraints": spread_for_surge(selector, hard=hard_spread),
                    "tolerations": [
                        # A stateless pod of a lost zone is replaced after 15 s, not after Kubernetes' default of 5 min.
                        {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute",
                         "tolerationSeconds": 15}
                        for state in ("not-ready", "unreachable")
                    ],
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    )  # fmt: skip


def spread_for_surge(selector: dict[str, str], *, hard: bool) -> list[dict[str, Any]]:
    """Zone spread of a Deployment: each revision is spread by itself, so that a surge pod is never stuck, and a zone that is lost
    does not count as an empty one that pods have to wait for."""
    made = spread(selector, hard=hard)
    for constraint in made:
        constraint["matchLabelKeys"] = ["pod-template-hash"]
        constraint["nodeTaintsPolicy"] = "Honor"
    return made
