"""Images from the Docker daemon into the nodes: there is no registry that the nodes could pull from."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError, LabError
from baas_lab.progress import Progress

IMPORT_SECONDS = 300.0
MARK = "baas-lab/image-id"  # a label in containerd: the Docker image that an image in the node was made of
CTR = ("ctr", "--namespace", "k8s.io")


def load(cluster: Cluster, references: Iterable[str], progress: Progress | None = None) -> list[str]:
    """Have images of the daemon on all workers; returns those that were not there yet.

    Raises LabError when the daemon lacks an image, CommandError when a node cannot import.
    """
    progress = progress or Progress()
    wanted = {}
    for reference in dict.fromkeys(references):
        try:
            wanted[reference] = cluster.docker.image_id(reference)
        except CommandError as error:
            raise LabError(
                f"The Docker daemon has no image {reference}.", hint="Build it first: `lab images` builds the project's."
            ) from error
    workers = [node.name for node in cluster.workers() if node.state == "running"]
    missing = {worker: lacking(cluster, worker, wanted) for worker in workers}
    everywhere = [reference for reference in wanted if any(reference in lacked for lacked in missing.values())]
    if not everywhere:
        return []
    with (
        progress.step(f"{len(everywhere)} image{'s' if len(everywhere) > 1 else ''} into the nodes"),
        tempfile.TemporaryDirectory(prefix="baas-lab-", dir=cluster.cache.root) as folder,
    ):
        archive = Path(folder) / "images.tar"
        cluster.docker.run("save", "--output", archive, *everywhere)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda worker: _import(cluster, worker, archive, wanted, everywhere), [w for w in workers if missing[w]]))
    return everywhere


def lacking(cluster: Cluster, node: str, wanted: dict[str, str]) -> set[str]:
    """Which of `wanted` (reference → Docker image id) the node does not have, or has in another version."""
    listed = cluster.docker.exec(node, *CTR, "images", "list").splitlines()
    present = {line.split()[0]: line for line in listed[1:]}
    return {reference for reference, image_id in wanted.items() if f"{MARK}={image_id}" not in present.get(full_name(reference), "")}


def full_name(reference: str) -> str:
    """A reference as containerd writes it: `nats:2` → `docker.io/library/nats:2`."""
    name = reference if ":" in reference.rsplit("/", 1)[-1] or "@" in reference else f"{reference}:latest"
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." in first or ":" in first or first == "localhost":
        return name
    return f"docker.io/{name}"


def _import(cluster: Cluster, node: str, archive: Path, wanted: dict[str, str], references: list[str]) -> None:
    words = ["docker", "exec", "--interactive", node, *CTR, "images", "import", "-"]
    with archive.open("rb") as tar:
        done = subprocess.run(
            words,
            env={**cluster.environment},
            stdin=tar,
            capture_output=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CommandError(f"The node {node} could not import {archive.name}.", returncode=done.returncode, output=said)
    for reference in references:
        cluster.docker.exec(node, *CTR, "images", "label", full_name(reference), f"{MARK}={wanted[reference]}")
