"""Nodes that lose power, or freeze."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from baas_lab.cluster import Cluster
from baas_lab.waiting import wait_until

UNMOUNT_SECONDS = 30.0
_SHARES, _SHARES_ASIDE = 1024, 64
"""Weights of a node's processes among those of all nodes: Docker's own, and that of one that is to be in nobody's way."""


def kill(cluster: Cluster, *nodes: str) -> None:
    """Power off: every process in the nodes ends at once. What was written stays (see `power_cut`)."""
    cluster.docker.run("kill", *[cluster.node(node).name for node in nodes])


def start(cluster: Cluster, *nodes: str, wait: bool = True) -> None:
    """Power on. With `wait`, returns when each node's new kubelet has reported Ready. Raises LabError."""
    names = [cluster.node(node).name for node in nodes]
    for name in names:
        cluster.volume(name).mount()
    cluster.docker.run("start", *names)
    if wait:
        for name in names:
            cluster.wait_booted(name)


def power_cut(cluster: Cluster, *nodes: str, restart: bool = True, wait: bool = True) -> None:
    """Cut the power of the nodes at one moment: what was not synced to their volumes is gone for good.

    With `restart` they are started again (and waited for, with `wait`). Raises LabError when a node's volumes have no
    file system of their own; nothing was done then.
    """
    names = [cluster.node(node).name for node in nodes]
    found = [cluster.volume(name) for name in names]
    for volume in found:
        volume.require_own_file_system()
    for volume in found:
        volume.cut_power()
    cluster.docker.run("kill", *names)
    for volume in found:
        wait_until(volume.remount, timeout_seconds=UNMOUNT_SECONDS, what=f"{volume.path} is mounted anew")
    if restart:
        start(cluster, *names, wait=wait)


def zone_off(cluster: Cluster, zone: str) -> None:
    """Power off all nodes of a zone."""
    kill(cluster, *[node.name for node in cluster.in_zone(zone)])


def zone_on(cluster: Cluster, zone: str, *, wait: bool = True) -> None:
    """Power on all nodes of a zone."""
    start(cluster, *[node.name for node in cluster.in_zone(zone)], wait=wait)


@contextmanager
def aside(cluster: Cluster, *nodes: str) -> Iterator[None]:
    """Have nodes use what processor the others leave, as long as the block lasts.

    A zone that starts has processors of its own. Here all zones share those of one machine, and the start of all that a zone has would take
    from the others what no real zone could.
    """
    names = [cluster.node(node).name for node in nodes]
    cluster.docker.run("update", "--cpu-shares", str(_SHARES_ASIDE), *names)
    try:
        yield
    finally:
        cluster.docker.run("update", "--cpu-shares", str(_SHARES), *names)


def pause(cluster: Cluster, node: str) -> None:
    """Freeze all processes of a node. Its kernel still acknowledges TCP: peers see silence, not an error."""
    cluster.docker.run("pause", cluster.node(node).name)


def unpause(cluster: Cluster, node: str) -> None:
    cluster.docker.run("unpause", cluster.node(node).name)
