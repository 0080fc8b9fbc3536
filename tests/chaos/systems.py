"""What is broken and measured: a cluster of Patroni members in a namespace of the lab. Ours here; `bench/` has the rivals.

Everything is asked through kubectl, each time anew: a connection kept to an API server that is being stopped would be one more thing
to fail.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError, LabError
from baas_lab.waiting import wait_until
from tests.harness.manifests import own, switchover

REPLICAS = 3
WHOLE_SECONDS = 300.0
OPERATION_SECONDS = 120.0
ROLLOUT_SECONDS = 400.0
POSTGRES = "postgres"
"""Name of the container that PostgreSQL and Patroni are in, and of the superuser."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A member's pod; `address` is empty while it has none."""

    name: str
    node: str
    address: str
    ready: bool


@dataclass
class System:
    """A PostgreSQL cluster under Patroni. `name` is Patroni's scope; `selector` finds the members' pods."""

    lab: Cluster
    namespace: str
    name: str
    selector: str
    labels: dict[str, str]
    """Of the namespace."""

    # what each kind of it has its own way for

    def manifests(self) -> list[Object]:
        """What it is made from."""
        raise NotImplementedError

    def uri(self, service: str) -> str:
        """What a client writes through: `service` is `rw` or `pooler`. Raises LabError where there is no such service."""
        raise NotImplementedError

    def member_uri(self, member: Member) -> str:
        """What a client reads from one member with."""
        raise NotImplementedError

    def unsettled(self) -> str:
        """Why it is not whole; empty when it is. Raises CommandError."""
        return self.not_streaming()

    def switchover(self) -> None:
        """Move the primary, the way that its users are told to; returns when it has moved. Raises LabError."""
        raise NotImplementedError

    def roll(self) -> None:
        """Change the pods' template, and return when all pods are new. Raises LabError."""
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

    def primary(self) -> Member:
        """The member that holds Patroni's lock. Raises LabError."""
        leader = (self.get("configmap", f"{self.name}-leader")["metadata"].get("annotations") or {}).get("leader")
        for member in self.members():
            if member.name == leader:
                return member
        raise LabError(f"{self.name} has no primary now: its lock says {leader!r}.")

    def sql_on(self, member: str, sql: str) -> list[str]:
        """Rows of a query of the superuser in a member, through its socket. Raises CommandError."""
        words = ("exec", member, "--container", POSTGRES, "--", "psql", "-XAtq", "-U", POSTGRES, "-d", POSTGRES, "-c", sql)
        return self.lab.kubectl("--namespace", self.namespace, *words, timeout_seconds=15).splitlines()

    def not_streaming(self) -> str:
        """Which members are not ready, or do not stream from the primary; empty when all are. Raises LabError."""
        members = self.members()
        unready = [member.name for member in members if not member.ready]
        if len(members) < REPLICAS or unready:
            return f"{len(members)} members, not ready: {unready}"
        (count,) = self.sql_on(self.primary().name, "select count(*) from pg_stat_replication where state = 'streaming'")
        return "" if int(count) >= REPLICAS - 1 else f"{count} standbys stream"

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
            wait_until(whole, timeout_seconds=timeout_seconds, what=f"{self.name} is whole", poll_seconds=1)
        except LabError as error:
            raise LabError(f"{error} {why}") from error


@dataclass
class Ours(System):
    """A DatabaseReplica of an empty spec, but for a database to write into."""

    database: str = "shop"

    @classmethod
    def on(cls, lab: Cluster, namespace: str, name: str = "main") -> Ours:
        selector = f"baas-operator.io/name={name},app.kubernetes.io/component=postgresql"
        return cls(lab, namespace, name, selector, {"pod-security.kubernetes.io/enforce": "restricted"})

    def manifests(self) -> list[Object]:
        # Delete: the volumes go with it, as the next one of the name is to be an empty one.
        return [own("DatabaseReplica", self.name, {"databases": [{"name": self.database}], "deletionPolicy": "Delete"})]

    def remove(self, *, wait: bool) -> None:
        kinds = "databasereplicas,operations"
        if self.lab.kubectl("get", "namespace", self.namespace, "--ignore-not-found", "--output", "name"):
            words = ("delete", kinds, "--all", "--timeout=120s")
            self.lab.kubectl("--namespace", self.namespace, *words, timeout_seconds=130)
        super().remove(wait=wait)

    def uri(self, service: str) -> str:
        address = self.service_address(f"{self.name}-{service}")
        given = self.secret(f"{self.name}-role-{self.database}")
        return with_address(given.get(f"{service}_uri", given["uri"]), address)

    def has(self, service: str) -> bool:
        """Whether it has that service."""
        try:
            return bool(self.service_address(f"{self.name}-{service}"))
        except LabError:
            return False

    def member_uri(self, member: Member) -> str:
        uri = urlsplit(self.secret(f"{self.name}-role-{self.database}")["uri"])
        return with_address(uri._replace(query="sslmode=require").geturl(), member.address)  # of any role

    def unsettled(self) -> str:
        found = self.get("databasereplica", self.name)
        said = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or []}
        for condition in ("Ready", "ZoneTolerant"):
            now = said.get(condition, {})
            if now.get("status") != "True" or now.get("observedGeneration", 0) < found["metadata"]["generation"]:
                return f"{condition} is {now.get('status')}: {now.get('message', 'nothing said yet')}"
        return self.not_streaming()

    def switchover(self) -> None:
        made = switchover("unnamed", self.name)
        made["metadata"] = {"generateName": f"{self.name}-chaos-"}
        words = ("--namespace", self.namespace, "create", "--filename", "-", "--output", "json")
        name = json.loads(self.lab.kubectl(*words, input=json.dumps(made)))["metadata"]["name"]
        self._wait_succeeded(name)

    def _wait_succeeded(self, operation: str) -> None:
        deadline = time.monotonic() + OPERATION_SECONDS
        phase, said = "", ""
        while phase not in ("Succeeded", "Refused", "Failed") and time.monotonic() < deadline:
            time.sleep(0.5)
            status = self.get("operation", operation).get("status") or {}
            phase = status.get("phase", "")
            said = " ".join(each.get("message", "") for each in status.get("conditions") or [])
        if phase != "Succeeded":
            raise LabError(f"The switchover {operation} is {phase or 'not begun'} after all: {said}")

    def roll(self) -> None:
        path = ("spec", "template", "spec", "containers")
        before = _memory(_at(self.get("statefulset", self.name), path))
        wanted = "272Mi" if before != "272Mi" else "288Mi"
        patch = json.dumps({"spec": {"resources": {"requests": {"memory": wanted}}}})
        self.lab.kubectl("--namespace", self.namespace, "patch", "databasereplica", self.name, "--type=merge", "--patch", patch)
        wait_until(
            lambda: _memory(_at(self.get("statefulset", self.name), path)) == wanted,
            timeout_seconds=60, what="the StatefulSet has the new request", poll_seconds=0.5,
        )  # fmt: skip
        wait_until(self._rolled, timeout_seconds=ROLLOUT_SECONDS, what="all members have the new request", poll_seconds=1)

    def _rolled(self) -> bool:
        revision = self.get("statefulset", self.name)["status"].get("updateRevision")
        pods = self.get("pods", "--selector", self.selector)["items"]
        return len(pods) == REPLICAS and all(each["metadata"]["labels"]["controller-revision-hash"] == revision for each in pods)


def with_address(uri: str, address: str) -> str:
    """A URI that connects to an address, whatever host it names: no name is resolved."""
    parts = urlsplit(uri)
    return parts._replace(query=urlencode([*parse_qsl(parts.query), ("hostaddr", address)])).geturl()


def _member(pod: Object) -> Member:
    status = pod.get("status") or {}
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])
    return Member(pod["metadata"]["name"], pod["spec"].get("nodeName", ""), status.get("podIP", ""), ready)


def _at(found: Any, path: Iterable[str]) -> Any:
    for key in path:
        found = found[key]
    return found


def _memory(containers: list[Object]) -> str:
    found = next(each for each in containers if each["name"] == POSTGRES)
    return str(found["resources"]["requests"]["memory"])
