"""The database under faults: a cluster of Patroni members. Ours here; `bench/` has the rivals."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError, LabError
from baas_lab.waiting import wait_until
from tests.chaos.database.outcome import DatabaseOutcome, judge
from tests.chaos.ledger import rows, verdict
from tests.chaos.ledger.log import parse
from tests.chaos.ledger.pod import LedgerPod, Writing
from tests.chaos.systems import REPLICAS, Member, Object, OurKind, System
from tests.harness.manifests import own, switchover

OPERATION_SECONDS = 120.0
REPLAY_SECONDS = 60.0
POSTGRES = "postgres"
"""Name of the container that PostgreSQL and Patroni are in, and of the superuser."""


class PatroniSystem(System[DatabaseOutcome]):
    """A PostgreSQL cluster under Patroni, whose scope `name` is."""

    container = POSTGRES

    def uri(self, service: str) -> str:
        """What a client writes through: `service` is `rw` or `pooler`. Raises LabError where there is no such service."""
        raise NotImplementedError

    def member_uri(self, member: Member) -> str:
        """What a client reads from one member with."""
        raise NotImplementedError

    def unsettled(self) -> str:
        return self.not_streaming()

    def leader(self) -> Member:
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
        if unready := self.unready():
            return unready
        (count,) = self.sql_on(self.leader().name, "select count(*) from pg_stat_replication where state = 'streaming'")
        return "" if int(count) >= REPLICAS - 1 else f"{count} standbys stream"

    def ledger(self, node: str, service: str) -> RowLedger:
        pod = LedgerPod(self.lab, self.namespace, node)
        pod.start()
        return RowLedger(self, pod, self.uri(service), f"ledger_{uuid4().hex[:12]}")


@dataclass(frozen=True)
class RowLedger:
    """Rows that a client writes into a table of its own."""

    system: PatroniSystem
    pod: LedgerPod
    uri: str
    table: str

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        with rows.writing(self.pod, self.uri, self.table) as writing:
            yield writing

    def judge(self, fault: str, log: str, *, began: float, healed: float, over: bool) -> DatabaseOutcome:
        parsed = parse(log.splitlines())
        return judge(fault, parsed, self.read_back(), began=began, healed=healed, over=over)

    def read_back(self) -> dict[str, dict[int, str]]:
        """What each member has, by its own address, once it has replayed all that the primary has: id → checksum. Raises LabError."""
        primary = self.system.leader()
        (position,) = rows.psql(self.pod, self.system.member_uri(primary), "select pg_current_wal_lsn()")
        found = {}
        for member in self.system.members():
            uri = self.system.member_uri(member)
            wait_until(
                lambda uri=uri: self._replayed(uri, position),  # type: ignore[misc]
                timeout_seconds=REPLAY_SECONDS, what=f"{member.name} has replayed {position}",
            )  # fmt: skip
            found[member.name] = verdict.rows_of(rows.read_back(self.pod, uri, self.table))
        rows.psql(self.pod, self.system.member_uri(primary), f"drop table {self.table}")
        return found

    def _replayed(self, uri: str, position: str) -> bool:
        try:
            return rows.psql(self.pod, uri, f"select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= '{position}'") == ["t"]
        except CommandError:
            return False


@dataclass
class Ours(PatroniSystem, OurKind[DatabaseOutcome]):
    """A DatabaseReplica of an empty spec, but for a database to write into."""

    kind: ClassVar[str] = "databasereplicas"
    requests: ClassVar[tuple[str, str]] = ("272Mi", "288Mi")
    database: str = "shop"

    @classmethod
    def on(cls, lab: Cluster, namespace: str, name: str = "main") -> Ours:
        selector = f"baas-operator.io/name={name},app.kubernetes.io/component=postgresql"
        return cls(lab, namespace, name, selector, {"pod-security.kubernetes.io/enforce": "restricted"})

    def manifests(self) -> list[Object]:
        # Delete: the volumes go with it, as the next one of the name is to be an empty one.
        return [own("DatabaseReplica", self.name, {"databases": [{"name": self.database}], "deletionPolicy": "Delete"})]

    def uri(self, service: str) -> str:
        address = self.service_address(f"{self.name}-{service}")
        given = self.secret(f"{self.name}-role-{self.database}")
        return with_address(given.get(f"{service}_uri", given["uri"]), address)

    def member_uri(self, member: Member) -> str:
        uri = urlsplit(self.secret(f"{self.name}-role-{self.database}")["uri"])
        return with_address(uri._replace(query="sslmode=require").geturl(), member.address)  # of any role

    def unsettled(self) -> str:
        return self.untold() or self.not_streaming()

    def move(self) -> None:
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


def with_address(uri: str, address: str) -> str:
    """A URI that connects to an address, whatever host it names: no name is resolved."""
    parts = urlsplit(uri)
    return parts._replace(query=urlencode([*parse_qsl(parts.query), ("hostaddr", address)])).geturl()
