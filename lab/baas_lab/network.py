"""The network of the nodes, and the pod network over it.

Nodes have fixed addresses: kind leaves them to Docker, which may give a node that was killed and started another one,
and every route of the other nodes would be wrong then. Each cluster has a Docker network of its own, so that nothing
else can take an address while its node is off.

The published node image brings kindnet. The lab's own image has a unit that makes routes and rules at every boot, from
a file that `configure` writes once.
"""

from __future__ import annotations

import ipaddress
import shlex
from pathlib import Path

from baas_lab.docker import Docker
from baas_lab.errors import CommandError, LabError
from baas_lab.system import find_program

# Tried in this order; Docker refuses those that the machine uses for something else.
SUBNETS = ("172.30.87.0/24", "172.29.87.0/24", "172.28.87.0/24", "172.27.87.0/24", "10.203.87.0/24", "192.168.203.0/24")
FIRST_NODE = 10  # the first node's host number; below are the gateway and room for guests
POD_NETWORK_FILE = "/etc/lab/pod-network"


def ensure_network(docker: Docker, name: str) -> ipaddress.IPv4Network:
    """The cluster's Docker network, made if it does not exist; returns its subnet."""
    found = subnet(docker, name)
    if found:
        return found
    refusals = []
    for candidate in SUBNETS:
        # Addresses that Docker gives by itself come from the upper half: they never take a node's.
        upper = list(ipaddress.IPv4Network(candidate).subnets())[1]
        try:
            docker.run("network", "create", "--subnet", candidate, "--ip-range", str(upper), name)
        except CommandError as error:
            refusals.append(error.output)
            continue
        return ipaddress.IPv4Network(candidate)
    raise LabError(f"Docker made no network for the cluster {name}: {refusals[-1]}")


def subnet(docker: Docker, name: str) -> ipaddress.IPv4Network | None:
    """The subnet of an existing Docker network."""
    try:
        found = docker.run("network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", name)
    except CommandError:
        return None
    return ipaddress.IPv4Network(found.strip())


def remove_network(docker: Docker, name: str) -> None:
    if subnet(docker, name):
        docker.run("network", "rm", name)


def addresses(network: ipaddress.IPv4Network, nodes: list[str]) -> dict[str, str]:
    """A fixed address for each node."""
    return {node: str(network[FIRST_NODE + number]) for number, node in enumerate(nodes)}


def docker_with_addresses(folder: Path, fixed: dict[str, str]) -> Path:
    """A folder with a `docker` that adds `--ip` when kind runs a node, to have first on kind's PATH.

    kind has no setting for it. It runs each node as `docker run --name NODE …`.
    """
    real = find_program("docker")
    assert real is not None
    cases = "\n".join(f'  {node}) shift; exec {shlex.quote(real)} run --ip {address} "$@" ;;' for node, address in fixed.items())
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "docker"
    script.write_text(
        "#!/bin/sh\n# Gives the lab's nodes fixed addresses. Written by `lab up`.\n"
        f'[ "$1 $2" = "run --name" ] && case "$3" in\n{cases}\nesac\nexec {shlex.quote(real)} "$@"\n'
    )
    script.chmod(0o755)
    return folder


def pod_network_file(node: str, pod_subnet: str, ranges: dict[str, str], fixed: dict[str, str]) -> str:
    """What `lab-network` in the node reads. `ranges`: node → its pod CIDR; `fixed`: node → its address."""
    peers = [f"peer {ranges[other]} {fixed[other]}" for other in sorted(ranges) if other != node]
    return "\n".join([f"cluster {pod_subnet}", f"self {ranges[node]}", *peers]) + "\n"


def configure(docker: Docker, pod_subnet: str, ranges: dict[str, str], fixed: dict[str, str]) -> None:
    """Give every node its part of the pod network, now and at each later boot."""
    for node in ranges:
        content = pod_network_file(node, pod_subnet, ranges, fixed)
        docker.exec(node, "sh", "-euc", f"mkdir -p /etc/lab; cat > {POD_NETWORK_FILE}", input=content)
        docker.exec(node, "systemctl", "restart", "lab-network")
