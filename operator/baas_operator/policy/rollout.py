"""A rolling update of a database: which member is made anew next, one at a time, standbys first, the primary last.

The StatefulSet replaces no pod by itself (`OnDelete`): it would go by number and meet the primary in the middle, once more after each
move. A pod that goes takes its own leave (`agent/retire.py`): when the primary's turn comes, it switches over first.

What PostgreSQL takes in only at its start is rolled as well: Patroni notes on a member's pod which parameters wait for that. Some of
them a standby must not have lower than its primary has them, and keeps the primary's value until then (PostgreSQL manual, "Hot Standby",
"Administrator's Overview"): where they are lowered, the primary is restarted first, in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec, Durability, Member
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.observe.database import COPYING, DatabaseObservation, waits_for_restart
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import is_ready
from baas_operator.policy.plan import DeletePod, Effect, Finding, RestartPostgres

REVISION_LABEL = "controller-revision-hash"
ROLLING_OUT = "RollingOut"
_NOT_LOWER_THAN_THE_PRIMARY = frozenset(
    {"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"}
)
_PASSING = (None, "ContainerCreating", "PodInitializing", "CrashLoopBackOff")
"""Why a container waits that will be started as it is; an image that is not to be had, or a Secret, is no such reason."""

_NOTED_SECONDS = 5.0
"""Within these every member's Patroni has noted that a parameter waits (its loop of 2 s, and a second after a reload). Before, who has not
looks like one that is done, and the wrong member would go first."""


@dataclass(frozen=True)
class Rollout:
    """What is to be done now, if anything, and what to tell while it is not over. `again_seconds`: when to look again, where nothing else
    tells of it."""

    effects: tuple[Effect, ...] = ()
    told: Finding | None = None
    again_seconds: float | None = None


@dataclass(frozen=True)
class _Pod:
    manifest: Manifest
    revision: str
    member: Member | None

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def goes(self) -> bool:
        return bool(self.manifest["metadata"].get("deletionTimestamp"))

    @property
    def outdated(self) -> bool:
        labels = self.manifest["metadata"].get("labels") or {}
        return labels.get(REVISION_LABEL) not in (None, self.revision)

    @property
    def can_not_run(self) -> bool:
        """Whether PostgreSQL does not run and can not be started as its pod is, or never was."""
        status = self.manifest.get("status") or {}
        postgres: Manifest = next((each for each in status.get("containerStatuses") or [] if each.get("name") == "postgres"), {})
        state = postgres.get("state") or {}
        if "running" in state:
            return False
        states = [state, *(each.get("state") or {} for each in status.get("initContainerStatuses") or [])]
        if any((each.get("waiting") or {}).get("reason") not in _PASSING for each in states):
            return True
        return "terminated" not in state and not postgres.get("lastState")

    @property
    def waiting(self) -> Mapping[str, Any]:
        """Parameters that wait for a restart: name -> whether it is lowered below what a standby may have."""
        return {
            name: name in _NOT_LOWER_THAN_THE_PRIMARY and _lower(values)
            for name, values in waits_for_restart(self.manifest).items()
        }  # fmt: skip


def _lower(values: object) -> bool:
    try:
        return isinstance(values, dict) and int(values["new_value"]) < int(values["old_value"])
    except (KeyError, TypeError, ValueError):
        return False


def roll_out(
    spec: DatabaseReplicaSpec, workload: Manifest | None, pods: Sequence[Manifest], seen: DatabaseObservation, *, noted_seconds: float
) -> Rollout:
    """The next step, from what is there now. It is forgotten if the operator dies over it: the next look finds the same.

    `noted_seconds`: how long it has been known that a parameter waits.
    """
    revision = _revision(workload)
    if revision is None:
        return Rollout()
    members = {each.name: each for each in seen.members}
    found = [_Pod(each, revision, members.get(each["metadata"]["name"])) for each in pods]
    due = [each for each in found if each.outdated or each.waiting]
    if not due:
        return Rollout()
    if noted_seconds < _NOTED_SECONDS and not any(each.outdated for each in due):
        told = _told(found, due, "It begins once every member has noted that.")
        return Rollout(told=told, again_seconds=_NOTED_SECONDS - noted_seconds)
    if not (effect := _step(spec, found, seen)):
        return Rollout(told=_told(found, due, f"It goes on once {_hindrance(spec, found, seen)}."))
    what = f"{effect.name} is made anew now." if isinstance(effect, DeletePod) else f"{effect.name} is restarted in its place."
    return Rollout((effect,), _told(found, due, what))


def _revision(workload: Manifest | None) -> str | None:
    """The template that pods should be made from, once the StatefulSet's controller has seen it."""
    status = (workload or {}).get("status") or {}
    if workload is None or status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return None
    return status.get("updateRevision") or None


def _told(found: list[_Pod], due: list[_Pod], more: str) -> Finding:
    done = len(found) - len(due)
    parameters = sorted({name for each in due for name in each.waiting})
    why = f" {', '.join(parameters)} {'takes' if len(parameters) == 1 else 'take'} effect with a start." if parameters else ""
    return Finding(ROLLING_OUT, f"{done} of {counted(len(found), 'member')} {are(done)} as the spec says.{why} {more}")


def _step(spec: DatabaseReplicaSpec, found: list[_Pod], seen: DatabaseObservation) -> DeletePod | RestartPostgres | None:
    leader = seen.leader
    broken = [
        each for each in found
        if each.outdated and not is_ready(each.manifest) and not each.goes and each.name != leader
        and not (each.member and each.member.state == COPYING)  # which would begin anew
    ]  # fmt: skip
    well = [each for each in found if is_ready(each.manifest)]
    if broken and len(well) == len(found) - 1 and len(found) == spec.replicas:
        return _replaced(broken[0])  # what does not work can not be harmed, and may be what the new template puts right
    # However many they are: there is nothing in such a pod that could be ended, and its volume stays. While nobody leads, the others
    # confirm nothing either (before anybody ever has, one may be making the database). Else one may be on its way back to be of use.
    leaderless = leader is None and bool(seen.transitions or seen.dynamic_config)
    for each in broken:
        if leaderless or each.can_not_run:
            return _replaced(each)
    if _hindrance(spec, found, seen):
        return None
    primary = next(each for each in found if each.name == leader)
    standbys = sorted((each for each in found if each is not primary), key=lambda each: -names.ordinal(each.name))
    if outdated := [each for each in standbys if each.outdated]:
        return _replaced(outdated[0])
    lowered = any(primary.waiting.values())
    if lowered and not primary.outdated and seen.leader_endpoint:
        return RestartPostgres(primary.name, seen.leader_endpoint.ip)
    for each in standbys:
        if any(not lower or not lowered for lower in each.waiting.values()):
            return _replaced(each)
    return _replaced(primary) if primary.outdated or primary.waiting else None


def _replaced(pod: _Pod) -> DeletePod:
    return DeletePod(pod.name, pod.manifest["metadata"]["uid"])


def _hindrance(spec: DatabaseReplicaSpec, found: list[_Pod], seen: DatabaseObservation) -> str:
    """Why no member that works may go now; empty if one may."""
    if len(found) != spec.replicas:
        return f"there are {spec.replicas} members"
    if gone := [each.name for each in found if each.goes]:
        return f"{gone[0]} is gone and back"
    if unready := [each.name for each in found if not is_ready(each.manifest)]:
        return f"{unready[0]} is ready"
    if seen.primary is None or not seen.routed_to_leader:
        return "there is a primary"
    for each in found:
        if each.member is not None and each.name != seen.leader and (why := behind(spec, each.member, seen)):
            return why
    return ""


def behind(spec: DatabaseReplicaSpec, standby: Member, seen: DatabaseObservation) -> str:
    """What a standby has not done yet that makes up for another member; empty if it has."""
    if standby.state != "streaming" or (standby.lag_bytes or 0) > names.MAX_LAG_BYTES:
        return f"{standby.name} has caught up"
    if spec.durability is not Durability.ASYNC and standby.name not in seen.sync_standbys:
        return f"{standby.name} confirms commits"
    return ""
