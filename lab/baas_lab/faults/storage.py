"""Disks that fill."""

from __future__ import annotations

from baas_lab.cluster import Cluster

FILLS = "/etc/lab/fills"  # in a node: the paths of the files that `fill` made


def fill(cluster: Cluster, node: str, path: str, size: str) -> None:
    """Take space in a folder of a node: `size` as `fallocate` reads it (`512MiB`), or `all` that is left."""
    name = cluster.node(node).name
    script = f"""
    size={size}
    [ "$size" != all ] || size=$(df --output=avail -B1 '{path}' | tail -1 | tr -d ' ')
    mkdir -p /etc/lab; echo '{path}/.lab-fill' >> {FILLS}
    [ "$size" != 0 ] || exit 0
    fallocate -o $(stat -c %s '{path}/.lab-fill' 2>/dev/null || echo 0) -l $size '{path}/.lab-fill'
    """
    cluster.docker.shell(name, script)


def unfill(cluster: Cluster, node: str) -> None:
    """Give back all space that `fill` took on the node, for good: not even a power cut brings the files back."""
    script = f'[ ! -e {FILLS} ] || {{ while read -r file; do rm -f "$file"; sync -f "${{file%/*}}"; done < {FILLS}; rm {FILLS}; }}'
    cluster.docker.shell(cluster.node(node).name, script)
