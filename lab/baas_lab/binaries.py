"""The programs that the lab needs, built from Go modules: no release downloads, every byte checked by its module sum.

Each build is a cache entry of its own version; `folder()` holds links to all of them and goes on PATH.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from baas_lab import versions
from baas_lab.cache import Cache
from baas_lab.errors import MissingError
from baas_lab.process import run
from baas_lab.progress import Progress

MINIMUM_GO = "1.25"


@dataclass(frozen=True, eq=False)
class Build:
    """One or more programs out of one Go build.

    With `module`, the packages are built inside that folder of `files/go`, whose go.mod and go.sum pin everything: the
    way for modules that cannot be `go install`ed because of their replace directives. Otherwise `go install PACKAGE@vVERSION`.
    """

    name: str
    version: str
    packages: dict[str, str]  # program → Go package
    module: str = ""
    ldflags: str = ""

    @property
    def key(self) -> str:
        return f"{self.name}-{self.version}"


def _kubernetes(name: str, *commands: str) -> Build:
    variables = "k8s.io/component-base/version"
    major, minor, _ = versions.KUBERNETES.split(".")
    return Build(
        name=f"kubernetes-{name}",
        version=versions.KUBERNETES,
        packages={command: f"k8s.io/kubernetes/cmd/{command}" for command in commands},
        module="kubernetes",
        ldflags=(
            f"-X {variables}.gitVersion=v{versions.KUBERNETES} -X {variables}.gitMajor={major} "
            f"-X {variables}.gitMinor={minor} -X {variables}.gitTreeState=clean"
        ),
    )


_CNI = "github.com/containernetworking/plugins/plugins"

BUILDS = (
    _kubernetes("control-plane", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    _kubernetes("node", "kubelet", "kubeadm", "kube-proxy"),
    _kubernetes("client", "kubectl"),
    Build("etcd", versions.ETCD, {"etcd": "go.etcd.io/etcd/server/v3"}, module="etcd"),
    Build("kind", versions.KIND, {"kind": "sigs.k8s.io/kind"}),
    Build("kwok", versions.KWOK, {"kwok": "sigs.k8s.io/kwok/cmd/kwok", "kwokctl": "sigs.k8s.io/kwok/cmd/kwokctl"}),
    Build(
        "helm",
        versions.HELM,
        {"helm": "helm.sh/helm/v3/cmd/helm"},
        ldflags=f"-X helm.sh/helm/v3/internal/version.version=v{versions.HELM}",
    ),
    Build(
        "kubeconform",
        versions.KUBECONFORM,
        {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
        ldflags=f"-X main.version=v{versions.KUBECONFORM}",
    ),
    Build("coredns", versions.COREDNS, {"coredns": "github.com/coredns/coredns"}),
    Build(
        "local-path-provisioner",
        versions.LOCAL_PATH_PROVISIONER,
        {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
    ),
    Build(
        "cni-plugins",
        versions.CNI_PLUGINS,
        {
            "loopback": f"{_CNI}/main/loopback",
            "ptp": f"{_CNI}/main/ptp",
            "host-local": f"{_CNI}/ipam/host-local",
            "portmap": f"{_CNI}/meta/portmap",
        },
    ),
    Build("pause", "1", {"pause": "baas-lab/pause"}, module="pause"),
)
BY_PROGRAM = {program: build for build in BUILDS for program in build.packages}

# What tests against a control plane without nodes run, and what works on the host with a cluster.
HOST_TOOLS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "etcd",
    "kubectl",
    "kwok",
    "kwokctl",
    "helm",
    "kubeconform",
)
CLUSTER_TOOLS = ("kind", "kubectl", "helm")

# What the node image is made of, besides Debian packages.
NODE_PROGRAMS = ("kubelet", "kubeadm", "kubectl")
CNI_PROGRAMS = ("loopback", "ptp", "host-local", "portmap")


def folder(cache: Cache) -> Path:
    """The folder of links to every program built so far, for PATH. Its name changes when any version does."""
    digest = hashlib.sha256(repr(BUILDS).encode()).hexdigest()[:12]
    path = cache.root / "bin" / digest
    path.mkdir(parents=True, exist_ok=True)
    return path


def ensure(cache: Cache, progress: Progress, programs: Iterable[str]) -> Path:
    """Build what is missing of `programs`; returns the folder that has them. Raises MissingError without a Go toolchain."""
    target = folder(cache)
    wanted = list(dict.fromkeys(programs))
    for build in dict.fromkeys(BY_PROGRAM[program] for program in wanted):
        if not cache.has(build.key):
            require_go(why=f"to build {' and '.join(build.packages)}")
            with progress.step(f"Go build: {build.name} {build.version}"):
                cache.ensure(build.key, lambda path, build=build: make(build, path, cache))  # type: ignore[misc]
        for program in build.packages:
            _link(target / program, cache.path(build.key) / program)
    return target


def ensure_or_adopt(cache: Cache, progress: Progress, programs: Iterable[str]) -> Path:
    """As `ensure`, but a program of the right version that the machine has already is linked instead of built."""
    target = folder(cache)
    for program in programs:
        if cache.has(BY_PROGRAM[program].key):
            ensure(cache, progress, [program])
        elif (found := shutil.which(program)) and Path(found).parent != target and suitable(program, found):
            _link(target / program, Path(found))
        else:
            ensure(cache, progress, [program])
    return target


def suitable(program: str, path: str) -> bool:
    """Whether an installed program can stand in for ours: kind in the same version, kubectl within one
    minor version, helm of the same major version."""
    if program == "kind":
        return f"v{versions.KIND} " in run([path, "version"], check=False).stdout + " "
    if program == "kubectl":
        said = run([path, "version", "--client", "--output", "json"], check=False).stdout
        try:
            minor = re.sub(r"\D", "", json.loads(said)["clientVersion"]["minor"])
        except (ValueError, KeyError):
            return False
        return abs(int(minor or 0) - int(versions.KUBERNETES.split(".")[1])) <= 1
    if program == "helm":
        return run([path, "version", "--short"], check=False).stdout.startswith(f"v{versions.HELM.split('.')[0]}.")
    return False


def make(build: Build, target: Path, cache: Cache) -> None:
    """Run one Go build; the programs are in the folder `target` afterwards."""
    target.mkdir(parents=True)
    flags = ["-ldflags", f"-s -w {build.ldflags}".strip()]
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOBIN": str(target), "GOWORK": "off"}
    log = cache.log(f"go-{build.name}")
    if not build.module:
        packages = [f"{package}@v{build.version}" for package in build.packages.values()]
        run(["go", "install", *flags, *packages], env=environment, log=log)
        return
    with as_file(files("baas_lab").joinpath(f"files/go/{build.module}")) as module:
        for program, package in build.packages.items():
            run(["go", "build", *flags, "-o", target / program, package], env=environment, cwd=module, log=log)


def module_folder(build_name: str, package: str) -> Path:
    """Where the Go module cache has the sources of `package`, which a build of ours has fetched."""
    build = next(build for build in BUILDS if build.name == build_name)
    query = ["go", "mod", "download", "-json", f"{package}@v{build.version}"]
    found: str = json.loads(run(query, env={"GOFLAGS": ""}).stdout)["Dir"]
    return Path(found)


def require_go(*, why: str) -> None:
    """Raises MissingError unless a Go toolchain is on PATH."""
    if not shutil.which("go"):
        raise MissingError(f"Go {MINIMUM_GO} or newer is needed {why}.", hint="Install it and have `go` on PATH.")


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    staged = link.with_name(f".{link.name}-{os.getpid()}")
    staged.symlink_to(target)
    staged.rename(link)  # in one step: another process may be running the program by this name
