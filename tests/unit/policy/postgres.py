"""A replicated PostgreSQL as Patroni shows it in the API server, simulated: members, the leader lock, the synchronous state.

It behaves as the real one does where a decision looks: the lock names the leader and runs out when nobody renews it, a pod's label
stays what it was when its node loses power, the agent of a new primary routes `-rw` to it.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.desired.database import names
from baas_operator.desired.database.routing import Endpoint, endpoints
from baas_operator.desired.meta import ROLE_LABEL, Manifest
from baas_operator.observe.view import View
from baas_operator.policy.database import plan_database
from baas_operator.policy.plan import PatchAnnotation, Plan, StartOperation
from tests.unit.objects import NAMESPACE, NOW, ZONES, keyed, nodes, own, owner, pod

MEBIBYTE = 1024 * 1024
_TTL_SECONDS = 20


@dataclass
class Member:
    """One PostgreSQL. `role` and `state` are what Patroni last said; `behind` is in bytes."""

    zone: str | None
    ip: str
    role: str = "standby"
    state: str = "streaming"
    ready: bool = True
    behind: int | None = 0
    waiting: tuple[str, str] | None = None
    since: datetime = NOW
    """When its pod was made, and has been ready."""
    goes: bool = False
    phase: str = "Running"


class Postgres:
    """The simulated cluster around one DatabaseReplica."""

    def __init__(self, spec: Manifest | None = None, *, zones: tuple[str | None, ...] = ZONES, name: str = "db") -> None:
        self.name = name
        self.resource = own(DATABASE_REPLICA, name, spec)
        self.owner = owner(DATABASE_REPLICA, name)
        self.nodes = nodes(*zones)
        self.zones = zones
        self.now: datetime = NOW
        self.members: dict[str, Member] = {}
        self.leader: str | None = None
        self.renewed: datetime = NOW
        self.transitions = 0
        self.sync: tuple[str, ...] = ()
        self.dynamic: Any = None
        self.dynamic_version = 1
        self.applied: dict[tuple[str, str], Manifest] = {}
        self.acquired: datetime = NOW
        self.operations: list[Manifest] = []
        """Operations on it."""
        self.claims: tuple[str, ...] = ()
        """Volumes, where they matter."""
        self.poolers: tuple[str | None, ...] = ()
        """Zones of the pooler's ready pods."""

    # --- what happens ---------------------------------------------------------------------------------------------

    def start_members(self, count: int = 3) -> None:
        """The StatefulSet has made its pods; none is ready."""
        for index in range(count):
            zone = self.zones[index % len(self.zones)]
            self.members[f"{self.name}-{index}"] = Member(zone, f"10.0.0.{index}", "unknown", "starting", ready=False)

    def initialise(self) -> None:
        """The first member has initialised the database and leads; it is not routed to yet."""
        self.lock(f"{self.name}-0")
        self.promote()
        self.dynamic = {"ttl": 20}

    def join(self, *which: str) -> None:
        """Standbys stream and are synchronous candidates."""
        for each in which or [name for name in self.members if name != self.leader]:
            member = self.members[each]
            member.role, member.state, member.ready = "standby", "streaming", True
            self.sync = tuple(sorted({*self.sync, each}))

    def lock(self, who: str | None) -> None:
        """A member takes the leader lock, or (None) lets go of it."""
        self.leader, self.renewed, self.acquired = who, self.now, self.now
        self.sync = tuple(each for each in self.sync if each != who)
        self.transitions += 1

    def promote(self) -> None:
        """The holder of the lock has been promoted."""
        assert self.leader
        member = self.members[self.leader]
        member.role, member.state, member.ready = "primary", "running", True

    def route(self) -> None:
        """The agent of the leader routes `-rw` to it."""
        assert self.leader
        here = Endpoint(self.leader, self.members[self.leader].ip)
        self.applied[("EndpointSlice", names.rw_service(self.name))]["endpoints"] = endpoints(here, NAMESPACE)

    def power_off(self, name: str) -> None:
        """A member's node loses power: its pod is soon not ready, and keeps the label and the annotation that it had."""
        self.members[name].ready = False
        self.sync = tuple(each for each in self.sync if each != name)

    def wait(self, seconds: float) -> None:
        """Time passes; who leads and is up renews the lock."""
        self.now += timedelta(seconds=seconds)
        if self.leader and self.members[self.leader].ready:
            self.renewed = self.now

    def switch_over(self, to: str) -> None:
        """A planned move, from its beginning to its end."""
        was = self.leader
        assert was
        self.lock(to)
        self.promote()
        self.route()
        self.join(was)

    def cordon(self, *zones: str, on: bool = True) -> None:
        """`kubectl cordon` of the nodes in these zones."""
        for zone in zones:
            self.nodes[f"node-{zone}"]["spec"]["unschedulable"] = on

    def begin(self, operation: Manifest) -> Manifest:
        """An Operation is made, unless there is one of its name."""
        made = copy.deepcopy(operation)
        name = made["metadata"]["name"]
        if name not in (each["metadata"]["name"] for each in self.operations):
            made["metadata"] |= {"uid": f"uid-of-{name}", "creationTimestamp": self.now.isoformat()}
            made["status"] = {}
            self.operations.append(made)
        return made

    def start_poolers(self) -> None:
        """The Deployment has made its pods, and they are ready."""
        deployment = self.applied.get(("Deployment", names.pooler_service(self.name)))
        if deployment is None:
            return
        wanted = deployment["spec"]["replicas"]
        self.poolers = tuple(self.zones[index % len(self.zones)] for index in range(wanted))
        deployment["status"] = {"updatedReplicas": wanted, "replicas": wanted}

    def finish_jobs(self) -> None:
        """All Jobs succeed."""
        for (kind, _), each in self.applied.items():
            if kind == "Job":
                each["status"] = {"succeeded": 1}

    def serving(self) -> Postgres:
        """Everything from nothing to a database that is as it should be."""
        self.reconcile()
        self.start_members(self.resource["spec"].get("replicas", 3))
        self.initialise()
        self.join()
        self.reconcile()
        self.reconcile()
        self.finish_jobs()
        self.start_poolers()
        return self

    # --- what the operator sees and does ---------------------------------------------------------------------------

    def _pod(self, name: str, member: Member, position: int) -> Manifest:
        said: dict[str, Any] = {"state": member.state, "timeline": 1}
        if member.state == "streaming":
            said |= {"state": "running", "replication_state": "streaming"}
        if member.behind is not None:
            said["xlog_location"] = position - member.behind
        made = pod(
            self.owner, name, names.COMPONENT, on=f"node-{member.zone}" if member.zone else None, ready=member.ready, ip=member.ip,
            labels={ROLE_LABEL: member.role} if member.role != "unknown" else None,
            annotations={"status": json.dumps(said)}, waiting=member.waiting,
        )  # fmt: skip
        made["status"]["containerStatuses"][0]["name"], made["status"]["phase"] = "postgres", member.phase
        made["metadata"]["creationTimestamp"] = made["status"]["conditions"][0]["lastTransitionTime"] = member.since.isoformat()
        if member.goes:
            made["metadata"]["deletionTimestamp"] = self.now.isoformat()
        return made

    def _poolers(self) -> list[Manifest]:
        return [
            pod(self.owner, f"{self.name}-pooler-{index}", names.POOLER, on=f"node-{zone}", ready=True, ip=f"10.0.1.{index}")
            for index, zone in enumerate(self.poolers)
        ]  # fmt: skip

    def _config_map(self, name: str, annotations: dict[str, str], version: int = 1) -> Manifest:
        made = self.owner.child("v1", "ConfigMap", name, names.COMPONENT, owned=False, annotations=annotations)
        made["metadata"]["resourceVersion"] = str(version)
        return made

    def children(self) -> dict[tuple[str, str], Manifest]:
        """What the operator's store would hold."""
        position = 1000 * MEBIBYTE
        made = [self._pod(name, member, position) for name, member in self.members.items()]
        made += self._poolers()
        made += [
            self.owner.child(
                "v1", "PersistentVolumeClaim", each, names.COMPONENT, owned=False, spec={"resources": {"requests": {"storage": "1Ti"}}}
            )
            for each in self.claims
        ]
        if self.transitions:
            lock = {
                "renewTime": self.renewed.isoformat(), "ttl": str(_TTL_SECONDS), "transitions": str(self.transitions),
                "optime": str(position), "acquireTime": self.acquired.isoformat(),
            }  # fmt: skip
            made.append(self._config_map(names.leader_config_map(self.name), lock | ({"leader": self.leader} if self.leader else {})))
            made.append(self._config_map(names.sync_config_map(self.name), {"sync_standby": ",".join(self.sync)}))
        if self.dynamic is not None:
            text = self.dynamic if isinstance(self.dynamic, str) else json.dumps(self.dynamic)
            made.append(self._config_map(names.dynamic_config_map(self.name), {"config": text}, self.dynamic_version))
        return copy.deepcopy(self.applied) | keyed(*made)

    def view(self) -> View:
        """What a decision would look at now."""
        others = {(OPERATION.name, each["metadata"]["name"]): each for each in self.operations}
        return View(resource=self.resource, children=self.children(), nodes=self.nodes, now=self.now, others=others)

    def plan(self) -> Plan:
        """Decide, and do nothing."""
        return plan_database(self.view())

    def reconcile(self) -> Plan:
        """Decide, and carry the decision out."""
        plan = self.plan()
        if plan.refused:
            return plan
        wanted = keyed(*copy.deepcopy(list(plan.manifests)))
        for key, each in wanted.items():
            each["metadata"]["resourceVersion"] = "1"
            if key in self.applied and "status" in self.applied[key]:
                each["status"] = self.applied[key]["status"]
        self.applied = wanted
        for effect in plan.effects:
            if isinstance(effect, StartOperation):
                self.begin(effect.manifest)
                continue
            assert isinstance(effect, PatchAnnotation)
            assert effect.version == str(self.dynamic_version)
            self.dynamic, self.dynamic_version = json.loads(effect.value), self.dynamic_version + 1
        return plan

    def statefulset(self) -> Manifest:
        """The workload as it was applied."""
        return self.applied[("StatefulSet", self.name)]

    def copy(self) -> Postgres:
        """The same cluster, to go on from here twice."""
        made = copy.copy(self)
        made.members = {name: replace(member) for name, member in self.members.items()}
        made.applied, made.operations = copy.deepcopy(self.applied), copy.deepcopy(self.operations)
        return made
