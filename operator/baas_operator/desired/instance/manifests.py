"""The manifests that any component becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from baas_operator.api.common import Resources
from baas_operator.api.instance.component import EnvVar, Sidecar, Volume
from baas_operator.api.instance.component import PodOptions as Options
from baas_operator.desired.instance.component import Beside, Component, Mount
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Manifest, Owner, checksum
from baas_operator.desired.pods import (
    LOST_SECONDS,
    container_security,
    disruption_budget,
    leave_lost_nodes,
    placed,
    pod_security,
    resources,
    scrape,
    service,
    service_account,
    spread_for_surge,
)

KEY_IDS_ANNOTATION = "baas-operator.io/key-ids"
"""Ids of the signing keys in the set that a pod was given, with commas between them: on the template, or the ConfigMap that pods follow."""

_HUNG = {"terminationGracePeriodSeconds": 30}
"""A container that its probe gave up has nothing to finish: it is not waited for as long as one that is well."""
_PROGRESS_SECONDS = LOST_SECONDS + 120
"""A rollout in which nothing comes any further for so long is said to be stuck; what ran before goes on. One that merely waits for a new
pod whose node was lost goes on before that."""


def build_component(owner: Owner, component: Component, *, hard_spread: bool, replicas: int) -> list[Manifest]:
    """Deployment, Service, PodDisruptionBudget, ServiceAccount, ConfigMap and HorizontalPodAutoscaler of a component."""
    name = f"{owner.name}-{component.name}"
    selector = owner.selector(component.name)
    made = [service_account(owner, name, component.name)]
    if component.config:
        notes = dict(component.notes)
        if component.hot and component.kids is not None:
            notes[KEY_IDS_ANNOTATION] = ",".join(component.kids)
        made.append(owner.child("v1", "ConfigMap", name, component.name, data=dict(component.config), annotations=notes or None))
    made.append(_service(owner, name, component, selector))
    made.append(disruption_budget(owner, name, component.name))
    made.append(_deployment(owner, name, component, selector, hard_spread, replicas))
    if component.options.autoscaling and replicas:
        made.append(_autoscaler(owner, name, component))
    return made


def _service(owner: Owner, name: str, component: Component, selector: dict[str, str]) -> Manifest:
    public = {each: component.ports[each] for each in component.public_ports}
    made = service(
        owner, name, component.name, public, selector=selector, headless=component.headless, same_zone=component.same_zone
    )  # fmt: skip
    made["spec"]["type"] = component.service_type
    for port in made["spec"]["ports"]:
        if port["name"] in component.node_ports:
            port["nodePort"] = component.node_ports[port["name"]]
    if component.external_traffic:
        made["spec"]["externalTrafficPolicy"] = component.external_traffic
    return made


def _autoscaler(owner: Owner, name: str, component: Component) -> Manifest:
    wanted = component.options.autoscaling
    assert wanted is not None
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": wanted.cpu_percent}}
    return owner.child(
        "autoscaling/v2", "HorizontalPodAutoscaler", name, component.name,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    )  # fmt: skip


def _deployment(owner: Owner, name: str, component: Component, selector: dict[str, str], hard_spread: bool, replicas: int) -> Manifest:
    annotations = {CHECKSUM_ANNOTATION: checksum({} if component.hot else dict(component.config), *component.rolls)}
    if component.kids is not None and not component.hot:
        annotations[KEY_IDS_ANNOTATION] = ",".join(component.kids)
    if component.scrape:
        annotations |= scrape(component.scrape) | {"prometheus.io/path": component.scrape_path}
    return owner.child(
        "apps/v1",
        "Deployment",
        name,
        component.name,
        spec={
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": _PROGRESS_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": owner.labels(component.name), "annotations": annotations | dict(component.annotations)},
                "spec": _pod(name, component, selector, hard_spread),
            },
        },
    )


def _pod(name: str, component: Component, selector: dict[str, str], hard_spread: bool) -> dict[str, Any]:
    options = component.options
    own, own_mounts = _own_volumes(name, component)
    added, added_mounts = volumes(options.volumes)
    sidecars = [sidecar(each, [*_shared(own_mounts), *added_mounts]) for each in options.sidecars]
    beside = {"initContainers": sidecars} if sidecars else {}
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": component.drain_seconds + component.finish_seconds,
        "securityContext": pod_security(component.uid),
        "topologySpreadConstraints": spread_for_surge(selector, hard=hard_spread),
        "containers": [_container(component, [*own_mounts, *added_mounts]), *(_beside(each, own_mounts) for each in component.beside)],
        "volumes": [*own, *added],
    } | beside | place(options)  # fmt: skip


def place(options: Options) -> dict[str, Any]:
    """Nodes that a pod may be on, and what its images are pulled with, as part of its spec; it leaves lost nodes."""
    made = placed(options.placement, options.image_pull_secrets)
    return made | {"tolerations": [*made.get("tolerations", []), *leave_lost_nodes()]}


def container(
    name: str, image: str, *, env: list[dict[str, Any]], asked: Resources, cpu: str, memory: str, mounts: list[dict[str, Any]],
    command: Sequence[str] = (), args: Sequence[str] = (), **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A container of a backend's pods, whoever it is of: restricted, on a read-only root. `more`: probes, ports and the like."""
    made: dict[str, Any] = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": env,
        **more,
        "resources": resources(asked, cpu=cpu, memory=memory),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }
    if command:
        made["command"] = list(command)
    if args:
        made["args"] = list(args)
    return made


def _container(component: Component, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    return container(
        component.name,
        component.image,
        # Secrets last, as `env` may have settings of the user's.
        env=environment(component.options.env, component.env, component.secret_env),
        ports=_ports(component.ports),
        startupProbe=component.startup | _HUNG,
        readinessProbe=component.readiness,
        livenessProbe=component.liveness | _HUNG,
        lifecycle={"preStop": component.pre_stop or {"sleep": {"seconds": component.drain_seconds}}},
        asked=component.options.resources,
        cpu=component.cpu,
        memory=component.memory,
        mounts=mounts,
        command=component.command,
        args=component.args,
    )


def _beside(each: Beside, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    return container(
        each.name, each.image, env=environment((), each.env), ports=_ports(each.ports), startupProbe=each.startup,
        readinessProbe=each.readiness, livenessProbe=each.liveness, asked=Resources(), cpu=each.cpu, memory=each.memory, mounts=mounts,
    )  # fmt: skip


def _ports(ports: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": key, "containerPort": port, "protocol": "TCP"} for key, port in ports.items()]


def environment(
    said: Iterable[EnvVar], plain: Mapping[str, str] = MappingProxyType({}), secret: Mapping[str, tuple[str, str]] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Variables of a container, sorted. What the operator sets wins over what the user `said`: a component that does not do what it is told
    is no component; `secret` (name -> Secret and key) wins over `plain`."""
    made = {each.name: env_var(each) for each in said}
    made |= {name: {"name": name, "value": value} for name, value in plain.items()}
    made |= {name: {"name": name, "valueFrom": {"secretKeyRef": {"name": source, "key": key}}} for name, (source, key) in secret.items()}
    return [made[name] for name in sorted(made)]


def env_var(said: EnvVar) -> dict[str, Any]:
    """An environment variable as a container has it."""
    if said.secret:
        return {"name": said.name, "valueFrom": {"secretKeyRef": {"name": said.secret.name, "key": said.secret.key}}}
    if said.config_map:
        return {"name": said.name, "valueFrom": {"configMapKeyRef": {"name": said.config_map.name, "key": said.config_map.key}}}
    return {"name": said.name, "value": said.value or ""}


def volumes(said: list[Volume]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The user's volumes, and how they are mounted."""
    made: list[dict[str, Any]] = []
    for each in said:
        name = f"user-{each.name}"
        if each.secret:
            made.append({"name": name, "secret": {"secretName": each.secret, "defaultMode": 0o440}})
        elif each.config_map:
            made.append({"name": name, "configMap": {"name": each.config_map}})
        else:
            assert each.empty_dir is not None
            made.append({"name": name, "emptyDir": {"sizeLimit": each.empty_dir.size_limit}})
    mounts = [
        {"name": f"user-{each.name}", "mountPath": each.mount_path} | ({} if each.empty_dir else {"readOnly": True}) for each in said
    ]  # fmt: skip
    return made, mounts


def sidecar(said: Sidecar, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    """A container of the user's, as restricted as the others, and a native sidecar (Kubernetes documentation, "Sidecar Containers"): a
    proxy that a component works through is there before that, and until it has drained."""
    return container(
        said.name, said.image, env=environment(said.env), asked=said.resources, cpu="10m", memory="16Mi", mounts=mounts,
        command=said.command, args=said.args, restartPolicy="Always",
    )  # fmt: skip


def _shared(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a sidecar sees of the component's own: room for files. Its secrets it does not need."""
    return [each for each in mounts if each["name"] == "tmp"]


def _own_volumes(name: str, component: Component) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    made: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path inside the pod
    if component.config and component.config_mount:
        made.append({"name": "config", "configMap": {"name": name}})
        mounts.append({"name": "config", "mountPath": component.config_mount, "readOnly": True})
    for index, each in enumerate(component.mounts):
        made.append({"name": f"mount-{index}", **_source(each)})
        mounts.append({"name": f"mount-{index}", "mountPath": each.path, "readOnly": True})
    return made, mounts


def _source(mount: Mount) -> dict[str, Any]:
    items = [{"key": key, "path": path} for key, path in mount.items.items()]
    more: dict[str, Any] = ({"items": items} if items else {}) | ({"optional": True} if mount.optional else {})
    if mount.secret:
        return {"secret": {"secretName": mount.secret, "defaultMode": 0o440} | more}
    return {"configMap": {"name": mount.config_map} | more}
