"""A member that does not come back by itself is copied anew from the primary, where that can cost nothing that was acknowledged.

Patroni mends most: it starts what crashed, and rewinds what diverged. What stays is a standby whose data is unusable (`NotStarting`), one
that can not follow any more, as the primary has thrown away the log that it lacks (`NotFollowing`), and one whose volume went with its node
(`NodeGone`). To copy it anew is to throw its data away, so it must be worthless:

- The log is one line, and who streams at a later position has everything before it. So what this member ever confirmed is on the primary,
  and on another standby that streams and is past it: with the primary gone as well a moment later, nothing acknowledged is. Without such
  another, only data that PostgreSQL can not start with is given up, on the word of a primary that works.
- Patroni must have struck it off the synchronous standbys: who has a vote in the election of a primary has to have what it voted with.
- The primary has let it log in, just now, to stream: not the network, its certificate or pg_hba is what keeps it from following, and what
  would keep it from copying. Its own agent tries that, and tells.
- Nothing else goes on: no member is on its way, none is rolled, none copied.

What is to be done is written down first (`status.repairs`) and done by a later look, so that whatever the operator dies over, no member is
copied more often than the rate says. A member that streams is never touched, nor one that starts: its recovery may take its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from baas_operator.api.database import DatabaseReplicaSpec, Durability, Reclone, Repaired, Trouble
from baas_operator.observe.database import COPYING, DatabaseObservation
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.report import Room
from baas_operator.observe.view import View
from baas_operator.observe.vitals import Vitals
from baas_operator.policy import plan
from baas_operator.policy.plan import DeletePod, Effect, Finding, ReplaceVolume
from baas_operator.policy.trouble import NODE_GONE, NOT_FOLLOWING, NOT_STARTING, SEGMENT_BYTES, find_troubles, read_noted

_ON_ITS_WAY = ("stopping", "starting", "unknown")
AGAIN = timedelta(minutes=30)
"""What copying did not put right, copying again at once will not either."""
PER_HOUR = 3
DONE_WITHIN = timedelta(minutes=5)
"""For so long is tried what was written down: Patroni refuses while it is busy with something else."""
_KEPT = 10


@dataclass(frozen=True)
class Repairs:
    """What is to be done now, if anything; for the status, what the members do not get over, and what was done for them. `announced`: it is
    to be written down, and the next look does it."""

    troubles: Mapping[str, Trouble]
    done: tuple[Repaired, ...] = ()
    effects: tuple[Effect, ...] = ()
    told: Finding | None = None
    announced: bool = False


@dataclass(frozen=True)
class _Case:
    spec: DatabaseReplicaSpec
    view: View
    seen: DatabaseObservation
    members: Sequence[Vitals]
    done: tuple[Repaired, ...]
    rolling: bool
    pending: bool

    @property
    def now(self) -> datetime:
        return self.view.now

    @property
    def primary(self) -> Vitals | None:
        return next((each for each in self.members if self.seen.primary and each.name == self.seen.primary.name), None)


def repair(
    spec: DatabaseReplicaSpec, view: View, seen: DatabaseObservation, members: Sequence[Vitals], *, rolling: bool, pending: bool
) -> Repairs:
    """Judge the members. `rolling`: a step of a rolling update is taken now; `pending`: parameters wait for a start somewhere."""
    before = (view.resource.get("status") or {}).get("members") or []
    troubles = find_troubles(members, seen, {each["name"]: each.get("trouble") for each in before if "name" in each}, view.now)
    done = tuple(filter(None, (read_noted(Repaired, each) for each in (view.resource.get("status") or {}).get("repairs") or [])))
    case = _Case(spec, view, seen, members, done, rolling, pending)
    patience = timedelta(minutes=spec.repair.after_minutes)
    long = [
        each for each in members
        if (trouble := troubles.get(each.name)) and not each.streams and each.state != "starting"
        and view.now - to_time(trouble.since) >= patience
    ]  # fmt: skip
    if not long:
        return Repairs(troubles, done, _half_replaced(case), told=_copying(case))
    blocked = {each.name: _hindrance(case, each, troubles[each.name]) for each in long}
    if member := next((each for each in long if not blocked[each.name]), None):
        return _act(case, member, troubles)
    first = long[0]
    told = _copying(case) or Finding("MemberStuck", f"{_described(first, troubles[first.name])} {blocked[first.name]}")
    return Repairs(troubles, done, told=told)


# --- whether it may be copied anew ---------------------------------------------------------------------------------------------------


def _hindrance(case: _Case, member: Vitals, trouble: Trouble) -> str:
    """Why it may not be copied anew now, as a sentence; empty if it may."""
    if case.spec.repair.reclone is Reclone.NEVER:
        return "spec.repair.reclone is Never, so it is left to you."
    if case.primary is None or not case.primary.ready or not case.seen.routed_to_leader:
        return "It is copied anew once there is a primary that works."
    if trouble.reason == NODE_GONE and _tried(case, member):
        return "That was tried, and its volume may be whole: see why the pod has no place. Delete the pod to have it tried again."
    if wait := _others(case, member):
        return f"It is copied anew once {wait}."
    if wait := _rate(case, member, trouble):
        return f"It is copied anew {wait}."
    return _worth(case, member, trouble)


def _tried(case: _Case, member: Vitals) -> bool:
    """Whether its volume was to be replaced since this very pod is there: it would have gone with it, were the volume tied to that node."""
    tried = [to_time(each.at) for each in case.done if each.member == member.name and each.reason == NODE_GONE and each.at > member.created]
    return any(case.now - each >= DONE_WITHIN for each in tried)


def _others(case: _Case, member: Vitals) -> str:
    if len(case.members) != case.spec.replicas:
        return f"there are {case.spec.replicas} members"
    if going := [each.name for each in case.members if each.goes]:
        return f"{going[0]} is gone and back"
    if copied := [each.name for each in case.members if each is not member and each.state == COPYING and each.runs]:
        return f"{copied[0]} is copied"
    streaming = {each.name for each in case.members if each.streams}
    begun = [each.member for each in case.done if case.now - to_time(each.at) < DONE_WITHIN]
    if busy := [each for each in begun if each != member.name and each not in streaming]:
        return f"{busy[0]} is copied"
    return "the rolling update has taken its step" if case.rolling else ""


def _announced(case: _Case, member: Vitals, trouble: Trouble) -> bool:
    """Whether it was written down moments ago that this is to be done: for this trouble, not for one before it."""
    return any(
        each.member == member.name and to_time(trouble.since) <= to_time(each.at) and case.now - to_time(each.at) < DONE_WITHIN
        for each in case.done
    )


def _rate(case: _Case, member: Vitals, trouble: Trouble) -> str:
    """When it may be, if not now. What was announced moments ago is what the rate allowed."""
    if _announced(case, member, trouble):
        return ""
    last = max((to_time(each.at) for each in case.done if each.member == member.name), default=None)
    if last is not None and case.now - last < AGAIN:
        return f"after {to_text(last + AGAIN)}, if it has not come back by then: it was copied at {to_text(last)}"
    lately = sorted(to_time(each.at) for each in case.done if case.now - to_time(each.at) < timedelta(hours=1))
    if len(lately) >= PER_HOUR:
        return f"after {to_text(lately[-PER_HOUR] + timedelta(hours=1))}: {len(lately)} were in the last hour"
    return ""


def _worth(case: _Case, member: Vitals, trouble: Trouble) -> str:
    """Why its data may be worth something yet, or a copy of the primary would not get over what keeps it from working."""
    if member.name in case.seen.sync_standbys:
        return "It is copied anew once Patroni has struck it off the synchronous standbys."
    if trouble.reason != NODE_GONE and member.report.admitted is not True:
        return "It is not copied anew, as the primary has not let it log in: look at the network between them, and at its log."
    if trouble.reason == NOT_STARTING:
        primary = case.primary
        rolls = case.pending or (primary and member.revision != primary.revision)
        if rolls and not _is_elsewhere(case, member, trouble):
            return "It is not copied anew while a rolling update goes on, which may be what it does not start with: mend the spec."
        if member.report.volume and member.report.volume.room <= Room.SCARCE:
            return "It is not copied anew, as its volume is full: make spec.storage.size larger."
    if not _is_elsewhere(case, member, trouble) and trouble.reason != NOT_STARTING:
        return (
            "It is not copied anew, as no other standby that streams has what it has: should the primary be lost meanwhile, it would be "
            f"all that is left. If it is to be given up all the same, delete the volume claim data-{member.name} and the pod."
        )
    return ""


def _is_elsewhere(case: _Case, member: Vitals, trouble: Trouble) -> bool:
    """Whether another standby has all that this one can have confirmed; in another zone than the primary, where commits wait for that."""
    zones = {each.name: each.zone for each in case.seen.members}
    primary = case.primary.name if case.primary else None
    for each in case.members:
        if each.name in (member.name, primary) or not each.ready or not each.streams or each.goes or each.position is None:
            continue
        if each.position < max(trouble.position or 0, (case.seen.position or 0) - SEGMENT_BYTES):
            continue
        if case.spec.durability is not Durability.ASYNC and each.name not in case.seen.sync_standbys:
            continue
        if case.spec.durability is not Durability.ZONE_QUORUM or (zones.get(each.name) and zones[each.name] != zones.get(primary or "")):
            return True
    return False


# --- what is done ------------------------------------------------------------------------------------------------------------------


def _act(case: _Case, member: Vitals, troubles: Mapping[str, Trouble]) -> Repairs:
    trouble = troubles[member.name]
    told = Finding("Repairing", f"{_described(member, trouble)} It is copied anew from the primary {case.seen.leader} now.")
    if not _announced(case, member, trouble):
        record = Repaired(member=member.name, reason=trouble.reason, at=to_text(case.now))
        return Repairs(troubles, (*case.done, record)[-_KEPT:], told=told, announced=True)
    effect = _replacement(member) if trouble.reason == NODE_GONE else plan.Reclone(member.name, member.ip or "")
    return Repairs(troubles, case.done, (effect,), told)


def _replacement(member: Vitals) -> ReplaceVolume:
    claim = (member.claim or {}).get("metadata") or {}
    return ReplaceVolume(member.name, member.uid, claim.get("name", ""), claim.get("uid", ""), member.lost_node or "")


def _half_replaced(case: _Case) -> tuple[DeletePod, ...]:
    """The pod whose claim is deleted already, should it have come to that and no further."""
    lost = {each.member: each.at for each in case.done if each.reason == NODE_GONE and case.now - to_time(each.at) < DONE_WITHIN}
    return tuple(
        DeletePod(each.name, each.uid) for each in case.members
        if not each.placed and not each.goes and each.claim is None and "" < each.created < lost.get(each.name, "")
    )  # fmt: skip


def _copying(case: _Case) -> Finding | None:
    """A copy that is on its way after a repair."""
    for record in reversed(case.done):
        member = next((each for each in case.members if each.name == record.member), None)
        if (
            member
            and not member.streams
            and member.name != case.seen.leader
            and (member.state == COPYING or (member.state in _ON_ITS_WAY and case.now - to_time(record.at) < AGAIN))
        ):
            return Finding("Repairing", f"{member.name} ({record.reason}) is copied anew from the primary, since {record.at}.")
    return None


def _described(member: Vitals, trouble: Trouble) -> str:
    what = {
        NOT_STARTING: "its PostgreSQL does not start",
        NOT_FOLLOWING: "it has come no further in the primary's log",
        NODE_GONE: f"its volume was on node {member.lost_node}, which is gone",
    }
    return f"{member.name}: {what[trouble.reason]}, since {trouble.since}."
