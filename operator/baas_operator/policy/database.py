"""DatabaseReplica: from what is there to what is done and said next."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import DEPLOYMENT, JOB, POD, SECRET, STATEFUL_SET
from baas_operator.desired.database import names
from baas_operator.desired.database.build import DatabaseFacts, build_database, database_secrets
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.database.patroni import dynamic_config
from baas_operator.desired.meta import Manifest
from baas_operator.observe.database import observe_database, waits_for_restart
from baas_operator.observe.moments import read_time, to_text
from baas_operator.observe.pooler import observe_pooler
from baas_operator.observe.view import View, secret_text
from baas_operator.observe.vitals import vitals_of
from baas_operator.policy.certificates import with_due
from baas_operator.policy.declared import judge, passwords, with_due_passwords
from baas_operator.policy.health import Situation, conditions_of, is_whole, status_of
from baas_operator.policy.moves import plan_move, under_way
from baas_operator.policy.placement import as_made, growth, hard_spread
from baas_operator.policy.plan import Effect, PatchAnnotation, Plan, refusal
from baas_operator.policy.repair import repair
from baas_operator.policy.rollout import roll_out
from baas_operator.policy.scaling import possible, zones_missing
from baas_operator.policy.storage import guard
from baas_operator.policy.windows import look

_AT_ONCE_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 30.0
"""A lock that is no longer renewed makes no event, so it is looked at this often; it costs no request."""


def plan_database(view: View) -> Plan:
    """Decide about a DatabaseReplica."""
    spec = DatabaseReplicaSpec.stored(view.spec)
    seen = observe_database(view)
    workload = view.child(STATEFUL_SET, view.owner.name)
    if workload is None and (finding := zones_missing(spec, view)):
        return refusal(finding)
    asked, busy = spec, under_way(view)
    can = possible(asked, view, workload, seen, busy=busy)
    spec, windows = can.spec, look(asked.maintenance_windows, view.now)
    spread = hard_spread(view, workload, spec.replicas, spec.placement)
    pooler = view.child(DEPLOYMENT, names.pooler_service(view.owner.name))
    serving = seen.primary is not None and seen.routed_to_leader
    already = any(job["metadata"]["name"].startswith(f"{view.owner.name}-databases-") for job in view.all(JOB))
    facts = DatabaseFacts(
        hard_spread=spread,
        pooler_hard_spread=hard_spread(view, pooler, spec.pooler.replicas, spec.placement),
        slice_now=seen.slice_now,
        gone=seen.gone,
        leader=seen.leader_endpoint if seen.primary else None,
        databases_wanted=serving or already,
        passwords=passwords(view, spec),
        ca=secret_text(view.child(SECRET, names.ca(view.owner.name)), "ca.crt"),
        operator_namespace=view.operator_namespace,
        monitoring_namespace=view.monitoring_namespace,
        members_per_zone=math.ceil(spec.replicas / max(1, len(view.zones(spec.placement)))),
    )
    manifests = as_made(view, build_database(spec, view.owner, view.images, facts))
    job = next((each["metadata"]["name"] for each in manifests if each["kind"] == JOB.name), None)
    if (spec.databases or spec.roles) and job is None:
        job = f"{view.owner.name}-databases"
    pods = list(view.all(POD, names.COMPONENT))
    members = [vitals_of(view, each) for each in pods]
    since = _parameters_wait_since(view, pods)
    rollout = roll_out(spec, workload, pods, seen, noted_seconds=(view.now - since).total_seconds() if since else 0.0)
    repairs = repair(spec, view, seen, members, rolling=busy or bool(rollout.effects), pending=any(map(waits_for_restart, pods)))
    storage = guard(spec, members, seen)
    declared = judge(view, spec, job, seen.leader)
    situation = Situation(spec, view, seen, job, observe_pooler(view), rollout, declared, can, windows.wrong, storage, repairs)
    whole = is_whole(situation)
    move = plan_move(spec if can.stuck else asked, view, seen, windows, whole=whole)
    secrets = with_due_passwords(
        view, database_secrets(spec, view.owner), settled=serving and job is not None and declared.pending is None and not storage.read_only
    )
    return Plan(
        conditions=conditions_of(situation, move.note),
        status=status_of(situation) | ({"parametersWaitSince": to_text(since, "milliseconds")} if since else {}),
        manifests=manifests,
        secrets=(*secrets, *with_due(view, database_certificates(spec, view.owner))),
        effects=(
            *_effects(situation, asked.replicas),
            *move.effects,
            *(() if busy or move.effects else (*rollout.effects, *repairs.effects)),
            *growth(view, storage.size),
        ),
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
        requeue_after=_AT_ONCE_SECONDS if repairs.announced or can.soon else rollout.again_seconds or _LOOK_AGAIN_SECONDS,
    )


def _parameters_wait_since(view: View, pods: Sequence[Manifest]) -> datetime | None:
    """Since when a member has noted that a parameter waits for a start. It is kept in the status, as no condition tells it: another one
    may be shown all the while. A time that is yet to come is of another clock, and says nothing."""
    if not any(map(waits_for_restart, pods)):
        return None
    since = read_time((view.resource.get("status") or {}).get("parametersWaitSince"))
    return since if since and since <= view.now else view.now


def _effects(it: Situation, asked: int) -> list[Effect]:
    seen = it.seen
    if seen.dynamic_config is None or seen.dynamic_version is None:
        return []
    has_standby = bool(seen.sync_standbys) or seen.strict
    members_per_zone = seen.members_per_zone(max(asked, it.spec.replicas), len(it.view.zones(it.spec.placement)))
    wanted = dynamic_config(it.spec, members_per_zone=members_per_zone, has_standby=has_standby, read_only=it.storage.read_only)
    if wanted == seen.dynamic_config:
        return []
    text = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    name = names.dynamic_config_map(it.view.owner.name)
    return [PatchAnnotation("ConfigMap", name, "config", text, seen.dynamic_version)]
