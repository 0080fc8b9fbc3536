"""The lab's cluster as a test sees it: a client of its API, and kubectl for what only kubectl does."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from baas_lab.cluster import ZONE_LABEL, Cluster
from baas_lab.waiting import wait_until
from tests.harness.api import Api, Object

SYSTEM_NAMESPACE = "baas-system"
OPERATOR = "baas-operator"
EXEC_SECONDS = 30.0
QUICKLY = 0.05
"""Seconds between two looks where the time until something is so is what is measured."""


class Kube(Api):
    """Requests with the lab's credentials. `folder` gets them as files, which is how the client wants them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        for entry in (config["clusters"][0]["cluster"], config["users"][0]["user"]):
            for key in [key for key in entry if key.endswith("-data")]:
                path = folder / key.removesuffix("-data")
                path.write_bytes(base64.b64decode(entry.pop(key)))
                entry[path.name] = str(path)
        own = folder / "kubeconfig"
        own.write_text(yaml.safe_dump(config))
        super().__init__(own)
        self.lab = cluster

    # objects

    def must_patch(self, kind: str, namespace: str | None, name: str, changes: Object) -> Object:
        """A merge patch that the API server has to take."""
        answer = self.patch(kind, namespace, name, changes)
        assert answer.ok, f"{kind} {name}: {answer.message}"
        return answer.object

    def must_get(self, kind: str, namespace: str | None, name: str) -> Object:
        """An object that has to be there."""
        found = self.get(kind, namespace, name)
        assert found is not None, f"there is no {kind} {name} in {namespace}"
        return found

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """A Secret's content, decoded."""
        return {key: base64.b64decode(text).decode() for key, text in self.must_get("Secret", namespace, name)["data"].items()}

    def scale_operator(self, replicas: int) -> None:
        """That many replicas of the operator, and not before that is so does this return."""
        self.must_patch("Deployment", SYSTEM_NAMESPACE, OPERATOR, {"spec": {"replicas": replicas}})
        if replicas:
            self.wait_rollout(SYSTEM_NAMESPACE, f"deployment/{OPERATOR}", timeout_seconds=120)
        else:
            selector = self.must_get("Deployment", SYSTEM_NAMESPACE, OPERATOR)["spec"]["selector"]["matchLabels"]
            labels = ",".join(f"{key}={value}" for key, value in selector.items())
            wait_until(lambda: not self.list("Pod", SYSTEM_NAMESPACE, labels), timeout_seconds=60, what="no operator runs")

    # waiting

    def wait_condition(self, namespace: str, kind: str, name: str, condition: str = "Ready", *, timeout_seconds: float = 360) -> None:
        """Until the condition is true of the object as it now is, as `kubectl wait` has it. Raises CommandError."""
        words = ("wait", f"--for=condition={condition}", f"{kind.lower()}/{name}", f"--timeout={timeout_seconds:.0f}s")
        self.lab.kubectl("--namespace", namespace, *words, timeout_seconds=timeout_seconds + 10)

    def wait_settled(self, namespace: str, kind: str, name: str, *, timeout_seconds: float = 360) -> None:
        """Until nothing of an object of ours is on its way any more: Reconciling is there only while something is."""
        wait_until(
            lambda: self.condition(namespace, kind, name, "Reconciling").get("status") != "True",
            timeout_seconds=timeout_seconds, what=f"{kind} {name} has settled",
        )  # fmt: skip

    def wait_whole(self, namespace: str, kind: str, name: str, *, timeout_seconds: float = 360) -> None:
        """Until an object of ours is ready and any zone could be lost; each may take that long. Raises CommandError."""
        for condition in ("Ready", "ZoneTolerant"):
            self.wait_condition(namespace, kind, name, condition, timeout_seconds=timeout_seconds)

    def wait_rollout(self, namespace: str, workload: str, *, timeout_seconds: float) -> None:
        """Until all pods of a workload (`deployment/NAME`) are as it now wants them. Raises CommandError."""
        words = ("rollout", "status", workload, f"--timeout={timeout_seconds:.0f}s")
        self.lab.kubectl("--namespace", namespace, *words, timeout_seconds=timeout_seconds + 10)

    def condition(self, namespace: str, kind: str, name: str, condition: str) -> Object:
        """A condition of an object; empty while it has none of that type."""
        found = self.must_get(kind, namespace, name).get("status", {}).get("conditions", [])
        return next((each for each in found if each["type"] == condition), {})

    # pods

    def pods_of(self, namespace: str, name: str, component: str) -> list[Object]:
        """Pods of a component of one of our objects that are not on their way out, in the order of their names."""
        selector = f"baas-operator.io/name={name},app.kubernetes.io/component={component}"
        found = [pod for pod in self.list("Pod", namespace, selector) if not pod["metadata"].get("deletionTimestamp")]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def zones_of(self, pods: list[Object]) -> set[str]:
        """The zones of the nodes that these pods run on."""
        nodes = {node["metadata"]["name"]: node["metadata"]["labels"].get(ZONE_LABEL, "") for node in self.list("Node")}
        return {nodes[pod["spec"]["nodeName"]] for pod in pods} - {""}

    def exec(
        self, namespace: str, pod: str, container: str, *words: str, input: str | None = None, timeout_seconds: float = EXEC_SECONDS
    ) -> str:
        """Run a program in a container; its stdout. Raises CommandError."""
        where = ("--namespace", namespace, "exec", *(["--stdin"] if input is not None else []), pod, "--container", container)
        return self.lab.kubectl(*where, "--", *words, input=input, timeout_seconds=timeout_seconds)


def until(condition: Callable[[], bool], *, timeout_seconds: float, what: str) -> float:
    """Wait until something is so, looking often; the seconds that it took. Raises LabError."""
    started = time.monotonic()
    wait_until(condition, timeout_seconds=timeout_seconds, what=what, poll_seconds=QUICKLY)
    return time.monotonic() - started
