"""`lab up` and `lab down`: from nothing, or from whatever is left of a cluster, to a working one, and back to nothing."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import yaml

from baas_lab import binaries, daemon, kind_config, network, node_image, volumes
from baas_lab.cache import Cache, remove
from baas_lab.cluster import KIND_LABEL, ZONE_LABEL, Cluster
from baas_lab.daemon import PrivateDaemon
from baas_lab.docker import Docker
from baas_lab.errors import CommandError, LabError
from baas_lab.freezer import thaw
from baas_lab.process import run
from baas_lab.progress import Progress
from baas_lab.system import allow_inotify, is_root, lacks_sys_resource, restore_inotify
from baas_lab.waiting import wait_until

CREATE_SECONDS = 600.0  # kind and kubeadm, on a machine that is busy with something else
READY_SECONDS = 240.0
STORAGE_NAMESPACE = "local-path-storage"


def up(name: str = kind_config.DEFAULT_NAME, cache: Cache | None = None, progress: Progress | None = None) -> Cluster:
    """Return a cluster whose nodes are all Ready: the existing one, repaired if need be, or a new one.

    A cluster whose creation was interrupted is made anew. One that was complete and cannot be brought back is left as
    it is, for someone to look at; that raises LabError.
    """
    cache, progress = cache or Cache(), progress or Progress()
    docker = daemon.connect(cache, progress)
    cluster = Cluster(docker, cache, name)
    with cache.lock(f"cluster-{name}"):
        allow_inotify(cache, progress)
        binaries.ensure_or_adopt(cache, progress, binaries.CLUSTER_TOOLS)
        if cluster.complete and cluster.nodes():
            repair(cluster, progress)
        else:
            discard(cluster)
            create(cluster, progress)
    return cluster


def repair(cluster: Cluster, progress: Progress) -> None:
    """Bring a complete cluster back: mount what is not mounted, start what is off. Raises LabError."""
    started = []
    with progress.step(f"Cluster {cluster.name}: back to work"):
        for node in cluster.nodes():
            volume, state = cluster.volume(node.name), node.state
            if state == "paused":
                cluster.docker.run("unpause", node.name)
                state = "running"
            if state == "running" and not volume.mounted:
                # Docker started it by itself after the machine did: it sees the empty folder below the mount.
                cluster.docker.run("kill", node.name)
                state = "exited"
            volume.mount()
            if state != "running":
                cluster.docker.run("start", node.name)
                started.append(node.name)
        for name in started:
            cluster.wait_booted(name)
        wait_ready(cluster)


def create(cluster: Cluster, progress: Progress) -> None:
    """Make the cluster from nothing. Raises LabError, MissingError or CommandError; `discard` cleans up after that."""
    docker, cache = cluster.docker, cluster.cache
    image = node_image.ensure(docker, cache, progress)
    base = kind_config.load()
    names = kind_config.node_names(base, cluster.name)
    storage = "ext4" if volumes.supported() else "folder"
    with progress.step(f"Cluster {cluster.name}"):
        with progress.step("Volumes and network"):
            fixed = network.addresses(network.ensure_network(docker, cluster.name), names)
            folders = {}
            for node in names:
                folder = cluster.folder / "volumes"
                volume = volumes.Volume(folder / node, folder / f"{node}.ext4" if storage == "ext4" else None)
                volume.mount()
                folders[node] = volume.path
        audit_policy = cluster.folder / "audit-policy.yaml"
        audit_policy.write_text(files("baas_lab").joinpath("files/audit-policy.yaml").read_text())
        variant = kind_config.Variant(
            name=cluster.name,
            image=image.reference,
            audit_policy=audit_policy,
            volumes=folders,
            own_pod_network=image.built,
            restricted=lacks_sys_resource(),
        )
        with progress.step("Nodes"):
            run_kind(cluster, kind_config.lab_variant(base, variant), fixed)
        with progress.step("Pod network"):
            ranges = pod_ranges(cluster, len(names))
            if image.built:
                network.configure(docker, kind_config.POD_SUBNET, ranges, fixed)
        with progress.step("Everything ready"):
            wait_ready(cluster, nodes=len(names))
            settle_system_pods(cluster)
        zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(ZONE_LABEL, "") for node in cluster.get("nodes")["items"]}
        facts = {
            "image": image.reference,
            "own_pod_network": image.built,
            "zones": zones,
            "addresses": fixed,
            "pod_ranges": ranges,
            "storage": storage,
            "private_daemon": docker.private,
        }
        staged = cluster.folder / ".cluster.json"
        staged.write_text(json.dumps(facts, indent=2) + "\n")
        staged.rename(cluster.folder / "cluster.json")


def run_kind(cluster: Cluster, config: kind_config.Config, fixed: dict[str, str]) -> None:
    """`kind create cluster`, with fixed addresses for the nodes. Raises CommandError, or LabError if they are not fixed."""
    path = cluster.folder / "kind.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    shim = network.docker_with_addresses(cluster.folder / "kind-path", fixed)
    environment = {
        **cluster.environment,
        "PATH": f"{shim}{os.pathsep}{cluster.environment['PATH']}",
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": cluster.name,
    }
    log = cluster.cache.log(f"kind-{cluster.name}")
    words: list[str | Path] = [cluster.bin / "kind", "create", "cluster", "--config", path, "--kubeconfig", cluster.kubeconfig, "--retain"]
    run(words, env=environment, timeout_seconds=CREATE_SECONDS, log=log)
    for node, address in fixed.items():
        settings = cluster.docker.inspect(node)["NetworkSettings"]["Networks"][cluster.name]
        if (settings.get("IPAMConfig") or {}).get("IPv4Address") != address:
            raise LabError(f"The node {node} did not get its fixed address {address}.", log=log)


def pod_ranges(cluster: Cluster, nodes: int) -> dict[str, str]:
    """Each node's pod CIDR, as soon as the controller manager has given all of them one."""
    found: dict[str, str] = {}

    def all_assigned() -> bool:
        try:
            items = cluster.get("nodes")["items"]
        except CommandError:
            return False
        found.update({node["metadata"]["name"]: node["spec"]["podCIDR"] for node in items if "podCIDR" in node["spec"]})
        return len(found) == nodes

    wait_until(all_assigned, timeout_seconds=READY_SECONDS, what="every node has a range of pod addresses", poll_seconds=1)
    return found


def wait_ready(cluster: Cluster, nodes: int | None = None) -> None:
    """Wait until the API answers and all nodes are Ready. Raises LabError."""
    wait_until(
        lambda: cluster.ready() and (nodes is None or len(cluster.nodes()) == nodes),
        timeout_seconds=READY_SECONDS,
        what=f"all nodes of the cluster {cluster.name} are Ready (see `lab status`; `lab down` and `lab up` make it anew)",
        poll_seconds=1,
    )


def settle_system_pods(cluster: Cluster) -> None:
    """DNS and volumes work. The volume provisioner is kept on the control plane: no zone that is cut off takes it along."""
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}}}}
    deployment = "deployment/local-path-provisioner"
    cluster.kubectl("--namespace", STORAGE_NAMESPACE, "patch", deployment, "--patch", json.dumps(patch))
    for namespace, name in ((STORAGE_NAMESPACE, deployment), ("kube-system", "deployment/coredns")):
        words = ("--namespace", namespace, "rollout", "status", name, f"--timeout={READY_SECONDS:.0f}s")
        cluster.kubectl(*words, timeout_seconds=READY_SECONDS + 10)


def discard(cluster: Cluster) -> None:
    """Remove the cluster, whatever state it is in: containers, network, mounts and its folder. The daemon stays."""
    (cluster.folder / "cluster.json").unlink(missing_ok=True)  # from here on it is not complete
    label = f"label={KIND_LABEL}.cluster={cluster.name}"
    listed = cluster.docker.run("container", "ls", "--all", "--filter", label, "--format", "{{.ID}} {{.Image}}").splitlines()
    if listed:
        nodes = [line.split()[0] for line in listed]
        try:
            cluster.docker.run("rm", "--force", "--volumes", *nodes)
        except CommandError:
            if not thaw(nodes):
                raise
            cluster.docker.run("rm", "--force", "--volumes", *nodes)
        if not is_root():
            _empty_volumes(cluster, image=listed[0].split()[1])
    network.remove_network(cluster.docker, cluster.name)
    discard_files(cluster)


def _empty_volumes(cluster: Cluster, image: str) -> None:
    """What nodes wrote belongs to root. A container can delete it where the user cannot."""
    mount = f"{cluster.folder / 'volumes'}:/volumes"
    cluster.docker.run("run", "--rm", "--volume", mount, "--entrypoint", "sh", image, "-c", "rm -rf /volumes/*/* /volumes/*/.[!.]*")


def discard_files(cluster: Cluster) -> None:
    """Unmount the cluster's volumes and delete its folder."""
    for mount in sorted((cluster.folder / "volumes").glob("*")):
        if mount.is_dir():
            volumes.Volume(mount, None).unmount()
    remove(cluster.folder)


def clusters(cache: Cache) -> list[str]:
    """The names of all clusters that have files here."""
    return sorted(path.name for path in (cache.root / "clusters").glob("*") if path.is_dir())


def down(name: str = kind_config.DEFAULT_NAME, cache: Cache | None = None, progress: Progress | None = None) -> None:
    """Remove the cluster, and stop the private daemon if no other cluster of the lab is left. The cache stays."""
    cache, progress = cache or Cache(), progress or Progress()
    docker = daemon.find(cache)
    with cache.lock(f"cluster-{name}"):
        if docker is not None:
            with progress.step(f"Cluster {name}: removed"):
                discard(Cluster(docker, cache, name))
        elif name in clusters(cache):
            _discard_without_daemon(name, cache, progress)
    others = clusters(cache)
    if others:
        progress.note(f"The Docker daemon keeps running for: {', '.join(others)}")
        return
    restore_inotify(cache)
    if PrivateDaemon(cache).stop():
        progress.note("The private Docker daemon is stopped.")


def _discard_without_daemon(name: str, cache: Cache, progress: Progress) -> None:
    """The daemon is off and so are the nodes. A private daemon is started once more, to forget its containers."""
    private = PrivateDaemon(cache)
    if (private.folder / "data").exists():
        discard(Cluster(private.start(progress), cache, name))
    else:
        discard_files(Cluster(Docker(), cache, name))
