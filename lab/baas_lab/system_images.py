"""The images of Kubernetes itself (API server, etcd, DNS, …), built from the lab's programs and preloaded in the nodes.

They carry the references that kubeadm and kind ask for, so that neither has to be told anything.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from baas_lab import bases, versions
from baas_lab.cache import Cache
from baas_lab.docker import Docker
from baas_lab.errors import LabError
from baas_lab.process import run

STORAGE_SOURCE = "pkg/build/nodeimage/const_storage.go"  # in kind: the default storage class and its two images
SANDBOX_SOURCE = "images/base/files/etc/containerd/config.toml"  # in kind: the sandbox image that containerd starts
PROXY_PACKAGES = "iptables nftables conntrack kmod procps"


@dataclass(frozen=True)
class Storage:
    """kind's default storage class: a manifest, and the images it names."""

    manifest: str
    provisioner_image: str
    helper_image: str


def storage(kind_source: Path) -> Storage:
    """Read the storage class out of kind's Go source, where it is a constant."""
    return parse_storage((kind_source / STORAGE_SOURCE).read_text())


def parse_storage(source: str) -> Storage:
    """The manifest is a raw Go string into which the two image constants are concatenated."""
    constants = dict(re.findall(r'const (storage\w+Image) = "([^"]+)"', source))
    found = re.search(r"const defaultStorageManifest = `(.*)`", source, re.DOTALL)
    if not found or set(constants) != {"storageProvisionerImage", "storageHelperImage"}:
        raise LabError(
            f"{STORAGE_SOURCE} of kind {versions.KIND} does not look as expected.",
            hint="Adapt baas_lab/system_images.py to this version of kind.",
        )
    manifest = re.sub(r"` \+ (storage\w+Image) \+ `", lambda match: constants[match[1]], found[1])
    return Storage(manifest, constants["storageProvisionerImage"], constants["storageHelperImage"])


def kubeadm_images(bin_folder: Path) -> dict[str, str]:
    """What kubeadm will ask for, by program name (`etcd` → `registry…/etcd:3.6.5-0`)."""
    listed = run([bin_folder / "kubeadm", "config", "images", "list", "--kubernetes-version", f"v{versions.KUBERNETES}"])
    return {reference.rsplit("/", 1)[1].split(":")[0]: reference for reference in listed.stdout.split()}


def build(docker: Docker, cache: Cache, bin_folder: Path, kind_source: Path) -> list[str]:
    """Build all of them; returns their references."""
    log = cache.log("system-images")
    wanted = kubeadm_images(bin_folder)
    sandbox = re.search(r'sandbox_image = "([^"]+)"', (kind_source / SANDBOX_SOURCE).read_text())
    volumes = storage(kind_source)
    references = []

    def image(reference: str, program: str, dockerfile: str) -> None:
        with tempfile.TemporaryDirectory(prefix="baas-lab-") as folder:
            shutil.copy(bin_folder / program, Path(folder) / program)
            (Path(folder) / "Dockerfile").write_text(dockerfile)
            docker.build(Path(folder), reference, log=log)
        references.append(reference)

    for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "coredns", "pause"):
        image(wanted[program], program, single_program(program))
    if sandbox and sandbox[1] not in references:
        docker.run("tag", wanted["pause"], sandbox[1])
        references.append(sandbox[1])
    base = bases.reference(versions.NODE_SUITE)
    image(
        wanted["kube-proxy"],
        "kube-proxy",
        f"FROM {base}\n"
        f"RUN apt-get update && apt-get install -y --no-install-recommends {PROXY_PACKAGES} && rm -rf /var/lib/apt/lists/*\n"
        "COPY kube-proxy /usr/local/bin/\n",
    )
    image(
        volumes.provisioner_image,
        "local-path-provisioner",
        f'FROM {base}\nCOPY local-path-provisioner /usr/local/bin/\nENTRYPOINT ["local-path-provisioner"]\n',
    )
    docker.run("tag", base, volumes.helper_image)
    references.append(volumes.helper_image)
    return references


def single_program(program: str) -> str:
    """An image of one static program, which Kubernetes starts as /PROGRAM or by its name on PATH. WORKDIR makes /tmp."""
    return f'FROM scratch\nCOPY {program} /{program}\nENV PATH=/\nWORKDIR /tmp\nENTRYPOINT ["/{program}"]\n'
