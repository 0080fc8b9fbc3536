"""A pod that clients run in: psql and Python with psycopg2 in one container, Python with nats-py in the other.

A program of ours inside the cluster, as an application is: it finds services by name, and no port-forward comes between it and a
member that dies.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from baas_operator.desired.images import Images
from tests.chaos.ledger.pod import load_image
from tests.e2e.harness.kube import Kube

NAME = "client"
SQL = "sql"
NATS = "nats"
_USER = 999
_END_SECONDS = 15.0


class ClientPod:
    """The pod; `start` makes it, it goes with its namespace. `node`: where it is, if that matters."""

    def __init__(self, kube: Kube, namespace: str, *, node: str | None = None) -> None:
        self.kube = kube
        self.namespace = namespace
        self._node = node

    def start(self) -> None:
        """Make it, and wait until it runs."""
        manifest = _manifest()
        if self._node is not None:
            manifest["spec"] |= {"nodeName": self._node, "tolerations": [{"operator": "Exists"}]}
            for container in manifest["spec"]["containers"]:
                load_image(self.kube.lab, self._node, container["image"])
        self.kube.must_apply(manifest, self.namespace)
        self.kube.wait_condition(self.namespace, "Pod", NAME, timeout_seconds=180)

    def psql(self, uri: str, sql: str, *, timeout_seconds: float = 30) -> list[str]:
        """Rows of a query, fields separated by `|`. Raises CommandError with what the server said."""
        words = ("env", "PGCONNECT_TIMEOUT=3", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", uri)
        said = self.kube.exec(self.namespace, NAME, SQL, *words, input=sql, timeout_seconds=timeout_seconds)
        return said.splitlines()

    def shell(self, script: str, *args: str, timeout_seconds: float = 30) -> str:
        """Run a script of sh beside psql; its output. Raises CommandError."""
        return self.kube.exec(self.namespace, NAME, SQL, "sh", "-c", script, "sh", *args, timeout_seconds=timeout_seconds)

    def python(self, container: str, script: str, *args: str, timeout_seconds: float = 60) -> str:
        """Run one of the scripts of `in_cluster` to its end; its stdout. Raises CommandError."""
        words = ("python3", "-u", "-c", _script(script), *args)
        return self.kube.exec(self.namespace, NAME, container, *words, timeout_seconds=timeout_seconds)

    @contextmanager
    def running(self, container: str, script: str, *args: str, tell: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Have one of the scripts run beside the test; `tell` gets each line of JSON that it prints. It ends when its stdin does."""
        kubectl = [str(self.kube.lab.bin / "kubectl"), "--kubeconfig", str(self.kube.lab.kubeconfig), "--namespace", self.namespace]
        words = [*kubectl, "exec", "--stdin", NAME, "--container", container, "--", "python3", "-u", "-c", _script(script), *args]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            listener = threading.Thread(target=_listen, args=(process, tell), daemon=True)
            listener.start()
            try:
                yield
            finally:
                try:
                    _, said = process.communicate(timeout=_END_SECONDS) if not listener.is_alive() else _end(process)
                except BaseException:
                    process.kill()
                    raise
                listener.join(_END_SECONDS)
        assert process.returncode == 0, f"{script} ended with {process.returncode}: {said}"


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.close()
    process.wait(_END_SECONDS)
    return "", process.stderr.read()


def _listen(process: subprocess.Popen[str], tell: Callable[[dict[str, Any]], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        tell(json.loads(line))


def _script(name: str) -> str:
    return files("tests.e2e.harness").joinpath("in_cluster", name).read_text()


def _manifest() -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    images = Images()
    containers = [
        {"name": name, "image": image, "command": ["sleep", "infinity"], "securityContext": security,
         "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}}
        for name, image in ((SQL, images.postgres), (NATS, images.operator))
    ]  # fmt: skip
    spec = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": containers,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": spec}
