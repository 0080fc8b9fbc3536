"""DatabaseReplica: from what is there to what is done and said next."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.database import DatabaseReplicaSpec, DatabaseReplicaStatus, Durability
from baas_operator.api.kinds import DEPLOYMENT, JOB, POD, SECRET, STATEFUL_SET
from baas_operator.desired.database import names
from baas_operator.desired.database.build import DatabaseFacts, build_database, database_secrets
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.database.patroni import dynamic_config
from baas_operator.observe.conditions import STALLED, Condition
from baas_operator.observe.database import DatabaseObservation, observe_database, state_without_volumes
from baas_operator.observe.instance import job_trouble
from baas_operator.observe.pooler import PoolerObservation, observe_pooler
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, is_ready, secret_text, trouble
from baas_operator.policy.certificates import with_due
from baas_operator.policy.declared import Declared, judge, passwords, with_due_passwords
from baas_operator.policy.moves import plan_move, under_way
from baas_operator.policy.placement import as_made, growth, hard_spread
from baas_operator.policy.plan import Effect, Finding, PatchAnnotation, Plan, conditions, refusal
from baas_operator.policy.rollout import Rollout, roll_out
from baas_operator.policy.scaling import Possible, possible, zones_missing
from baas_operator.policy.windows import look

_LOOK_AGAIN_SECONDS = 30.0
"""A lock that is no longer renewed makes no event, so it is looked at this often; it costs no request."""


@dataclass(frozen=True)
class _Situation:
    """The parts that every judgement below needs."""

    spec: DatabaseReplicaSpec
    view: View
    seen: DatabaseObservation
    job: str | None
    pooler: PoolerObservation
    rollout: Rollout
    declared: Declared
    possible: Possible
    wrong: Finding | None
    """What of the spec can never be had, and hinders nothing else."""

    @property
    def wants_sync(self) -> bool:
        return self.spec.durability is not Durability.ASYNC


def plan_database(view: View) -> Plan:
    """Decide about a DatabaseReplica."""
    spec = DatabaseReplicaSpec.model_validate(view.spec)
    seen = observe_database(view)
    workload = view.child(STATEFUL_SET, view.owner.name)
    if workload is None and (finding := zones_missing(spec, view)):
        return refusal(finding.reason, finding.message)
    asked, busy = spec, under_way(view)
    can = possible(asked, view, workload, seen, busy=busy)
    spec, windows = can.spec, look(asked.maintenance_windows, view.now)
    spread = hard_spread(view, workload, spec.replicas)
    serving = seen.primary is not None and seen.routed_to_leader
    already = any(job["metadata"]["name"].startswith(f"{view.owner.name}-databases-") for job in view.all(JOB))
    facts = DatabaseFacts(
        hard_spread=spread,
        pooler_hard_spread=hard_spread(view, view.child(DEPLOYMENT, names.pooler_service(view.owner.name)), spec.pooler.replicas),
        slice_now=seen.slice_now,
        leader=seen.leader_endpoint if seen.primary else None,
        databases_wanted=serving or already,
        passwords=passwords(view, spec),
        ca=secret_text(view.child(SECRET, names.ca(view.owner.name)), "ca.crt"),
        operator_namespace=view.operator_namespace,
        members_per_zone=math.ceil(spec.replicas / max(1, len(view.zones()))),
    )
    manifests = as_made(view, build_database(spec, view.owner, view.images, facts))
    job = next((each["metadata"]["name"] for each in manifests if each["kind"] == JOB.name), None)
    if (spec.databases or spec.roles) and job is None:
        job = f"{view.owner.name}-databases"
    rollout = roll_out(spec, workload, list(view.all(POD, names.COMPONENT)), seen)
    declared = judge(view, spec, job, seen.leader)
    situation = _Situation(spec, view, seen, job, observe_pooler(view), rollout, declared, can, windows.wrong)
    whole = not (_unready(situation) or _incomplete(situation))
    move = plan_move(asked, view, seen, windows, whole=whole)
    secrets = with_due_passwords(view, database_secrets(spec, view.owner), settled=serving and job is not None and declared.pending is None)
    return Plan(
        conditions=_conditions(situation, move.note),
        status=_status(situation),
        manifests=manifests,
        secrets=(*secrets, *with_due(view, database_certificates(spec, view.owner))),
        # A volume that can not grow should keep no primary on a node that goes.
        effects=(
            *_effects(situation),
            *move.effects,
            *growth(view, spec.storage.size),
            *(() if busy or move.effects else rollout.effects),
        ),
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
        requeue_after=_LOOK_AGAIN_SECONDS,
    )


def _effects(it: _Situation) -> list[Effect]:
    seen = it.seen
    if seen.dynamic_config is None or seen.dynamic_version is None:
        return []
    has_standby = bool(seen.sync_standbys) or seen.strict
    wanted = dynamic_config(it.spec, members_per_zone=seen.members_per_zone(it.spec.replicas), has_standby=has_standby)
    if wanted == seen.dynamic_config:
        return []
    text = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    name = names.dynamic_config_map(it.view.owner.name)
    return [PatchAnnotation("ConfigMap", name, "config", text, seen.dynamic_version)]


def _stuck(it: _Situation) -> Finding | None:
    """What no member can get over by itself. The operator deletes nothing that might lead to data: that is the user's to say."""
    if not state_without_volumes(it.view, it.seen):
        return None
    name, maps = it.view.owner.name, " ".join(names.patroni_config_maps(it.view.owner.name))
    return Finding(
        "StateWithoutVolumes",
        f"Patroni's ConfigMaps of an earlier {name} are there and its volumes are not, so every member waits for one that has the data. To "
        f"begin with an empty database: `kubectl delete configmap -n {it.view.owner.namespace} --ignore-not-found {maps}`.",
    )


def _unready(it: _Situation) -> Finding | None:
    seen, name = it.seen, it.view.owner.name
    pods = list(it.view.all(POD, names.COMPONENT))
    if seen.leader is None:
        why = next((f" {pod['metadata']['name']}: {text}" for pod in pods if (text := trouble(pod))), "")
        if seen.transitions or seen.dynamic_config:
            return Finding("NoPrimary", f"No member holds the leader lock; the members are electing one.{why}")
        return Finding("Bootstrapping", f"The first member is being initialised.{why}")
    if seen.primary is None:
        return Finding("Promoting", f"{seen.leader} holds the leader lock and is being promoted.")
    if not seen.routed_to_leader:
        return Finding("NotRouted", f"{names.rw_service(name)} does not lead to the primary {seen.leader} yet.")
    if it.spec.durability is Durability.ZONE_QUORUM and not seen.strict:
        return Finding(
            "JoiningStandbys",
            "The first standby is joining; from then on every commit waits for one in another zone.",
        )
    if it.spec.durability is Durability.ZONE_QUORUM and not seen.sync_standbys:
        return Finding(
            "NoSynchronousStandby",
            "No standby in another zone streams, so commits wait (durability zone-quorum); they go on once one does.",
        )
    if it.spec.databases and not it.declared.ever:
        return it.declared.pending
    return None


def _incomplete(it: _Situation) -> Finding | None:
    if it.possible.told:
        return it.possible.told
    ready = [each for each in it.seen.members if each.ready]
    if len(ready) >= it.spec.replicas and len(it.seen.members) == it.spec.replicas:
        return it.rollout.told or (it.declared.pending if it.spec.databases or it.spec.roles else None) or _pooler_incomplete(it)
    reasons = [
        f"{pod['metadata']['name']}: {trouble(pod) or 'not ready'}" for pod in it.view.all(POD, names.COMPONENT) if not is_ready(pod)
    ]
    return Finding(
        "MembersNotReady",
        f"{len(ready)} of {counted(it.spec.replicas, 'member')} {are(len(ready))} ready. {'; '.join(reasons)}".strip(),
    )


def _pooler_incomplete(it: _Situation) -> Finding | None:
    """A pooler that is not as it should be hides no database that is: it is never a reason not to be Ready."""
    wanted, pooler, service = it.spec.pooler.replicas, it.pooler, names.pooler_service(it.view.owner.name)
    if not wanted:
        return None
    if it.declared.pending:
        stuck = job_trouble(it.view, "databases")
        return Finding("PoolerNotReady", f"The role that {service} looks up secrets with is being made.{' ' + stuck if stuck else ''}")
    if pooler.ready < wanted:
        why = f" {pooler.why}" if pooler.why else ""
        return Finding(
            "PoolerNotReady",
            f"{pooler.ready} of {counted(wanted, 'pod')} of {service} {are(pooler.ready)} ready; -rw serves all the same.{why}",
        )
    if not pooler.rolled_out:
        return Finding("PoolerRollingOut", f"{service} is being rolled out.")
    return None


def _fragile(it: _Situation) -> Finding | None:
    """Why a zone may not be lost now, from what streams now and not from what was asked."""
    seen = it.seen
    primary = seen.primary
    if primary is None:
        return Finding("NoPrimary", "There is no primary now.")
    if not it.wants_sync:
        return Finding("Asynchronous", "With durability async a commit is on the primary alone when it is acknowledged.")
    others = [
        each for each in seen.streaming()
        if each.zone and each.zone != primary.zone and each.name in seen.sync_standbys
    ]  # fmt: skip
    if primary.zone is None:
        return Finding("ZoneUnknown", "The primary's node has no zone: label nodes with topology.kubernetes.io/zone.")
    if not others:
        return Finding("NoStandbyInAnotherZone", f"No synchronous standby streams outside of {primary.zone}.")
    if it.spec.durability is Durability.ZONE_QUORUM and len({each.zone for each in others}) < 2:
        return Finding(
            "OneStandbyZone",
            f"Only {others[0].zone} has a synchronous standby: without it commits would wait.",
        )
    if it.spec.pooler.replicas and len(it.pooler.zones) < 2:
        return Finding(
            "PoolerInOneZone",
            f"{names.pooler_service(it.view.owner.name)} has ready pods in {counted(len(it.pooler.zones), 'zone')} only; -rw would go on.",
        )
    return None


def _conditions(it: _Situation, note: str) -> tuple[Condition, ...]:
    """`note`: what else to say of one that serves."""
    leader, lost, streaming = it.seen.leader, _stuck(it), len(it.seen.streaming())
    unready, incomplete = lost or _unready(it), _incomplete(it) or it.wrong
    serves = f"{leader} takes the writes; {counted(streaming, 'standby')} {'streams' if streaming == 1 else 'stream'}."
    made = conditions(
        unready=unready,
        stuck=lost is not None or (unready is None and (it.possible.stuck or incomplete is it.wrong)),
        incomplete=incomplete,
        fragile=_fragile(it),
        ready_message=f"{serves} {note}".strip(),
        tolerant_message="Any one zone can be lost without losing an acknowledged commit or the service.",
    )
    refused = it.declared.refused
    if refused is None or any(each.type == STALLED for each in made):
        return made
    return (*made, Condition(STALLED, True, refused.reason, refused.message))


def _status(it: _Situation) -> dict[str, object]:
    members = it.seen.members
    selector = it.view.owner.selector(names.COMPONENT)
    status = DatabaseReplicaStatus(
        replicas=len(members),
        ready_replicas=sum(each.ready for each in members),
        selector=",".join(f"{key}={value}" for key, value in selector.items()),
        pooler_ready_replicas=it.pooler.ready if it.spec.pooler.replicas else None,
        primary=it.seen.leader,
        zones=len({each.zone for each in members if each.ready and each.zone}),
        last_failover=it.seen.last_failover,
        members=list(members),
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})
