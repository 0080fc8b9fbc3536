"""The queue under faults: three NATS servers that keep the ledger's stream in three copies. Ours here; `bench/` has the rival."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

from baas_lab.cluster import Cluster
from baas_lab.errors import LabError
from baas_lab.waiting import wait_until
from baas_operator.desired.images import Images
from baas_operator.desired.queue.names import CLIENT_PORT
from tests.chaos.ledger import messages
from tests.chaos.ledger.pod import FETCH_SECONDS, LedgerPod, Writing, script_text
from tests.chaos.queue import stream
from tests.chaos.queue.outcome import QueueOutcome, judge
from tests.chaos.systems import REPLICAS, Member, Object, OurKind, System
from tests.harness.manifests import own

SERVICE = "clients"
"""There is one Service, whatever it is named: what a database has two of."""
CLIENT = "message_client.py"
MOVE_SECONDS = 60.0
CAUGHT_UP_SECONDS = 120.0


class QueueSystem(System[QueueOutcome]):
    """Three NATS servers whose names are those of their pods."""

    container = "nats"

    def access(self, *, admin: bool) -> Object:
        """Who a client is, and how it trusts the servers: `user`, `password`, `ca`, `hostname`, as far as the queue asks for them."""
        raise NotImplementedError

    def service(self) -> str:
        """Name of the Service that clients come through."""
        raise NotImplementedError

    def loss_window(self) -> float | None:
        """Seconds of acknowledged messages that a power cut of all zones may take, as the queue says; None where nothing is promised."""
        raise NotImplementedError

    @property
    def create(self) -> dict[str, str] | None:
        """What clients make the stream from; None where somebody else does."""
        return None

    # common

    def deploy(self) -> None:
        super().deploy()
        self.desk().start()

    def desk(self) -> LedgerPod:
        """The pod on the control plane's node from which the queue is asked what it says of itself."""
        return LedgerPod(self.lab, self.namespace, self.lab.control_plane, Images().operator)

    def settings(self, *, admin: bool = False) -> Object:
        """How a client connects, through the Service; its address does not change."""
        return self.access(admin=admin) | {"servers": [f"nats://{self.service_address(self.service())}:{CLIENT_PORT}"]}

    def ask(self, subject: str, body: Object | None = None) -> Object:
        """The answer of JetStream to a request of an administrator. Raises CommandError."""
        given = self.settings(admin=True) | {"verb": "ask", "subject": subject, "body": json.dumps(body) if body else ""}
        said = self.desk().shell('exec python3 - "$1"', json.dumps(given), input=script_text(CLIENT))
        answer: Object = json.loads(said)
        return answer

    def info(self) -> Object:
        """What the stream's leader says of it. Raises LabError where nobody leads it, or it is not there."""
        answer = self.ask(f"$JS.API.STREAM.INFO.{stream.STREAM}")
        if not (answer.get("cluster") or {}).get("leader"):
            raise LabError(f"The stream {stream.STREAM} has no leader: {answer.get('error', answer)}")
        return answer

    def leader(self) -> Member:
        """The server that leads the ledger's stream. Raises LabError."""
        name = self.info()["cluster"]["leader"]
        for member in self.members():
            if member.name == name:
                return member
        raise LabError(f"{name} leads the stream {stream.STREAM}, and has no pod.")

    def lagging(self) -> str:
        """Which copies are not up to date; empty when all are. After a fault a stream may have no leader yet, and nobody answers for it."""
        try:
            found = self.info()["cluster"]
        except LabError as error:
            return f"the stream does not say: {error}"
        copies = found.get("replicas") or []
        late = [each["name"] for each in copies if not each.get("current") or each.get("offline") or each.get("lag")]
        return f"{1 + len(copies)} copies, not up to date: {late}" if late or len(copies) < REPLICAS - 1 else ""

    def move(self) -> None:
        before = self.leader().name
        answer = self.ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream.STREAM}")
        if not answer.get("success"):
            raise LabError(f"{before} did not step down: {answer}")
        wait_until(
            lambda: self._led_by_another_than(before), timeout_seconds=MOVE_SECONDS, what=f"another than {before} leads", poll_seconds=0.5
        )

    def _led_by_another_than(self, name: str) -> bool:
        try:
            return self.leader().name != name
        except LabError:
            return False

    def ledger(self, node: str, service: str) -> MessageLedger:
        pod = LedgerPod(self.lab, self.namespace, node, Images().operator)
        pod.start()
        return MessageLedger(self, pod, f"run{uuid4().hex[:12]}")


@dataclass(frozen=True)
class MessageLedger:
    """Messages that a client publishes into the ledger's stream; `run` begins their ids."""

    system: QueueSystem
    pod: LedgerPod
    run: str

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        given = self.system.settings()
        given |= stream.work(self.run, given["servers"])
        if self.system.create:
            given["create"] = self.system.create
        with self.pod.running(CLIENT, self.run, given) as writing:
            yield writing

    def judge(self, fault: str, log: str, *, began: float, healed: float, over: bool) -> QueueOutcome:
        parsed = messages.parse(log.splitlines())
        copies, stuck = self.read_back()
        return judge(
            fault, parsed, copies, began=began, healed=healed, over=over, duplicate_window=stream.DUPLICATE_WINDOW_SECONDS,
            loss_window=self.system.loss_window(), stuck=stuck,
        )  # fmt: skip

    def read_back(self) -> tuple[dict[str, list[messages.Stored]], dict[str, str]]:
        """What each server has, and why others could not be read, once all copies are up to date; then the stream is emptied for the next
        run. Raises LabError."""
        wait_until(lambda: not self.system.lagging(), timeout_seconds=CAUGHT_UP_SECONDS, what="all copies are up to date")
        servers = [member.name for member in self.system.members()]
        given = self.system.settings(admin=True) | {"verb": "read", "stream": stream.STREAM, "run": self.run, "copies": servers}
        said = self.pod.shell(
            'exec python3 - "$1"', json.dumps(given), input=script_text(CLIENT), timeout_seconds=len(servers) * FETCH_SECONDS
        )
        found = messages.copies_of(said, servers)
        self.system.ask(f"$JS.API.STREAM.PURGE.{stream.STREAM}")
        return found


@dataclass
class OursQueue(QueueSystem, OurKind[QueueOutcome]):
    """An EventQueue of an empty spec, but for the ledger's stream."""

    kind: ClassVar[str] = "eventqueues"
    requests: ClassVar[tuple[str, str]] = ("144Mi", "160Mi")
    durability: str = "strict"

    @classmethod
    def on(cls, lab: Cluster, namespace: str, name: str = "main", durability: str = "strict") -> OursQueue:
        selector = f"baas-operator.io/name={name},app.kubernetes.io/component=nats"
        return cls(lab, namespace, name, selector, {"pod-security.kubernetes.io/enforce": "restricted"}, durability)

    def manifests(self) -> list[Object]:
        # Delete: the volumes go with it, as the next one of the name is to be an empty one.
        spec: dict[str, Any] = {"streams": [stream.declared()], "durability": self.durability, "deletionPolicy": "Delete"}
        return [own("EventQueue", self.name, spec)]

    def service(self) -> str:
        return self.name

    def access(self, *, admin: bool) -> Object:
        given = self.secret(f"{self.name}-user-{'admin' if admin else 'app'}")
        found = {"user": given["username"], "password": given["password"]}
        if "ca.crt" in given:
            found |= {"ca": given["ca.crt"], "hostname": urlsplit(given["uri"]).hostname or ""}
        return found

    def loss_window(self) -> float:
        return float((self.get(self.kind, self.name).get("status") or {}).get("lossWindowSeconds") or 0)

    def unsettled(self) -> str:
        return self.untold() or self.unready() or self._lagging_if_asked()

    def _lagging_if_asked(self) -> str:
        # While it is being made nobody can be asked yet: conditions alone say that it is whole.
        return self.lagging() if self._has_desk() else ""

    def _has_desk(self) -> bool:
        return bool(self.get("pods", "--field-selector", f"metadata.name={self.desk().name}")["items"])
