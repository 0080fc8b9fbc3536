"""What is broken on purpose right now, and taking all of it back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from baas_lab.cluster import Cluster, Node
from baas_lab.faults.apiserver import MANIFEST_ASIDE, start_apiserver
from baas_lab.faults.network import CHAIN, ROUTES_ASIDE, heal_network, plug
from baas_lab.faults.power import start, unpause
from baas_lab.faults.processes import STOPPED
from baas_lab.faults.storage import FILLS, unfill


def heal(cluster: Cluster, *, wait: bool = True) -> None:
    """Take back every fault, whatever was done. With `wait`, returns when all nodes that were off are Ready."""
    nodes = cluster.nodes()
    for node in nodes:
        if node.state == "paused":
            unpause(cluster, node.name)
    off = [node.name for node in nodes if node.state not in ("running", "paused")]
    if off:
        start(cluster, *off, wait=False)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: _heal_running(cluster, node.name), nodes))
    start_apiserver(cluster)
    if wait:
        for name in off:
            cluster.wait_booted(name)


def _heal_running(cluster: Cluster, node: str) -> None:
    plug(cluster, node)
    heal_network(cluster, node)
    unfill(cluster, node)
    script = f"[ ! -e {STOPPED} ] || {{ while read -r pid; do kill -CONT $pid || true; done < {STOPPED}; rm {STOPPED}; }}"
    cluster.docker.shell(node, script)


def affected(cluster: Cluster, node: Node) -> list[str]:
    """What is wrong on purpose with a node right now, in words, for `lab status`."""
    if node.state == "paused":
        return ["frozen"]
    if node.state != "running":
        return ["off"]
    script = f"""
    [ ! -e {ROUTES_ASIDE} ] || echo unplugged
    iptables -w -S {CHAIN} 2>/dev/null | grep -q -- -j && echo partitioned
    [ ! -e {FILLS} ] || echo filled
    [ ! -s {STOPPED} ] || echo 'process stopped'
    [ ! -e {MANIFEST_ASIDE} ] || echo 'API server stopped'
    true
    """
    return cluster.docker.shell(node.name, script).splitlines()
