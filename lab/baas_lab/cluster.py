"""A running lab: its files, its nodes, and kubectl on it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from baas_lab import binaries, daemon
from baas_lab.cache import Cache
from baas_lab.docker import Docker
from baas_lab.errors import CommandError, LabError, NoClusterError
from baas_lab.kind_config import AUDIT_LOG_IN_NODE, DEFAULT_NAME
from baas_lab.process import run
from baas_lab.volumes import Volume
from baas_lab.waiting import wait_until

KIND_LABEL = "io.x-k8s.kind"
ZONE_LABEL = "topology.kubernetes.io/zone"
KUBECTL_SECONDS = 60.0
BOOT_SECONDS = 180.0


@dataclass(frozen=True)
class Node:
    """A node as Docker sees it. `state` is Docker's (`running`, `paused`, `exited`); `zone` is empty outside zones."""

    name: str
    role: str
    zone: str
    state: str
    address: str


@dataclass(frozen=True)
class Cluster:
    """A cluster of the lab, by name. Making one of these starts nothing and checks nothing."""

    docker: Docker
    cache: Cache
    name: str = DEFAULT_NAME

    @property
    def folder(self) -> Path:
        """Everything of this cluster that is on the host."""
        return self.cache.root / "clusters" / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def bin(self) -> Path:
        """The folder with kubectl and whatever else was built."""
        return binaries.folder(self.cache)

    @property
    def environment(self) -> dict[str, str]:
        """What programs need to find this cluster, its Docker daemon and the lab's programs."""
        path = f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}"
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": path, **self.docker.env}

    @property
    def complete(self) -> bool:
        """Whether `lab up` once came to its end with this cluster."""
        return (self.folder / "cluster.json").exists()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What was settled when the cluster was made: `image`, `own_pod_network`, `storage`; by node `zones`,
        `addresses` and `pod_ranges`."""
        if not self.complete:
            raise NoClusterError(f"There is no cluster named {self.name}.", hint="Make it with: lab up")
        facts: dict[str, Any] = json.loads((self.folder / "cluster.json").read_text())
        return facts

    def nodes(self) -> list[Node]:
        """All node containers, running or not, in the order of their names (the control plane first)."""
        listed = self.docker.run(
            *("container", "ls", "--all", "--filter", f"label={KIND_LABEL}.cluster={self.name}"),
            *("--format", '{{.Names}} {{.Label "' + KIND_LABEL + '.role"}} {{.State}}'),
        )
        zones: dict[str, str] = self.facts["zones"] if self.complete else {}
        addresses: dict[str, str] = self.facts["addresses"] if self.complete else {}
        found = [line.split() for line in listed.splitlines()]
        return sorted(
            (Node(name, role, zones.get(name, ""), state, addresses.get(name, "")) for name, role, state in found),
            key=lambda node: node.name,
        )

    def node(self, name: str) -> Node:
        """One node, by its name, by its short name (`worker2`) or, for the only node there, by its zone. Raises LabError."""
        nodes = self.nodes()
        for node in nodes:
            if name in (node.name, node.name.removeprefix(f"{self.name}-")):
                return node
        in_zone = [node for node in nodes if node.zone == name]
        if len(in_zone) == 1:
            return in_zone[0]
        known = ", ".join(node.name for node in nodes) or "none"
        raise LabError(f"There is no node {name} in the cluster {self.name}.", hint=f"Its nodes: {known}")

    @property
    def control_plane(self) -> str:
        return f"{self.name}-control-plane"

    def workers(self) -> list[Node]:
        return [node for node in self.nodes() if node.role == "worker"]

    def in_zone(self, zone: str) -> list[Node]:
        """The nodes of a zone. Raises LabError when there is no such zone."""
        found = [node for node in self.nodes() if node.zone == zone]
        if not found:
            zones = ", ".join(sorted({node.zone for node in self.nodes()} - {""}))
            raise LabError(f"There is no zone {zone} in the cluster {self.name}.", hint=f"Its zones: {zones}")
        return found

    def volume(self, node: str) -> Volume:
        """The node's volume folder on the host."""
        own = bool(self.facts["storage"] == "ext4") if self.complete else True
        folder = self.folder / "volumes"
        return Volume(folder / node, folder / f"{node}.ext4" if own else None)

    def kubectl(self, *args: str, input: str | None = None, timeout_seconds: float = KUBECTL_SECONDS) -> str:
        """`kubectl ARGS` on this cluster: its stdout. Raises CommandError."""
        words: list[str | Path] = [self.bin / "kubectl", "--kubeconfig", self.kubeconfig, *args]
        return run(words, input=input, timeout_seconds=timeout_seconds).stdout

    def get(self, *args: str) -> dict[str, Any]:
        """`kubectl get ARGS -o json`, parsed. Raises CommandError."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *args, "--output", "json"))
        return found

    def ready(self) -> bool:
        """Whether the API answers and every node is Ready."""
        try:
            nodes = self.get("nodes")["items"]
        except CommandError:
            return False
        return bool(nodes) and all(is_ready(node) for node in nodes) and len(nodes) == len(self.nodes())

    def wait_booted(self, node: str) -> None:
        """Wait until the node is Ready *since its last start*. Raises LabError.

        Its Node object says Ready for a while after the node died. A kubelet that starts reports at once, and the report
        carries its time, in whole seconds; no kubelet is up in the second in which its container started.
        """
        started_at: str = self.docker.inspect(node)["State"]["StartedAt"]

        def reported() -> bool:
            try:
                found = self.get("node", node)
            except CommandError:
                return False
            return ready_since(found) > started_at[: len("2000-01-01T00:00:00")]

        wait_until(reported, timeout_seconds=BOOT_SECONDS, what=f"the node {node} is Ready after its start", poll_seconds=1)

    def audit_log(self) -> list[dict[str, Any]]:
        """What service accounts outside kube-system wrote to the API, oldest first: audit events without bodies.

        The log is bounded (see `kind_config`): in a busy cluster the oldest events are gone.
        """
        files = AUDIT_LOG_IN_NODE.replace(".log", "*.log")  # a full file gets the time into its name
        text = self.docker.shell(self.control_plane, f"cat $(ls -tr {files})")
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def ready_since(node: dict[str, Any]) -> str:
    """When its kubelet last reported a Node object to be Ready (`2000-01-01T00:00:00`, UTC); empty if it is not Ready."""
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return str(condition["lastHeartbeatTime"]).removesuffix("Z")
    return ""


def is_ready(node: dict[str, Any]) -> bool:
    """The Ready condition of a Node object."""
    return bool(ready_since(node))


def running(name: str = DEFAULT_NAME, cache: Cache | None = None) -> Cluster:
    """The cluster that `lab up` made, for tests and tools. Raises NoClusterError when there is none, or no daemon for it."""
    cache = cache or Cache()
    docker = daemon.find(cache)
    if docker is None:
        raise NoClusterError("No Docker daemon answers, so no cluster runs.", hint="Start one with: lab up")
    cluster = Cluster(docker, cache, name)
    if not cluster.complete or not cluster.nodes():
        raise NoClusterError(f"There is no cluster named {name}.", hint="Make it with: lab up")
    return cluster
