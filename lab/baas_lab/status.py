"""What is there: the daemon, the cluster, its nodes, what is broken on purpose, the versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from baas_lab import daemon, faults, versions
from baas_lab.cache import Cache
from baas_lab.cluster import Cluster, Node, is_ready
from baas_lab.errors import CommandError
from baas_lab.lifecycle import clusters

NETWORK_POLICY_NOTE = "NetworkPolicy objects are accepted and not enforced: this cluster has no policy engine."
API_SECONDS = 5.0
HINTS = {"absent": " (make it with: lab up)", "stopped": " (bring it back with: lab up)", "incomplete": " (make it anew with: lab up)"}


def collect(name: str, cache: Cache) -> dict[str, Any]:
    """The state as data; the same keys whether a cluster runs or not. Starts nothing, changes nothing."""
    docker = daemon.find(cache)
    state: dict[str, Any] = {
        "name": name,
        "state": "absent",
        "versions": {"kubernetes": versions.KUBERNETES, "kind": versions.KIND, "kwok": versions.KWOK, "helm": versions.HELM},
        "cache": str(cache.root),
        "daemon": None,
        "nodes": [],
    }
    if docker is None:
        if name in clusters(cache):
            state["state"] = "stopped"
        return state
    state["daemon"] = {"host": docker.host or "default", "private": docker.private, "version": docker.version()}
    cluster = Cluster(docker, cache, name)
    nodes = cluster.nodes()
    if not nodes:
        return state
    if not cluster.complete:
        state["state"] = "incomplete"
        return state
    own_pod_network = bool(cluster.facts["own_pod_network"])
    ready = _ready_by_node(cluster)
    state |= {
        "kubeconfig": str(cluster.kubeconfig),
        "image": cluster.facts["image"],
        "storage": cluster.facts["storage"],
        "pod_network": "lab" if own_pod_network else "kindnet",
        "network_policy_enforced": not own_pod_network,
        "api": "answers" if ready is not None else "silent",
        "nodes": [_node(cluster, node, (ready or {}).get(node.name)) for node in nodes],
    }
    broken = any(node["faults"] or not node["ready"] for node in state["nodes"])
    state["state"] = "degraded" if broken or ready is None else "ready"
    return state


def _ready_by_node(cluster: Cluster) -> dict[str, bool] | None:
    """None when the API does not answer."""
    try:
        found = cluster.get("nodes", f"--request-timeout={API_SECONDS:.0f}s")["items"]
    except CommandError:
        return None
    return {node["metadata"]["name"]: is_ready(node) for node in found}


def _node(cluster: Cluster, node: Node, ready: bool | None) -> dict[str, Any]:
    return {
        "name": node.name,
        "role": node.role,
        "zone": node.zone,
        "address": node.address,
        "container": node.state,
        "ready": ready,
        "faults": faults.affected(cluster, node),
        "volumes_used_bytes": cluster.volume(node.name).used_bytes(),
    }


def show(state: dict[str, Any], console: Console) -> None:
    """The state for people."""
    for line in _lines(state):
        console.print(line, highlight=False, soft_wrap=True)
    if not state["nodes"]:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("NODE", "ZONE", "STATE", "READY", "VOLUMES", "FAULTS"):
        table.add_column(title)
    for node in state["nodes"]:
        ready = {True: "yes", False: "no", None: "unknown"}[node["ready"]]
        if node["ready"] and node["container"] != "running":
            ready = "not yet noticed"  # Kubernetes takes its time to call a silent node NotReady
        used = f"{node['volumes_used_bytes'] / 1024**2:.0f} MiB"
        table.add_row(node["name"], node["zone"] or "-", node["container"], ready, used, ", ".join(node["faults"]) or "-")
    console.print(table)
    if not state["network_policy_enforced"]:
        console.print(NETWORK_POLICY_NOTE, highlight=False, soft_wrap=True)


def _lines(state: dict[str, Any]) -> Iterator[str]:
    yield f"Cluster     {state['name']}: {state['state']}" + HINTS.get(state["state"], "")
    found = state["daemon"]
    if found is None:
        yield "Docker      no daemon answers"
    else:
        yield f"Docker      {found['version']}, {'the lab’s own' if found['private'] else 'the machine’s'}, {found['host']}"
    if state["nodes"]:
        yield f"Kubernetes  {state['image']}, API {state['api']}, pod network: {state['pod_network']}"
        yield f"Storage     {'a file system of its own per node' if state['storage'] == 'ext4' else 'plain folders: no power cuts'}"
        yield f"Kubeconfig  {state['kubeconfig']}"
