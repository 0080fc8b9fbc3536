"""The image that kind makes nodes of: the published one where it can be pulled, else one built here."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from baas_lab import bases, binaries, system_images, versions
from baas_lab.cache import Cache
from baas_lab.docker import Docker
from baas_lab.progress import Progress

PUBLISHED = f"kindest/node:v{versions.KUBERNETES_PUBLISHED}"
REPOSITORY = "baas-lab/node"
RECIPE = 1  # raise it when this module makes another image than before; files and versions count by themselves

# containerd imports (and unpacks) the archive inside a container of the image, which is then committed.
PRELOAD = """
containerd > /tmp/containerd.log 2>&1 & daemon=$!
for _ in $(seq 100); do ctr version > /dev/null 2>&1 && break; sleep 0.2; done
ctr --namespace k8s.io images import /images.tar
kill $daemon; wait $daemon || true
rm -rf /run/containerd /tmp/containerd.log
"""


@dataclass(frozen=True)
class NodeImage:
    """`built` tells the lab's own image, which has the lab's pod network, from the published one, which has kindnet."""

    reference: str
    built: bool


def ensure(docker: Docker, cache: Cache, progress: Progress) -> NodeImage:
    """Make sure that the daemon has a node image. Raises LabError, MissingError or CommandError."""
    own = f"{REPOSITORY}:v{versions.KUBERNETES}-{recipe_digest()}"
    if docker.image_exists(own):
        return NodeImage(own, built=True)
    if docker.image_exists(PUBLISHED) or docker.pull(PUBLISHED):
        return NodeImage(PUBLISHED, built=False)
    build(own, docker, cache, progress)
    return NodeImage(own, built=True)


def recipe_digest() -> str:
    """Changes whenever the image would: with its files, with the versions, with this recipe."""
    digest = hashlib.sha256(f"{RECIPE} {binaries.BUILDS!r}".encode())
    with as_file(files("baas_lab").joinpath("files/node")) as folder:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def build(reference: str, docker: Docker, cache: Cache, progress: Progress) -> None:
    """Build the image `reference` out of Debian packages, kind's base files and the lab's programs."""
    everything = [program for program in binaries.BY_PROGRAM if program not in ("kwok", "kwokctl", "helm", "kubeconform")]
    bin_folder = binaries.ensure(cache, progress, everything)
    bases.ensure(docker, cache, progress, versions.NODE_SUITE)
    kind_source = binaries.module_folder("kind", "sigs.k8s.io/kind")
    log = cache.log("node-image")
    with cache.lock("node-image"):
        if docker.image_exists(reference):
            return
        with progress.step("Images of Kubernetes itself"):
            preloaded = system_images.build(docker, cache, bin_folder, kind_source)
        with progress.step("Node image"):
            base = f"{REPOSITORY}:base"
            with _context(bin_folder, kind_source) as context:
                docker.build(context, base, args={"KUBERNETES_VERSION": versions.KUBERNETES}, log=log)
            with tempfile.TemporaryDirectory(prefix="baas-lab-", dir=cache.root) as folder:
                archive = Path(folder) / "images.tar"
                docker.run("save", "--output", archive, *preloaded)
                _preload(docker, base, archive, reference, log)


@contextmanager
def _context(bin_folder: Path, kind_source: Path) -> Iterator[Path]:
    """The build context of files/node/Dockerfile."""
    with (
        tempfile.TemporaryDirectory(prefix="baas-lab-") as name,
        as_file(files("baas_lab").joinpath("files/node")) as node_files,
    ):
        folder = Path(name)
        shutil.copytree(node_files, folder, dirs_exist_ok=True)
        # the module cache is read-only, and its modes would end up in the image
        shutil.copytree(kind_source / "images/base/files", folder / "kind-base", copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for subfolder, programs in (("bin", binaries.NODE_PROGRAMS), ("cni", binaries.CNI_PROGRAMS)):
            (folder / subfolder).mkdir()
            for program in programs:
                shutil.copy(bin_folder / program, folder / subfolder / program)
        (folder / "manifests").mkdir()
        (folder / "manifests/default-storage.yaml").write_text(system_images.storage(kind_source).manifest)
        yield folder


def _preload(docker: Docker, base: str, archive: Path, reference: str, log: Path) -> None:
    container = "baas-lab-preload"
    docker.run("rm", "--force", container)
    try:
        docker.run(
            *("run", "--name", container, "--privileged", "--network", "none", "--entrypoint", "sh"),
            *("--volume", f"{archive}:/images.tar:ro", base, "-euc", PRELOAD),
            log=log,
        )
        entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
        docker.run("commit", "--change", entrypoint, "--change", "CMD []", container, reference)
    finally:
        docker.run("rm", "--force", "--volumes", container)
