"""A control plane of kwokctl's binary runtime: real etcd, API server, controller manager and scheduler, nodes made up by KWOK."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from baas_lab import versions
from baas_operator.api.kinds import OWN_KINDS
from tests.harness.api import Api, Object

from . import chart, volumes
from .audit import POLICY, AuditLog, Call
from .chart import REPOSITORY, SYSTEM_NAMESPACE
from .operator import OperatorProcess
from .tools import run, tool

ZONES = ("zone-a", "zone-b", "zone-c")
UP_SECONDS = 120
"""It takes 4 s; a loaded CI machine gets more."""
POLL_SECONDS = 0.1

T = TypeVar("T")


class ControlPlane(Api):
    """The running control plane. What tests do with it is here and in `Api`; `up` and `down` are for the fixture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._kwokctl("create", "cluster", "--wait", f"{UP_SECONDS}s", *_cluster_options(folder))
        super().__init__(self.kubeconfig)
        self.audit = AuditLog(folder / "clusters" / "baas" / "logs" / "audit.log")
        self._stopped = threading.Event()
        self._operators: list[OperatorProcess] = []

    @classmethod
    def up(cls) -> ControlPlane:
        """Start one in a folder of its own, with zones, volumes and our CRDs; seconds."""
        _remove_orphans()
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
        (folder / "owner").write_text(str(os.getpid()))
        try:
            cp = cls(folder)
            cp._furnish()
        except BaseException:
            _delete(folder)
            raise
        return cp

    def down(self) -> None:
        """End what was started here, and nothing else."""
        self._stopped.set()
        for operator in self._operators:
            operator.kill9()
        _delete(self.folder)

    def _furnish(self) -> None:
        for zone in ZONES:
            self.must_apply(node(zone))
        self.must_apply(volumes.CLASS_MANIFEST)
        self.must_apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}})
        self.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(REPOSITORY / "crds"))
        for kind in OWN_KINDS:
            self.wait(lambda kind=kind: self.served(kind.name), UP_SECONDS, f"{kind.name} is served")  # type: ignore[misc]
        for manifest in chart.rights():
            self.must_apply(manifest)
        volumes.serve(self, self._stopped)
        self.wait(lambda: all(ready(each) for each in self.list("Node")), UP_SECONDS, "KWOK has made the nodes Ready")

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """kubectl as a user has it; stdout and stderr as text."""
        return run("kubectl", *args, env={"KUBECONFIG": str(self.kubeconfig)}, stdin=stdin, check=check)

    def wait(self, predicate: Callable[[], T], timeout: float, what: str = "", *, every: float = POLL_SECONDS) -> T:
        """Wait until `predicate` says something true, and return that; a failure says `what`, and the operators' last words."""
        deadline = time.monotonic() + timeout
        while True:
            value = predicate()
            if value:
                return value
            for operator in self._operators:
                operator.assert_alive()
            if time.monotonic() > deadline:
                words = "\n".join(operator.last_words() for operator in self._operators)
                raise AssertionError(f"not within {timeout:g} s: {what or predicate.__name__}\n{words}")
            time.sleep(every)

    @contextmanager
    def operator(self, name: str = "baas-operator-0") -> Iterator[OperatorProcess]:
        """The operator, under a ServiceAccount of its own name, so that the audit log tells two of them apart."""
        operator = OperatorProcess.start(self, name)
        self._operators.append(operator)
        try:
            yield operator
        finally:
            operator.stop()
            self._operators.remove(operator)

    def writes(self, since: int = 0, user: str = "", *, namespace: str = "", about: str = "") -> list[Call]:
        """What operators wrote since `audit.mark()`, without the Lease (see AuditLog.writes)."""
        return self.audit.writes(since, user, namespace=namespace, about=about)

    def _kwokctl(self, *args: str) -> None:
        _kwokctl(self.folder, *args)


def node(zone: str, name: str = "") -> Object:
    """A KWOK node in a zone."""
    name = name or f"node-{zone.removeprefix('zone-')}"
    labels = {"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "here", "kubernetes.io/hostname": name}
    annotations = {"kwok.x-k8s.io/node": "fake"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels, "annotations": annotations}}


def ready(thing: Object) -> bool:
    """Whether a Node or a Pod is Ready."""
    conditions = thing.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


_FOLDER_PREFIX = "baas-control-plane-"

_CONFIG = """\
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokctlConfiguration
options:
  bindAddress: 127.0.0.1
---
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  cidr: 127.64.0.0/10
  nodeLeaseParallelism: 4
  nodePlayStageParallelism: 4
  podPlayStageParallelism: 4
  podsOnNodeSyncParallelism: 1
"""
"""Everything stays on loopback. That pods have addresses there too means that whoever asks them is refused at once, without a packet
leaving the machine; enough of them for 1,000 objects. The other numbers are KWOK's own defaults, which it forgets where anything
is configured."""

_EXTRA_ARGUMENTS = (
    "kube-apiserver=service-cluster-ip-range=10.96.0.0/12",
    # Places in the audit log are kept as offsets: it may not begin anew, as it does every 100 MiB by itself.
    "kube-apiserver=audit-log-maxsize=4096",
    "etcd=unsafe-no-fsync=true",  # nothing here outlives the test run, and a busy disk would set the pace
    # A loopback address is refused in an EndpointSlice, and nobody needs those of the selecting Services here.
    "kube-controller-manager=controllers=*,-endpointslice-controller,-endpoints-controller,-endpointslice-mirroring-controller",
)


def _cluster_options(folder: Path) -> list[str]:
    policy = folder / "audit-policy.yaml"
    policy.write_text(POLICY)
    binaries = {
        "etcd": "etcd",
        "kube-apiserver": "kube-apiserver",
        "kube-controller-manager": "kube-controller-manager",
        "kube-scheduler": "kube-scheduler",
        "kwok-controller": "kwok",
    }
    return [
        "--runtime=binary",
        f"--kubeconfig={folder / 'kubeconfig'}",
        f"--kube-audit-policy={policy}",
        "--disable-qps-limits",
        *(f"--extra-args={each}" for each in _EXTRA_ARGUMENTS),
        *(f"--{option}-binary={tool(name)}" for option, name in binaries.items()),
    ]


def _kwokctl(folder: Path, *args: str) -> None:
    config = folder / "kwokctl.yaml"
    config.write_text(_CONFIG)
    where = {"KWOK_WORKDIR": str(folder), "KWOK_KUBE_VERSION": f"v{versions.KUBERNETES}", "KUBECONFIG": str(folder / "kubeconfig")}
    run("kwokctl", "--config", config, "--name", "baas", *args, env=where)


def _delete(folder: Path) -> None:
    if (folder / "clusters" / "baas").exists():
        _kwokctl(folder, "delete", "cluster")
    shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans() -> None:
    """End control planes whose test run was killed too hard to end its own."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        owner = folder / "owner"
        if owner.exists() and not Path(f"/proc/{owner.read_text()}").exists():
            _delete(folder)
