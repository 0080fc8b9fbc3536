"""What to tell of a DatabaseReplica: its conditions and its status, from what was found and decided."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.database import DatabaseReplicaSpec, DatabaseReplicaStatus, Durability, Member
from baas_operator.api.kinds import POD
from baas_operator.desired.database import names
from baas_operator.observe.conditions import STALLED, Condition
from baas_operator.observe.database import DatabaseObservation, state_without_volumes
from baas_operator.observe.instance import job_trouble
from baas_operator.observe.pooler import PoolerObservation
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, is_ready, trouble
from baas_operator.policy.declared import Declared
from baas_operator.policy.plan import Finding, conditions
from baas_operator.policy.repair import Repairs
from baas_operator.policy.rollout import Rollout
from baas_operator.policy.scaling import Possible
from baas_operator.policy.storage import Storage


@dataclass(frozen=True)
class Situation:
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
    storage: Storage
    repairs: Repairs

    @property
    def wants_sync(self) -> bool:
        return self.spec.durability is not Durability.ASYNC

    @property
    def confirmations(self) -> int:
        """How many standbys a commit waits for, by the configuration that Patroni goes by now."""
        count = (self.seen.dynamic_config or {}).get("synchronous_node_count")
        return count if isinstance(count, int) else 1


def _stuck(it: Situation) -> Finding | None:
    """What no member can get over by itself. The operator deletes nothing that might lead to data: that is the user's to say."""
    if not state_without_volumes(it.view, it.seen):
        return None
    name, maps = it.view.owner.name, " ".join(names.patroni_config_maps(it.view.owner.name))
    return Finding(
        "StateWithoutVolumes",
        f"Patroni's ConfigMaps of an earlier {name} are there and its volumes are not, so every member waits for one that has the data. To "
        f"begin with an empty database: `kubectl delete configmap -n {it.view.owner.namespace} --ignore-not-found {maps}`.",
    )


def _clocks(seen: DatabaseObservation) -> str:
    """What else it may be. Patroni goes by changes that it sees, and not by clocks: all may be well but for what is told of it."""
    if seen.out_of_time is None:
        return ""
    return (
        f" Or {seen.out_of_time} holds it, which is ready as the primary, and its node's clock is behind the operator's, by which its lock "
        "has run out: if this stays, set the clocks right (NTP)."
    )


def _unready(it: Situation) -> Finding | None:
    seen, name = it.seen, it.view.owner.name
    pods = list(it.view.all(POD, names.COMPONENT))
    if seen.leader is None:
        why = next((f" {pod['metadata']['name']}: {text}" for pod in pods if (text := trouble(pod))), "")
        if seen.transitions or seen.dynamic_config:
            return Finding("NoPrimary", f"No member holds the leader lock; the members are electing one.{why}{_clocks(seen)}")
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
    if it.spec.durability is Durability.ZONE_QUORUM and (beside := _all_beside(seen, seen.primary)):
        return Finding(
            "NoStandbyInAnotherZone",
            f"Commits do not wait for another zone (durability zone-quorum): who confirms them now, {', '.join(beside)}, "
            f"{are(len(beside))} in {seen.primary.zone}, as the primary is.{' ' + it.repairs.told.message if it.repairs.told else ''}",
        )
    if it.storage.held_off:
        return it.storage.held_off
    if it.spec.databases and not it.declared.ever:
        return it.declared.pending
    return None


def _all_beside(seen: DatabaseObservation, primary: Member) -> list[str]:
    """Who may confirm a commit, where all of them are in the primary's zone. Patroni waits for one standby at least, whichever are left."""
    zones = {each.name: each.zone for each in seen.members}
    voters = [each for each in seen.sync_standbys if each != primary.name]
    return voters if primary.zone and all(zones.get(each) == primary.zone for each in voters) else []


def _incomplete(it: Situation) -> Finding | None:
    if it.possible.told:
        return it.possible.told
    ready = [each for each in it.seen.members if each.ready]
    if len(ready) >= it.spec.replicas and len(it.seen.members) == it.spec.replicas:
        declared = it.declared.pending if it.spec.databases or it.spec.roles else None
        return it.rollout.told or it.storage.growing or declared or _pooler_incomplete(it)
    if it.repairs.told:
        return it.repairs.told
    reasons = [
        f"{pod['metadata']['name']}: {trouble(pod) or 'not ready'}" for pod in it.view.all(POD, names.COMPONENT) if not is_ready(pod)
    ]
    return Finding(
        "MembersNotReady",
        f"{len(ready)} of {counted(it.spec.replicas, 'member')} {are(len(ready))} ready. {'; '.join(reasons)}".strip(),
    )


def _pooler_incomplete(it: Situation) -> Finding | None:
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


def _fragile(it: Situation) -> Finding | None:
    """Why a zone may not be lost now, from what streams now and not from what was asked."""
    seen = it.seen
    primary = seen.primary
    if primary is None:
        return Finding("NoPrimary", "There is no primary now.")
    if not it.wants_sync:
        return Finding("Asynchronous", "With durability async a commit is on the primary alone when it is acknowledged.")
    synchronous = [each for each in seen.streaming() if each.name in seen.sync_standbys]
    others = [each for each in synchronous if each.zone and each.zone != primary.zone]
    if primary.zone is None:
        return Finding("ZoneUnknown", "The primary's node has no zone: label nodes with topology.kubernetes.io/zone.")
    if not others:
        return Finding("NoStandbyInAnotherZone", f"No synchronous standby streams outside of {primary.zone}.")
    # A commit that only standbys beside the primary have confirmed goes with their zone; and as nobody can know that there is none, those
    # elsewhere are not promoted.
    if len(synchronous) - len(others) >= it.confirmations:
        return Finding(
            "ConfirmedInOneZone",
            f"A commit waits for {counted(it.confirmations, 'standby')}, and may have been confirmed in {primary.zone} alone, where the "
            "primary is, too. Use durability zone-quorum, or as many zones as members.",
        )
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


def is_whole(it: Situation) -> bool:
    """Whether it serves and is as asked."""
    return not (_unready(it) or _incomplete(it))


def conditions_of(it: Situation, note: str) -> tuple[Condition, ...]:
    """Its conditions. `note`: what else to say of one that serves."""
    leader, lost, streaming = it.seen.leader, _stuck(it), len(it.seen.streaming())
    unready, incomplete = lost or _unready(it), _incomplete(it) or it.wrong
    serves = f"{leader} takes the writes; {counted(streaming, 'standby')} {'streams' if streaming == 1 else 'stream'}."
    made = conditions(
        unready=unready,
        stuck=lost is not None
        or (it.storage.stuck and unready is it.storage.held_off)
        or (unready is None and (it.possible.stuck or incomplete is it.wrong)),
        incomplete=incomplete,
        fragile=_fragile(it),
        ready_message=f"{serves} {note}".strip(),
        tolerant_message="Any one zone can be lost without losing an acknowledged commit or the service.",
    )
    refused = it.declared.refused
    if refused is not None and not any(each.type == STALLED for each in made):
        made = (*made, Condition(STALLED, True, refused.reason, refused.message))
    return (*made, *it.storage.pressure)


def status_of(it: Situation) -> dict[str, object]:
    """Its status, without the conditions."""
    members = it.seen.members
    selector = it.view.owner.selector(names.COMPONENT)
    status = DatabaseReplicaStatus(
        replicas=len(members),
        ready_replicas=sum(each.ready for each in members),
        selector=",".join(f"{key}={value}" for key, value in selector.items()),
        pooler_ready_replicas=it.pooler.ready if it.spec.pooler.replicas else None,
        primary=it.seen.leader,
        zones=len({each.zone for each in members if each.ready and each.zone}),
        declared_once=it.declared.ever or None,
        last_failover=it.seen.last_failover,
        members=[each.model_copy(update={"trouble": it.repairs.troubles.get(each.name)}) for each in members],
        repairs=list(it.repairs.done),
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})
