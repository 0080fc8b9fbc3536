"""The example that the plugin's tests share: a backend that has just lost zone b, with its primary there.

Real operators write such objects; that they are what the API allows is tested here.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import OWN_KINDS

Manifest = dict[str, Any]

NAMESPACE = "prod"
NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
BEFORE = "2026-05-01T11:59:20Z"
LONG_BEFORE = "2026-04-28T07:00:00Z"


def condition(kind: str, status: str, reason: str, message: str, *, since: str = BEFORE) -> Manifest:
    """A condition of the generation that `resource` makes."""
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since, "observedGeneration": 1}


def resource(kind: str, name: str, *conditions: Manifest, spec: Manifest | None = None, **status: Any) -> Manifest:
    """An object of ours as the API server has it."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1, "creationTimestamp": LONG_BEFORE},
        "spec": spec or {},
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


def ready(message: str = "All well.") -> Manifest:
    """Ready."""
    return condition("Ready", "True", "Serving", message, since=LONG_BEFORE)


def member(index: int, zone: str | None, role: str, state: str, *, name: str = "shop-db", **more: Any) -> Manifest:
    """A database member; ready unless said otherwise."""
    return {"name": f"{name}-{index}", "zone": zone, "role": role, "state": state, "ready": True, **more}


def healthy_database(name: str = "shop-db") -> Manifest:
    """Three members in three zones."""
    return resource(
        "DatabaseReplica", name, ready(), condition("ZoneTolerant", "True", "ZonesCovered", "Any zone can go."),
        spec={"replicas": 3}, replicas=3, readyReplicas=3, zones=3, primary=f"{name}-0",
        members=[
            member(0, "zone-a", "primary", "running", name=name, timeline=1),
            member(1, "zone-b", "standby", "streaming", name=name, timeline=1, lagBytes=0),
            member(2, "zone-c", "standby", "streaming", name=name, timeline=1, lagBytes=0),
        ],
    )  # fmt: skip


def lost_database() -> Manifest:
    """Zone b is gone; zone c has taken over and zone a is behind."""
    tolerant = condition("ZoneTolerant", "False", "ZoneMissing", "Members are ready in 2 zones; the loss of one more stops writes.")
    return resource(
        "DatabaseReplica", "shop-db", ready(), tolerant,
        spec={"replicas": 3}, replicas=3, readyReplicas=2, zones=2, primary="shop-db-2",
        members=[
            member(0, "zone-a", "standby", "streaming", timeline=2, lagBytes=3 * 1024 * 1024),
            {"name": "shop-db-1", "role": "unknown", "state": "unknown", "ready": False},
            member(2, "zone-c", "primary", "running", timeline=2),
        ],
    )  # fmt: skip


def lost_queue() -> Manifest:
    """Two servers of three, and a stream that has lost its leader."""
    return resource(
        "EventQueue", "shop-events",
        condition("Ready", "False", "StreamWithoutLeader", "Stream audit has no leader: its messages can not be read or written."),
        condition("Reconciling", "True", "WaitingForServers", "Waiting for shop-events-1."),
        spec={"replicas": 3}, replicas=3, readyReplicas=2, zones=2, lossWindowSeconds=0,
        servers=[
            {"name": "shop-events-0", "zone": "zone-a", "ready": True, "metaLeader": True},
            {"name": "shop-events-1", "ready": False, "metaLeader": False},
            {"name": "shop-events-2", "zone": "zone-c", "ready": True, "metaLeader": False},
        ],
        streams=[
            {"name": "orders", "leader": "shop-events-0", "replicas": 3, "current": 2, "zones": 2},
            {"name": "audit", "replicas": 1, "current": 0, "zones": 0},
        ],
    )  # fmt: skip


def lost_instance() -> Manifest:
    """One pod of each component is gone with the zone."""
    return resource(
        "BaasInstance", "shop",
        condition("Ready", "False", "QueueNotReady", "EventQueue shop-events is not ready."),
        spec={"engine": "supabase"}, endpoint="http://shop-gateway.prod.svc:8000", database="shop-db", queue="shop-events",
        components=[
            {"name": "gateway", "replicas": 3, "ready": 3, "zones": 3},
            {"name": "rest", "replicas": 3, "ready": 2, "zones": 2, "reason": "Unschedulable: no node in zone-b"},
        ],
    )  # fmt: skip


def operation(name: str, phase: str, *, created: str = BEFORE, **more: Any) -> Manifest:
    """A switchover of shop-db."""
    made = resource(
        "Operation", name, spec={"target": {"kind": "DatabaseReplica", "name": "shop-db"}, "action": "switchover"}, phase=phase, **more
    )
    made["metadata"]["creationTimestamp"] = created
    return made


EVERYTHING = [
    healthy_database(),
    lost_database(),
    lost_queue(),
    lost_instance(),
    operation("shop-db-switchover-x", "Succeeded", result={"fromMember": "a", "toMember": "b", "durationSeconds": 1.5}),
]


@pytest.mark.parametrize("manifest", EVERYTHING, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_the_example_is_what_the_api_allows(manifest: Manifest) -> None:
    kind = next(each for each in OWN_KINDS if each.name == manifest["kind"])
    kind.spec.model_validate(copy.deepcopy(manifest["spec"]))
    kind.status.model_validate(copy.deepcopy(manifest["status"]))
