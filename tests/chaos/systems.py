"""What is broken and measured: a cluster of members in a namespace of the lab, of which one leads. `database/` and `queue/` have what each
is in particular, and ours; `bench/` has the rivals.

Everything is asked through kubectl, each time anew: a connection kept to an API server that is being stopped would be one more thing
to fail.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError, LabError
from baas_lab.waiting import wait_until
from tests.chaos.ledger.pod import Writing
from tests.chaos.outcome import Outcome

REPLICAS = 3
WHOLE_SECONDS = 300.0
ROLLOUT_SECONDS = 400.0
Object = dict[str, Any]
Found = TypeVar("Found", bound=Outcome, covariant=True)


@dataclass(frozen=True)
class Member:
    """A member's pod; `address` is empty while it has none."""

    name: str
    node: str
    address: str
    ready: bool


class Ledger(Protocol[Found]):
    """A client that writes into a system and keeps account of what was acknowledged."""

    def writing(self) -> AbstractContextManager[Writing]:
        """Have it write until the block ends. Raises LabError."""

    def judge(self, fault: str, log: str, *, began: float, healed: float, over: bool) -> Found:
        """Read back what it wrote from every member, and compare; `log` is its own, times are of CLOCK_MONOTONIC.

        Raises:
            LabError: it could not be read back. IncompleteLogError: the log is not whole.
        """


@dataclass
class System(Generic[Found]):
    """A cluster of members. `selector` finds their pods."""

    lab: Cluster
    namespace: str
    name: str
    selector: str
    labels: dict[str, str]
    """Of the namespace."""
    container: ClassVar[str]
    """Name of the members' container that faults are done to."""
    whole_poll_seconds: ClassVar[float] = 1

    # what each kind of it has its own way for

    def manifests(self) -> list[Object]:
        """What it is made from."""
        raise NotImplementedError

    def leader(self) -> Member:
        """The member that takes writes: the primary, or the server that leads the stream. Raises LabError."""
        raise NotImplementedError

    def unsettled(self) -> str:
        """Why it is not whole; empty when it is. Raises LabError."""
        raise NotImplementedError

    def move(self) -> None:
        """Have another member lead, the way that its users are told to; returns when one does. Raises LabError."""
        raise NotImplementedError

    def roll(self) -> None:
        """Change the pods' template, and return when all pods are new. Raises LabError."""
        raise NotImplementedError

    def ledger(self, node: str, service: str) -> Ledger[Found]:
        """A client on a node that writes through a service. Raises LabError where there is no such service."""
        raise NotImplementedError

    # common

    def deploy(self) -> None:
        """Make it, in a namespace of its own that is empty. Raises LabError."""
        self.remove(wait=True)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": self.labels}}
        self.apply([namespace])
        self.apply(self.manifests())
        self.wait_whole()

    def remove(self, *, wait: bool) -> None:
        """Take it away, with its namespace and volumes."""
        words = ("delete", "namespace", self.namespace, "--ignore-not-found", f"--wait={str(wait).lower()}")
        self.lab.kubectl(*words, timeout_seconds=300)

    def apply(self, manifests: list[Object]) -> None:
        """Server-side apply in its namespace. Raises CommandError."""
        words = ("--namespace", self.namespace, "apply", "--server-side", "--force-conflicts", "--filename", "-")
        self.lab.kubectl(*words, input=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def get(self, *words: str) -> Object:
        """`kubectl get` in its namespace. Raises CommandError."""
        return self.lab.get("--namespace", self.namespace, *words)

    def secret(self, name: str) -> dict[str, str]:
        """A Secret's content, decoded."""
        return {key: base64.b64decode(text).decode() for key, text in self.get("secret", name)["data"].items()}

    def service_address(self, name: str) -> str:
        """The address of a Service. Raises LabError where there is none."""
        try:
            return str(self.get("service", name)["spec"]["clusterIP"])
        except CommandError as error:
            raise LabError(f"There is no Service {name} in {self.namespace}.") from error

    def members(self) -> list[Member]:
        """Its members that are not on their way out, in the order of their names."""
        found = [pod for pod in self.get("pods", "--selector", self.selector)["items"] if not pod["metadata"].get("deletionTimestamp")]
        return sorted((_member(pod) for pod in found), key=lambda member: member.name)

    def unready(self) -> str:
        """Which members are missing or not ready; empty when all are there."""
        members = self.members()
        unready = [member.name for member in members if not member.ready]
        return f"{len(members)} members, not ready: {unready}" if len(members) < REPLICAS or unready else ""

    def wait_whole(self, timeout_seconds: float = WHOLE_SECONDS) -> None:
        """Until it is as good as new, twice in a row: what is said right after a fault may be from before. Raises LabError."""
        why, good = "not looked at yet", 0

        def whole() -> bool:
            nonlocal why, good
            try:
                why = self.unsettled()
            except LabError as error:
                why = str(error)
            good = 0 if why else good + 1
            return good >= 2

        try:
            wait_until(whole, timeout_seconds=timeout_seconds, what=f"{self.name} is whole", poll_seconds=self.whole_poll_seconds)
        except LabError as error:
            raise LabError(f"{error} {why}") from error


class OurKind(System[Found]):
    """What one of our own objects makes; `kind` is its name for kubectl, `requests` two amounts of memory that rolls change between."""

    kind: ClassVar[str]
    requests: ClassVar[tuple[str, str]]

    def remove(self, *, wait: bool) -> None:
        if self.lab.kubectl("get", "namespace", self.namespace, "--ignore-not-found", "--output", "name"):
            words = ("delete", f"{self.kind},operations", "--all", "--timeout=120s")
            self.lab.kubectl("--namespace", self.namespace, *words, timeout_seconds=130)
        super().remove(wait=wait)

    def untold(self) -> str:
        """Which condition does not say that it is whole; empty when both do."""
        found = self.get(self.kind, self.name)
        said = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or []}
        for condition in ("Ready", "ZoneTolerant"):
            now = said.get(condition, {})
            if now.get("status") != "True" or now.get("observedGeneration", 0) < found["metadata"]["generation"]:
                return f"{condition} is {now.get('status')}: {now.get('message', 'nothing said yet')}"
        return ""

    def has(self, service: str) -> bool:
        """Whether it has that service."""
        try:
            return bool(self.service_address(f"{self.name}-{service}"))
        except LabError:
            return False

    def roll(self) -> None:
        path = ("spec", "template", "spec", "containers")
        first, second = self.requests
        wanted = second if self._memory(_at(self.get("statefulset", self.name), path)) == first else first
        patch = json.dumps({"spec": {"resources": {"requests": {"memory": wanted}}}})
        self.lab.kubectl("--namespace", self.namespace, "patch", self.kind, self.name, "--type=merge", "--patch", patch)
        wait_until(
            lambda: self._memory(_at(self.get("statefulset", self.name), path)) == wanted,
            timeout_seconds=60, what="the StatefulSet has the new request", poll_seconds=0.5,
        )  # fmt: skip
        wait_until(self._rolled, timeout_seconds=ROLLOUT_SECONDS, what="all members have the new request", poll_seconds=1)

    def _rolled(self) -> bool:
        revision = self.get("statefulset", self.name)["status"].get("updateRevision")
        pods = self.get("pods", "--selector", self.selector)["items"]
        return len(pods) == REPLICAS and all(each["metadata"]["labels"]["controller-revision-hash"] == revision for each in pods)

    def _memory(self, containers: list[Object]) -> str:
        found = next(each for each in containers if each["name"] == self.container)
        return str(found["resources"]["requests"]["memory"])


def _member(pod: Object) -> Member:
    status = pod.get("status") or {}
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])
    return Member(pod["metadata"]["name"], pod["spec"].get("nodeName", ""), status.get("podIP", ""), ready)


def _at(found: Any, path: Iterable[str]) -> Any:
    for key in path:
        found = found[key]
    return found
