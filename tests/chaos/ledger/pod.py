"""The pod that the ledger's client runs in, on a node of the test's choice: not on one that the test is about to break.

It is driven with kubectl exec, but what it does goes on without: neither a dead API server nor a cut connection ends it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from baas_lab import images
from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError, LabError
from baas_lab.waiting import wait_until
from baas_operator.desired.images import Images

MOST_SECONDS = 1500.0
"""A client that nobody stops ends by itself after this."""
_CONTAINER = "ledger"
_WORK = "/work"
_USER = 999
_READY_SECONDS = 90.0
_END_SECONDS = 30.0
FETCH_SECONDS = 120.0
_IMPORT_SECONDS = 300.0


@dataclass(frozen=True)
class Status:
    """How the client is doing at `t`; the probe has had no gap of a second since `steady_since`. Times as in the log."""

    t: float
    acks: int
    fails: int
    probe_acks: int
    probe_at: float
    steady_since: float
    server: str
    error: str


@dataclass(frozen=True)
class LedgerPod:
    """A client's pod, on `node`; `image` has Python and what its clients import."""

    lab: Cluster
    namespace: str
    node: str
    image: str = field(default_factory=lambda: Images().postgres)
    cpu: ClassVar[str] = "50m"

    @property
    def name(self) -> str:
        return f"ledger-{self.node.removeprefix(f'{self.lab.name}-')}"

    def start(self) -> None:
        """Have it run; again, if it is there. Raises LabError."""
        load_image(self.lab, self.node, self.image)
        there = ("--namespace", self.namespace)
        self.lab.kubectl(*there, "apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(self._manifest()))
        ready = ("wait", "--for=condition=Ready", f"pod/{self.name}", f"--timeout={_READY_SECONDS:.0f}s")
        self.lab.kubectl(*there, *ready, timeout_seconds=_READY_SECONDS + 10)

    def shell(self, script: str, *args: str, input: str | None = None, timeout_seconds: float = 30) -> str:
        """Run a shell script in it, with `args` as its $1, $2…; stdout. Raises CommandError."""
        stdin = ["--stdin"] if input is not None else []
        words = ["exec", *stdin, self.name, "--container", _CONTAINER, "--", "sh", "-euc", script, "sh", *args]
        return self.lab.kubectl("--namespace", self.namespace, *words, input=input, timeout_seconds=timeout_seconds)

    @contextmanager
    def running(self, script: str, run: str, settings: Mapping[str, Any]) -> Iterator[Writing]:
        """Have a client of `in_cluster` at work, with its settings; `run` names its folder. Ends it, if the block has not."""
        folder = f"{_WORK}/{run}"
        words = json.dumps({**settings, "folder": folder, "most_seconds": MOST_SECONDS})
        # setsid and no inherited stream: the exec returns at once, and the client is nobody's child.
        command = f"""
        rm -rf {folder}; mkdir -p {folder}; cat > {folder}/client.py
        setsid python3 {folder}/client.py {shlex.quote(words)} > {folder}/said 2>&1 < /dev/null &
        """
        begun = time.monotonic()
        self.shell(command, input=script_text(script))
        made = Writing(self, folder)
        try:
            made.wait_begun(begun)
            yield made
        finally:
            made.stop()

    def _manifest(self) -> dict[str, Any]:
        security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        container = {
            "name": _CONTAINER, "image": self.image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
            "securityContext": security, "resources": {"requests": {"cpu": self.cpu, "memory": "64Mi"}},
            "volumeMounts": [{"name": "work", "mountPath": _WORK}], "workingDir": _WORK, "env": [{"name": "HOME", "value": _WORK}],
        }  # fmt: skip
        spec = {
            "nodeName": self.node,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": _USER, "fsGroup": _USER, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "work", "emptyDir": {}}],
        }  # fmt: skip
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": spec}


@dataclass
class Writing:
    """A client at work in a pod."""

    pod: LedgerPod
    folder: str
    stopped: bool = False

    def status(self) -> Status | None:
        """How it is doing; None where it could not be asked."""
        try:
            said = json.loads(self.pod.shell(f"cat {self.folder}/status.json", timeout_seconds=5))
        except (CommandError, ValueError):
            return None
        return Status(
            said["t"], said["acks"], said["fails"], said["probe_acks"], said["at"], said["steady_since"], said["server"], said["error"]
        )

    def wait_begun(self, since: float) -> None:
        """Until it says that it is at work; its clock must be ours, as no time of it could be compared otherwise. Raises LabError."""
        found: list[Status] = []

        def at_work() -> bool:
            status = self.status()
            found.extend([status] if status else [])
            return bool(found)

        try:
            wait_until(at_work, timeout_seconds=_END_SECONDS, what="the ledger's client is at work")
        except LabError as error:
            raise LabError(f"{error} It said: {self._said()}") from error
        if not since <= found[0].t <= time.monotonic():
            raise LabError(f"The client's clock ({found[0].t}) is not this machine's ({time.monotonic()}).")

    def wait_steady(self, seconds: float, *, since: float = 0.0, timeout_seconds: float, poll_seconds: float = 0.5) -> bool:
        """Wait until the probe has written for so long without a gap of a second, all of it after `since`; false when it never did."""

        def steady() -> bool:
            status = self.status()
            return status is not None and status.t - status.probe_at < 1 and status.probe_at - max(status.steady_since, since) >= seconds

        try:
            wait_until(steady, timeout_seconds=timeout_seconds, what="the probe writes", poll_seconds=poll_seconds)
        except LabError:
            return False
        return True

    def stop(self) -> None:
        """Have it end, and wait until it did. Raises LabError."""
        if self.stopped:
            return
        self.stopped = True

        def ended() -> bool:
            try:
                said = self.pod.shell(f"touch {self.folder}/stop; cat {self.folder}/status.json", timeout_seconds=10)
                return bool(json.loads(said)["ended"])
            except (CommandError, ValueError):
                return False

        wait_until(ended, timeout_seconds=_END_SECONDS, what="the ledger's client has ended", poll_seconds=0.5)

    def fetch(self, keep: Path | None = None) -> str:
        """End it, and read its log; a copy goes to `keep`, if that is given. Raises LabError."""
        self.stop()
        text = self.pod.shell(f"cat {self.folder}/log.jsonl", timeout_seconds=FETCH_SECONDS)
        if keep:
            keep.write_text(text)
        self.pod.shell(f"rm -rf {self.folder}")
        return text

    def _said(self) -> str:
        try:
            return self.pod.shell(f"cat {self.folder}/said")[-500:]
        except CommandError as error:
            return str(error)


def load_image(lab: Cluster, node: str, reference: str) -> None:
    """Have an image on any one node; the lab itself loads them into workers alone. Raises CommandError."""
    wanted = {reference: lab.docker.image_id(reference)}
    if not images.lacking(lab, node, wanted):
        return
    with tempfile.TemporaryDirectory(prefix="baas-chaos-", dir=lab.cache.root) as folder:
        archive = Path(folder) / "image.tar"
        lab.docker.run("save", "--output", archive, reference)
        words = ["docker", "exec", "--interactive", node, *images.CTR, "images", "import", "-"]
        with archive.open("rb") as tar:
            environment = {**os.environ, **lab.environment}
            done = subprocess.run(words, env=environment, stdin=tar, capture_output=True, timeout=_IMPORT_SECONDS, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CommandError(f"The node {node} could not import {reference}.", returncode=done.returncode, output=said)
    lab.docker.exec(node, *images.CTR, "images", "label", images.full_name(reference), f"{images.MARK}={wanted[reference]}")


def script_text(name: str) -> str:
    return files("tests.chaos.ledger").joinpath("in_cluster", name).read_text()
