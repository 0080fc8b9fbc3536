"""Applications in a pod, with the official libraries of both engines (tests/clients): they find the gateway by its Service, as any does."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from baas_lab.errors import CommandError
from baas_lab.operands import IMAGES
from baas_lab.waiting import wait_until
from tests.e2e.harness.kube import Kube
from tests.harness import object_store
from tests.harness.api import Object

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
NAME = "clients"
STORY_SECONDS = 60.0
LOOP_SECONDS = 900
"""Longest time that a loop goes on; it is ended before."""
END_SECONDS = 60.0
ROLLED_SECONDS = 120.0
GONE_SECONDS = 120.0
TOLD_SECONDS = 2.0
"""So long the status may say what was."""
QUIET_SECONDS = 3.0
"""So long the loop goes on before the first pod is deleted, and after the last is back."""
S3_KEY = "of-the-tests-0123456789"
_USER = 1000
_PID = "/tmp/loop.pid"  # noqa: S108 - in the pod
_ASK = """
const [url, key, method, body] = process.argv.slice(1);
const headers = { apikey: key, authorization: `Bearer ${key}`, "content-type": "application/json" };
const answer = await fetch(url, { method, headers, body: body || undefined, signal: AbortSignal.timeout(5000) }).catch((error) => error);
console.log(JSON.stringify({ status: answer.status ?? 0, body: answer.status ? await answer.text() : String(answer.cause ?? answer) }));
"""
_STORM = """
const [url, key, count] = process.argv.slice(1);
const one = () => fetch(url, { headers: { apikey: key, authorization: `Bearer ${key}` }, signal: AbortSignal.timeout(5000) }).then(
  async (answer) => { await answer.text(); return [answer.status, answer.headers.get("retry-after")]; }, () => [0, null]);
console.log(JSON.stringify(await Promise.all(Array.from({ length: Number(count) }, one))));
"""


class Answer(NamedTuple):
    """Of one request; status 0 where there was none."""

    status: int
    body: str


@dataclass
class Loop:
    """One that runs; `said` is there when it has ended."""

    said: dict[str, Any] = field(default_factory=dict)


class Clients:
    """The pod; `start` makes it, it goes with its namespace. `program`: of tests/clients; `environment`: what that wants, keys too."""

    def __init__(self, kube: Kube, namespace: str, program: str, environment: Mapping[str, str]) -> None:
        self.kube = kube
        self.namespace = namespace
        self._program = program
        self._environment = environment

    def start(self) -> None:
        """Make it, and wait until it runs."""
        self.kube.must_apply(_manifest(), self.namespace)
        self.kube.wait_condition(self.namespace, "Pod", NAME, timeout_seconds=180)

    @property
    def stories(self) -> list[str]:
        """Names of the stories that it can play."""
        return self._node(self._program).splitlines()

    def play(self, story: str) -> None:
        """Play one; AssertionError, with what Node said, when it goes otherwise."""
        try:
            self._node(self._program, story)
        except CommandError as error:
            raise AssertionError(f"{story}:\n{error.output}") from None

    def ask(self, method: str, url: str, key: str, body: object = None) -> Answer:
        """One plain request, not tried again."""
        sent = "" if body is None else json.dumps(body)
        said = self._node("--input-type=module", "--eval", _ASK, url, key, method, sent)
        return Answer(**json.loads(said))

    def storm(self, url: str, key: str, count: int) -> list[tuple[int, str | None]]:
        """So many GETs at once: status, 0 where there was no answer, and `Retry-After` of each."""
        said = self._node("--input-type=module", "--eval", _STORM, url, key, str(count))
        return [(status, later) for status, later in json.loads(said)]

    @contextmanager
    def looping(self, *words: str) -> Iterator[Loop]:
        """Have it do all that it does over and over, until the block ends; what came of it is in `said` then."""
        kubectl = [str(self.kube.lab.bin / "kubectl"), "--kubeconfig", str(self.kube.lab.kubeconfig), "--namespace", self.namespace]
        script = f'rm -f {_PID}; echo $$ > {_PID}; exec node {self._program} --loop {LOOP_SECONDS} "$@"'
        command = [*kubectl, "exec", NAME, "--", *self._env(), "sh", "-euc", script, "sh", *words]
        made = Loop()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                time.sleep(QUIET_SECONDS)
                assert process.poll() is None, f"the loop ended at once: {process.communicate()[1]}"
                yield made
                time.sleep(QUIET_SECONDS)
                self.kube.exec(self.namespace, NAME, NAME, "sh", "-euc", f"kill -TERM $(cat {_PID})")
                out, error = process.communicate(timeout=END_SECONDS)
            except BaseException:
                process.kill()
                raise
        assert process.returncode == 0, f"{self._program} ended with {process.returncode}: {error}"
        made.said.update(json.loads(out))

    def _node(self, *words: str) -> str:
        return self.kube.exec(self.namespace, NAME, NAME, *self._env(), "node", *words, timeout_seconds=STORY_SECONDS)

    def _env(self) -> list[str]:
        return ["env", *(f"{name}={value}" for name, value in self._environment.items())]


def object_store_in(kube: Kube, namespace: str) -> Object:
    """Begin to make an object store; what a spec says as `s3`. It serves once `make_bucket` is through."""
    for each in object_store.object_store(S3_KEY):
        kube.must_apply(each, namespace)
    return {
        "endpoint": object_store.endpoint(namespace), "bucket": object_store.BUCKET, "credentials": {"secretName": object_store.SECRET},
    }  # fmt: skip


def make_bucket(kube: Kube, namespace: str) -> None:
    """Have its bucket, as soon as it runs."""
    kube.wait_rollout(namespace, f"deployment/{object_store.NAME}", timeout_seconds=180)

    def made() -> bool:  # its filer may be later than its S3 door
        try:
            said = kube.exec(namespace, f"deployment/{object_store.NAME}", "weed", *object_store.make_bucket())
        except CommandError:
            return False
        return "error" not in said.lower()

    wait_until(made, timeout_seconds=60, what="the bucket is made", poll_seconds=1)


def config_map(name: str, data: Mapping[str, str]) -> Object:
    """Files."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(data)}


def delete_each_pod(kube: Kube, namespace: str, instance: str, components: Sequence[str]) -> list[str]:
    """Delete the pods of components one after another, each when the backend is whole again; their names."""
    deleted = []
    for component in components:
        for pod in kube.pods_of(namespace, instance, component):
            name = str(pod["metadata"]["name"])
            answer = kube.delete("Pod", namespace, name)
            assert answer.ok, answer.message
            deleted.append(name)
            wait_until(
                lambda: whole(kube, namespace, instance), timeout_seconds=ROLLED_SECONDS, what=f"there is another for {name}",
                poll_seconds=0.5,
            )  # fmt: skip
    return deleted


def delete_each_store(kube: Kube, namespace: str, instance: str) -> list[str]:
    """Delete the pods of a backend's database and queue one after another, the primary too, each when all is whole again; their names."""
    deleted = []
    for kind, name in (("DatabaseReplica", f"{instance}-db"), ("EventQueue", f"{instance}-events")):
        for pod in kube.list("Pod", namespace, f"baas-operator.io/kind={kind},baas-operator.io/name={name}"):
            if pod["status"].get("phase") != "Running":
                continue
            deleted.append(str(pod["metadata"]["name"]))
            words = ("delete", "pod", deleted[-1], f"--timeout={GONE_SECONDS:.0f}s")
            kube.lab.kubectl("--namespace", namespace, *words, timeout_seconds=GONE_SECONDS + 10)
            time.sleep(TOLD_SECONDS)
            kube.wait_whole(namespace, kind, name)
            kube.wait_whole(namespace, "BaasInstance", instance)
    return deleted


def whole(kube: Kube, namespace: str, instance: str) -> bool:
    """Whether all Deployments of a backend have all pods that they should have, ready and none of them on its way out."""
    found = kube.list("Deployment", namespace, _selector(instance))
    return bool(found) and all(_whole(kube, namespace, instance, each) for each in found)


def _whole(kube: Kube, namespace: str, instance: str, deployment: Object) -> bool:
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    rolled = status.get("observedGeneration") == deployment["metadata"]["generation"]
    counts = {status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")}
    # The Deployment may not have heard yet of a pod that was deleted just now.
    pods = kube.pods_of(namespace, instance, deployment["metadata"]["labels"]["app.kubernetes.io/component"])
    return rolled and counts == {wanted} and sum(_ready(pod) for pod in pods) == wanted


def _ready(pod: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


def all_pods(kube: Kube, namespace: str, instance: str) -> list[str]:
    """Names of the pods of a backend's own, those on their way out as well, and those of its Jobs that are done not."""
    found = kube.list("Pod", namespace, _selector(instance))
    return [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def wait_answers(kube: Kube, namespace: str, instance: str, transactions: set[str], *, timeout_seconds: float = 120) -> Object:
    """Until probers say that all of these succeed, and none fails from anywhere; the object."""
    kube.wait_condition(namespace, "BaasInstance", instance, "Answers", timeout_seconds=timeout_seconds)
    found = kube.must_get("BaasInstance", namespace, instance)
    probes = {each["transaction"]: (bool(each.get("zones")), each.get("failing", [])) for each in found["status"]["probes"]}
    assert probes == dict.fromkeys(transactions, (True, [])), found["status"]["probes"]
    return found


def policies(kube: Kube, namespace: str, instance: str) -> set[str]:
    """Names of a backend's NetworkPolicies."""
    return {each["metadata"]["name"] for each in kube.list("NetworkPolicy", namespace, _selector(instance))}


def _selector(instance: str) -> str:
    return f"baas-operator.io/kind=BaasInstance,baas-operator.io/name={instance}"


def _manifest() -> Object:
    container = {
        "name": NAME, "image": IMAGES["clients"].ref, "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in the pod
    }  # fmt: skip
    spec = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME}, "spec": spec}
