"""A database that has served for a while, and Operations on it: what stories of moves that the operator begins by itself begin with."""

from __future__ import annotations

from typing import Any

from baas_operator.api.kinds import OPERATION
from baas_operator.desired.meta import Manifest
from baas_operator.policy.plan import Plan, StartOperation
from tests.unit.objects import own
from tests.unit.policy.postgres import Postgres

A, B, C = "zone-a", "zone-b", "zone-c"
"""Zones of db-0, which leads at first, db-1 and db-2."""
MINUTE = 60.0


def database(**spec: Any) -> Postgres:
    """One that has served for a while."""
    db = Postgres(spec).serving()
    db.wait(10 * MINUTE)
    return db


def preferring(*zones: str, **spec: Any) -> Postgres:
    return database(placement={"preferredZones": list(zones)}, **spec)


def begun(plan: Plan) -> Manifest | None:
    found = [each.manifest for each in plan.effects if isinstance(each, StartOperation)]
    assert len(found) <= 1
    return found[0] if found else None


def target(plan: Plan) -> str | None:
    made = begun(plan)
    return made["spec"]["parameters"]["to"] if made else None


def finish(db: Postgres, phase: str = "Succeeded") -> None:
    """The Operation that was begun is carried out."""
    last = db.operations[-1]
    if phase == "Succeeded":
        db.switch_over(last["spec"]["parameters"]["to"])
    last["status"] = {"phase": phase}


def by_somebody(db: Postgres, name: str = "mine", phase: str | None = None) -> Manifest:
    made = db.begin(own(OPERATION, name, {"target": {"kind": "DatabaseReplica", "name": "db"}, "action": "switchover"}))
    if phase:
        db.operations[-1]["status"] = {"phase": phase}
    return made
