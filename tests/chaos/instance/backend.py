"""A backend under load and faults: a BaasInstance in a namespace of its own, and a client that calls it through its gateway's Service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import uuid4

from baas_lab.cluster import Cluster
from baas_lab.errors import LabError
from baas_lab.waiting import wait_until
from baas_operator.desired.images import Images
from baas_operator.desired.instance.probes import READS, SCHEMA_ANNOTATION
from baas_operator.observe.instance import rolled_out
from tests.chaos.instance.load import Load, parse
from tests.chaos.ledger.pod import LedgerPod, Writing
from tests.chaos.outcome import Outcome
from tests.chaos.systems import Member, Object, OurKind
from tests.harness.manifests import own

CLIENT = "load_client.py"
RATE = 200
MIX = {"read": 10, "list": 6, "rpc": 1, "write": 3}
"""Kind of request -> how often, of twenty."""
DEADLINE_SECONDS = 10.0
CONNECTIONS = 1000
"""Of the client: more than it ever needs. With 100 of them, writes that waited for the next primary had them all, and reads waited in the
client, where no gateway could answer them: many clients have no connections in common."""
POLL_SECONDS = 4.0
"""How often a backend under load is asked how it is: each question starts a kubectl, on the processors that are measured."""
PATIENCE_SECONDS = 20.0
"""How long a client tries again, as the libraries of both engines do for some tens of seconds."""
SEEN_SECONDS = 60.0
LEARNT_SECONDS = 400.0
GATEWAY_PORT = 8000
SCHEMA = """
create table if not exists load (run text not null, id bigint not null, text text not null, primary key (run, id));
grant all on load to anon, authenticated, service_role;
create or replace function double(x bigint) returns bigint language sql stable as 'select 2 * x';
"""


@dataclass
class OursBackend(OurKind[Outcome]):
    """A BaasInstance, an empty spec if nothing else is said. Its members are those of its database: there a fault hurts it most."""

    kind: ClassVar[str] = "baasinstances"
    container: ClassVar[str] = "postgres"
    whole_poll_seconds: ClassVar[float] = POLL_SECONDS
    spec: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def on(cls, lab: Cluster, namespace: str, name: str = "shop", spec: dict[str, Any] | None = None) -> OursBackend:
        """One that is not made yet."""
        selector = f"baas-operator.io/name={name}-db,app.kubernetes.io/component=postgresql"
        return cls(lab, namespace, name, selector, {"pod-security.kubernetes.io/enforce": "restricted"}, spec or {})

    def manifests(self) -> list[Object]:
        return [own("BaasInstance", self.name, {"deletionPolicy": "Delete", **self.spec})]

    def deploy(self) -> None:
        """Make it, with the table that the load is on."""
        super().deploy()
        self.sql(SCHEMA)
        wait_until(self._seen, timeout_seconds=SEEN_SECONDS, what="PostgREST knows the table", poll_seconds=1)
        wait_until(self._learnt, timeout_seconds=LEARNT_SECONDS, what="PostgREST on standbys is rolled for the table", poll_seconds=2)

    def remove(self, *, wait: bool) -> None:
        if self.lab.kubectl("get", "namespace", self.namespace, "--ignore-not-found", "--output", "name"):
            words = ("delete", "baasinstances", "--all", "--timeout=180s")
            self.lab.kubectl("--namespace", self.namespace, *words, timeout_seconds=190)
        super().remove(wait=wait)

    def unsettled(self) -> str:
        return self.untold()

    def leader(self) -> Member:
        """The member of the database that takes writes. Raises LabError."""
        primary = (self.get("databasereplicas", f"{self.name}-db").get("status") or {}).get("primary")
        for member in self.members():
            if member.name == primary:
                return member
        raise LabError(f"{primary} is the primary of {self.name}-db, and has no pod.")

    def all_pods(self) -> list[str]:
        """Names of all pods that make up the backend, its database's and its queue's too."""
        found = self.get("pods", "--selector", "baas-operator.io/kind")["items"]
        return sorted(
            each["metadata"]["name"]
            for each in found
            if not each["metadata"].get("deletionTimestamp") and each["status"].get("phase") == "Running"
        )

    def sql(self, text: str) -> str:
        """Run SQL as the owner of the backend's database. Raises CommandError."""
        uri = self.secret(f"{self.name}-role-owner")["uri"]
        pod = LedgerPod(self.lab, self.namespace, self.lab.control_plane)
        pod.start()
        return pod.shell('exec psql -XAtq -v ON_ERROR_STOP=1 -f - "$1"', uri, input=text)

    def keys(self) -> dict[str, str]:
        """Headers of a request of anybody."""
        key = self.secret(f"{self.name}-api-keys")["anon"]
        return {"apikey": key, "authorization": f"Bearer {key}"}

    def _seen(self) -> bool:
        pod = LedgerPod(self.lab, self.namespace, self.lab.control_plane)
        look = (
            "import sys, urllib.request as r; print(r.urlopen(r.Request(sys.argv[1], headers={'apikey': sys.argv[2]}), timeout=3).status)"
        )
        url = f"http://{self.service_address(f'{self.name}-gateway')}:{GATEWAY_PORT}/rest/v1/load?limit=1"
        try:
            good = [pod.shell('exec python3 -c "$1" "$2" "$3"', look, url, self.keys()["apikey"]) for _ in range(6)]
        except LabError:
            return False
        return all(each.strip() == "200" for each in good)

    def _learnt(self) -> bool:
        reads = self.get("deployments", f"{self.name}-{READS}")
        annotations = reads["spec"]["template"]["metadata"].get("annotations") or {}
        return bool(annotations.get(SCHEMA_ANNOTATION)) and rolled_out(reads)

    @contextmanager
    def loaded(
        self, node: str, *, rate: int = RATE, mix: dict[str, int] | None = None, urls: Sequence[str] = (), prefix: str = "/rest/v1"
    ) -> Iterator[Loading]:
        """Have a client at work on a node, until the block ends. `urls`, by turns, and `prefix`: other than the gateway's."""
        pod = _LoadPod(self.lab, self.namespace, node, Images().operator)
        pod.start()
        run = f"run{uuid4().hex[:12]}"
        gateway = f"http://{self.service_address(f'{self.name}-gateway')}:{GATEWAY_PORT}"
        given = {
            "urls": [*urls] or [gateway], "prefix": prefix, "keys": self.keys(),
            "rate": rate, "mix": mix or MIX, "run": run, "deadline": DEADLINE_SECONDS, "patience": PATIENCE_SECONDS,
            "connections": CONNECTIONS,
        }  # fmt: skip
        with pod.running(CLIENT, run, given) as writing:
            loading = Loading(self, writing, run)
            loading.wait_steady()
            yield loading

    def client_node(self, *, in_zone: bool) -> str:
        """Where clients are: in a zone that the next fault does not concern, or outside of all zones."""
        if not in_zone:
            return self.lab.control_plane
        away = self.leader().node
        return next(node.name for node in self.lab.workers() if node.name != away)

    def kept(self, run: str) -> set[int]:
        """Ids of the rows of a run that the database has."""
        return {int(each) for each in self.sql("\\set run " + run + "\nselect id from load where run = :'run';").split()}


class _LoadPod(LedgerPod):
    """A ledger's pod that stands beside the one that SQL is run in. It asks for what it takes: a client that is short of processor measures
    itself, and clients are not what loses a zone."""

    cpu: ClassVar[str] = "500m"

    @property
    def name(self) -> str:
        return f"load-{self.node.removeprefix(f'{self.lab.name}-')}"


@dataclass
class Loading:
    """A client at work; `load` ends it."""

    backend: OursBackend
    writing: Writing
    run: str
    marks: list[tuple[float, str]] = field(default_factory=list)
    """When (CLOCK_MONOTONIC) what was done."""

    def mark(self, what: str) -> None:
        """This is done now: failures from here on, until the next one, are told with it."""
        self.marks.append((time.monotonic(), what))

    def wait_steady(self, seconds: float = 5.0, *, since: float = 0.0, timeout_seconds: float = 120.0) -> None:
        """Until it has written for so long without a gap of a second. Raises LabError."""
        if not self.writing.wait_steady(seconds, since=since, timeout_seconds=timeout_seconds, poll_seconds=POLL_SECONDS):
            raise LabError(f"The load does not go on: {self.writing.status()}")

    def load(self) -> Load:
        """End it; what came of it. Raises IncompleteLogError."""
        return parse(self.writing.fetch().splitlines())

    def lost(self, load: Load) -> set[int]:
        """Rows that were acknowledged and are not there."""
        return load.acknowledged() - self.backend.kept(self.run)


def patch(backend: OursBackend, kind: str, name: str, change: Object) -> None:
    """Merge a change into an object of the backend's namespace. Raises CommandError."""
    words = ("patch", kind, name, "--type=merge", "--patch", json.dumps(change))
    backend.lab.kubectl("--namespace", backend.namespace, *words)
