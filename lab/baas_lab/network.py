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
import sys
from pathlib import Path

from baas_lab.docker import Docker
from baas_lab.errors import CommandError, LabError
from baas_lab.system import find_program

# Tried in this order. Docker refuses those that another network of its own has, but not those that the machine routes elsewhere: to the
# network of another Docker daemon, say, of which a killed one leaves its bridge and its rules. Two nodes in such a range do not reach each
# other, because those rules rewrite the addresses of what passes the new bridge.
SUBNETS = ("172.30.87.0/24", "172.29.87.0/24", "172.28.87.0/24", "172.27.87.0/24", "10.203.87.0/24", "192.168.203.0/24")
FIRST_NODE = 10  # the first node's host number; below are the gateway and room for guests
POD_NETWORK_FILE = "/etc/lab/pod-network"
ROUTES = Path("/proc/net/route")


def ensure_network(docker: Docker, name: str) -> ipaddress.IPv4Network:
    """The cluster's Docker network, made if it does not exist; returns its subnet."""
    found = subnet(docker, name)
    if found:
        return found
    refusals = []
    taken = routed(ROUTES.read_text()) if ROUTES.exists() else []
    for candidate in SUBNETS:
        if any(ipaddress.IPv4Network(candidate).overlaps(other) for other in taken):
            refusals.append(f"the machine has a route to {candidate}")
            continue
        # Addresses that Docker gives by itself come from the upper half: they never take a node's.
        upper = list(ipaddress.IPv4Network(candidate).subnets())[1]
        try:
            docker.run("network", "create", "--subnet", candidate, "--ip-range", str(upper), name)
        except CommandError as error:
            refusals.append(error.output)
            continue
        return ipaddress.IPv4Network(candidate)
    raise LabError(f"There is no range of addresses for the network of the cluster {name}: {'; '.join(refusals)}.")


def routed(table: str) -> list[ipaddress.IPv4Network]:
    """The networks in the kernel's table of routes (`/proc/net/route`: addresses in hexadecimal, as this machine orders their bytes),
    without the default route."""
    found = []
    for line in table.splitlines()[1:]:
        words = line.split()
        address, mask = (int(word, 16).to_bytes(4, sys.byteorder) for word in (words[1], words[7]))
        if any(mask):
            found.append(ipaddress.IPv4Network((address, str(ipaddress.IPv4Address(mask)))))
    return found


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
