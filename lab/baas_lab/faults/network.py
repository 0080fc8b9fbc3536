"""Cables that are pulled, and packets that are dropped."""

from __future__ import annotations

from baas_lab.cluster import Cluster, Node
from baas_lab.errors import LabError

ROUTES_ASIDE = "/run/lab-routes"  # exists while a node is unplugged; /run is empty after a boot, as it must be
CHAIN = "LAB-FAULTS"


def unplug(cluster: Cluster, node: str) -> None:
    """Pull the node's network cable. Its pods still reach each other."""
    name = cluster.node(node).name
    script = f"[ -e {ROUTES_ASIDE} ] || ip -4 route show dev eth0 > {ROUTES_ASIDE}; ip link set eth0 down"
    cluster.docker.shell(name, script)


def plug(cluster: Cluster, node: str) -> None:
    """Put the cable back. The kernel forgot the routes when the link went down; those without a gateway come first."""
    name = cluster.node(node).name
    script = f"""
    ip link set eth0 up
    [ -e {ROUTES_ASIDE} ] || exit 0
    for kind in -v ''; do
      grep $kind ' via ' {ROUTES_ASIDE} | while read -r route; do ip route replace $route dev eth0; done
    done
    rm {ROUTES_ASIDE}
    """
    cluster.docker.shell(name, script)


def partition(cluster: Cluster, a: str, b: str, *, one_way: bool = False, loss: float = 1.0) -> None:
    """Drop all traffic between two nodes, and between their pods. `heal_network` takes it back.

    With `one_way`, only what `a` sends to `b` is dropped. `loss` is the share of packets that is, more than 0, at most 1.
    """
    if not 0 < loss <= 1:
        raise LabError(f"A loss of {loss} makes no sense: it is a share, more than 0 and at most 1.")
    first, second = cluster.node(a), cluster.node(b)
    if first.name == second.name:
        raise LabError(f"A partition takes two nodes; {a} and {b} are the same.")
    _drop(cluster, sender=first, receiver=second, loss=loss)
    if not one_way:
        _drop(cluster, sender=second, receiver=first, loss=loss)


def isolate(cluster: Cluster, node: str) -> None:
    """Drop all traffic between a node and every other node, on this node alone; unlike `unplug`, its address stays up."""
    target = cluster.node(node)
    others = [other for other in cluster.nodes() if other.name != target.name]
    rules = [["-s", source] for other in others for source in _addresses(cluster, other)]
    rules += [["-d", source] for other in others for source in _addresses(cluster, other)]
    _refuse(cluster, target, rules)


def heal_network(cluster: Cluster, node: str) -> None:
    """Let everything into the node, and out of it, again."""
    cluster.docker.shell(cluster.node(node).name, f"iptables -w -F {CHAIN} 2>/dev/null || true")


def _drop(cluster: Cluster, *, sender: Node, receiver: Node, loss: float) -> None:
    """Refuse the sender's packets where they arrive, those for the node as well as those for its pods."""
    chance = [] if loss == 1 else ["-m", "statistic", "--mode", "random", "--probability", str(loss)]
    _refuse(cluster, receiver, [["-s", source, *chance] for source in _addresses(cluster, sender)])


def _addresses(cluster: Cluster, node: Node) -> tuple[str, str]:
    """The node's own address, and those of its pods."""
    return node.address, cluster.facts["pod_ranges"][node.name]


def _refuse(cluster: Cluster, node: Node, matches: list[list[str]]) -> None:
    """Have the node drop what matches; the chain is passed before any rule of Kubernetes."""
    script = [f"iptables -w -N {CHAIN} 2>/dev/null || true"]
    for builtin in ("INPUT", "FORWARD", "OUTPUT"):
        script.append(f"iptables -w -C {builtin} -j {CHAIN} 2>/dev/null || iptables -w -I {builtin} -j {CHAIN}")
    script += [" ".join(["iptables", "-w", "-A", CHAIN, *match, "-j", "DROP"]) for match in matches]
    cluster.docker.shell(node.name, "\n".join(script))
