"""A switchover, simulated: an Operation, the database that it is for, and an operator that can be killed.

The database decides for itself what becomes of what it was asked for, as Patroni does.
"""

from __future__ import annotations

import copy

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import merge
from baas_operator.observe.view import View
from baas_operator.policy.operation import plan_operation
from baas_operator.policy.plan import Discard, Plan, Switchover
from tests.unit.objects import own
from tests.unit.policy.postgres import Postgres

FINAL = ("Succeeded", "Refused", "Failed")
TIMEOUT_SECONDS = 60


class World:
    """A database that serves, an Operation on it, and an operator that can be killed."""

    def __init__(self, *, to: str | None = None, spec: Manifest | None = None) -> None:
        self.db = Postgres(spec).serving()
        self.db.applied = {key: each for key, each in self.db.applied.items() if key[0] == "EndpointSlice"}  # all that is looked at
        parameters = {"to": to} if to else {}
        self.operation = own(OPERATION, "op", {
            "target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover", "parameters": parameters,
            "timeoutSeconds": TIMEOUT_SECONDS,
        })  # fmt: skip
        self.operation["metadata"]["creationTimestamp"] = "2026-05-01T12:00:00Z"
        self.rivals: list[Manifest] = []
        """Other Operations on the same database."""
        self.promised: str | None = None
        """Whom Patroni is handing over to."""
        self.asked: tuple[tuple[str, str], ...] = ()
        """(leader, candidate) of every request to Patroni."""

    def copy(self) -> World:
        made = copy.copy(self)
        made.db, made.operation = self.db.copy(), copy.deepcopy(self.operation)
        return made

    @property
    def status(self) -> Manifest:
        found: Manifest = self.operation["status"]
        return found

    @property
    def phase(self) -> str | None:
        return self.status.get("phase")

    # --- the operator ------------------------------------------------------------------------------------------------

    def plan(self, *, target: bool = True) -> Plan:
        key = (DATABASE_REPLICA.name, "db")
        return plan_operation(View(
            resource=self.operation, children={}, nodes=self.db.nodes, now=self.db.now,
            others={(OPERATION.name, each["metadata"]["name"]): each for each in self.rivals} | ({key: self.db.resource} if target else {}),
            other_children={key: self.db.children()} if target else {},
        ))  # fmt: skip

    def carry_out(self, plan: Plan) -> None:
        """The effects, which come before the status is written."""
        for effect in plan.effects:
            if isinstance(effect, Discard):
                continue
            assert isinstance(effect, Switchover)
            self.asked = (*self.asked, (effect.leader, effect.candidate))
            self.patroni_is_asked(effect)

    def write(self, plan: Plan) -> None:
        conditions = merge(self.status.get("conditions", []), plan.conditions, generation=1, now="2026-05-01T12:00:00Z")
        self.operation["status"] = {**plan.status, "observedGeneration": 1, "conditions": conditions}

    def rival(self, name: str, phase: str | None, *, created: str = "2026-05-01T12:00:00Z", started: str | None = None) -> Manifest:
        """Another Operation on the same database."""
        made = own(OPERATION, name, self.operation["spec"], status={"phase": phase} if phase else {})
        made["metadata"]["creationTimestamp"] = created
        if started:
            made["status"]["steps"] = [{"name": "Switchover", "startedAt": started}]
        self.rivals.append(made)
        return made

    def reconcile(self) -> Plan:
        plan = self.plan()
        self.carry_out(plan)
        self.write(plan)
        return plan

    # --- Patroni, which decides for itself ------------------------------------------------------------------------------

    def patroni_is_asked(self, effect: Switchover) -> None:
        fit = self.db.leader == effect.leader and effect.candidate in self.db.sync and self.db.members[effect.candidate].ready
        if fit and self.promised is None:
            self.promised = effect.candidate

    def hand_over(self) -> None:
        """The next thing that Patroni does of a switchover, if there is one."""
        db = self.db
        if self.promised is None:
            self.settle()
        elif db.leader == self.promised:
            self.promised = None
            db.promote()
        elif db.leader is None:
            db.lock(self.promised)
        else:
            old = db.members[db.leader]
            old.role, old.state, old.ready = "standby", "stopped", False
            db.lock(None)

    def settle(self) -> None:
        """With nothing left to hand over: the primary's agent routes to it, and the others follow it."""
        db = self.db
        if db.leader is None or db.members[db.leader].role != "primary":
            return
        if not plan_routed(db):
            db.route()
        else:
            db.join(*(name for name, each in db.members.items() if name != db.leader and each.role != "unknown"))

    def fail_over(self, to: str) -> None:
        """The leader dies, and the standbys elect one of them."""
        db = self.db
        if db.leader:
            db.power_off(db.leader)
            db.members[db.leader].role = "unknown"
        self.promised = None
        db.lock(to)
        db.promote()

    def time_out(self) -> None:
        self.db.wait(TIMEOUT_SECONDS + 1)


def plan_routed(db: Postgres) -> bool:
    assert db.leader
    (endpoint,) = db.applied[("EndpointSlice", "db-rw")]["endpoints"]
    return bool(endpoint["addresses"] == [db.members[db.leader].ip])
