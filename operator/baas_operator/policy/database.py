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
from baas_operator.observe.conditions import Condition
from baas_operator.observe.database import DatabaseObservation, observe_database, state_without_volumes, waits_for_restart
from baas_operator.observe.instance import job_succeeded, job_trouble
from baas_operator.observe.pooler import PoolerObservation, observe_pooler
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, is_ready, secret_text, trouble
from baas_operator.observe.vitals import vitals_of
from baas_operator.policy.certificates import with_due
from baas_operator.policy.placement import as_made, growth, hard_spread
from baas_operator.policy.plan import Effect, Finding, PatchAnnotation, Plan, conditions, refusal
from baas_operator.policy.repair import Repairs, repair
from baas_operator.policy.rollout import Rollout, roll_out
from baas_operator.policy.storage import Storage, guard

_AT_ONCE_SECONDS = 0.5
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
    storage: Storage
    repairs: Repairs

    @property
    def wants_sync(self) -> bool:
        return self.spec.durability is not Durability.ASYNC


def plan_database(view: View) -> Plan:
    """Decide about a DatabaseReplica."""
    spec = DatabaseReplicaSpec.model_validate(view.spec)
    seen = observe_database(view)
    workload = view.child(STATEFUL_SET, view.owner.name)
    if workload is None and (finding := _impossible(spec, view)):
        return refusal(finding.reason, finding.message)
    spread = hard_spread(view, workload, spec.replicas)
    serving = seen.primary is not None and seen.routed_to_leader
    already = any(job["metadata"]["name"].startswith(f"{view.owner.name}-databases-") for job in view.all(JOB))
    facts = DatabaseFacts(
        hard_spread=spread,
        pooler_hard_spread=hard_spread(view, view.child(DEPLOYMENT, names.pooler_service(view.owner.name)), spec.pooler.replicas),
        slice_now=seen.slice_now,
        leader=seen.leader_endpoint if seen.primary else None,
        databases_wanted=serving or already,
        ca=secret_text(view.child(SECRET, names.ca(view.owner.name)), "ca.crt"),
        members_per_zone=math.ceil(spec.replicas / max(1, len(view.zones()))),
    )
    manifests = as_made(view, build_database(spec, view.owner, view.images, facts))
    job = next((each["metadata"]["name"] for each in manifests if each["kind"] == JOB.name), None)
    if spec.databases and job is None:
        job = f"{view.owner.name}-databases"
    pods = list(view.all(POD, names.COMPONENT))
    members = [vitals_of(view, each) for each in pods]
    rollout = roll_out(spec, workload, pods, seen)
    repairs = repair(spec, view, seen, members, rolling=bool(rollout.effects), pending=any(map(waits_for_restart, pods)))
    storage = guard(spec, members, seen)
    situation = _Situation(spec, view, seen, job, observe_pooler(view), rollout, storage, repairs)
    return Plan(
        conditions=_conditions(situation),
        status=_status(situation),
        manifests=manifests,
        secrets=(*database_secrets(spec, view.owner), *with_due(view, database_certificates(spec, view.owner))),
        # Volumes last: where they can not grow, that is refused, and nothing comes after it.
        effects=(*_effects(situation), *rollout.effects, *repairs.effects, *growth(view, storage.size)),
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
        requeue_after=_AT_ONCE_SECONDS if repairs.announced else _LOOK_AGAIN_SECONDS,
    )


def _impossible(spec: DatabaseReplicaSpec, view: View) -> Finding | None:
    zones = view.zones()
    if spec.durability is Durability.ZONE_QUORUM and len(zones) < 2:
        return Finding(
            "ZonesInsufficient",
            f"durability zone-quorum needs nodes in two zones at least and there are {len(zones)}: label the nodes with "
            "topology.kubernetes.io/zone, or set spec.durability to quorum.",
        )
    return None


def _effects(it: _Situation) -> list[Effect]:
    seen = it.seen
    if seen.dynamic_config is None or seen.dynamic_version is None:
        return []
    has_standby = bool(seen.sync_standbys) or seen.strict
    wanted = dynamic_config(
        it.spec, members_per_zone=seen.members_per_zone(it.spec.replicas), has_standby=has_standby, read_only=it.storage.read_only
    )
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
            "No standby in another zone streams, so commits wait (durability zone-quorum); they go on once one does."
            f"{' ' + it.repairs.told.message if it.repairs.told else ''}",
        )
    if it.storage.held_off:
        return it.storage.held_off
    if it.spec.databases and it.job and not job_succeeded(it.view, it.job):
        stuck = job_trouble(it.view, "databases")
        return Finding("CreatingDatabases", f"The databases and roles of the spec are being made.{' ' + stuck if stuck else ''}")
    return None


def _incomplete(it: _Situation) -> Finding | None:
    ready = [each for each in it.seen.members if each.ready]
    if len(ready) >= it.spec.replicas and len(it.seen.members) == it.spec.replicas:
        return it.rollout.told or it.storage.growing or _pooler_incomplete(it)
    if it.repairs.told:
        return it.repairs.told
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
    if it.job and not job_succeeded(it.view, it.job):
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


def _conditions(it: _Situation) -> tuple[Condition, ...]:
    leader = it.seen.leader
    stuck, streaming = _stuck(it), len(it.seen.streaming())
    unready = stuck or _unready(it)
    made = conditions(
        unready=unready,
        stuck=stuck is not None or (it.storage.stuck and unready is it.storage.held_off),
        incomplete=_incomplete(it),
        fragile=_fragile(it),
        ready_message=f"{leader} takes the writes; {counted(streaming, 'standby')} {'streams' if streaming == 1 else 'stream'}.",
        tolerant_message="Any one zone can be lost without losing an acknowledged commit or the service.",
    )
    return (*made, *it.storage.pressure)


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
        members=[each.model_copy(update={"trouble": it.repairs.troubles.get(each.name)}) for each in members],
        repairs=list(it.repairs.done),
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})
