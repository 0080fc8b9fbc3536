"""A server whose volume went with its node gets a new one, where that can cost nothing that was acknowledged (why, and what was measured:
docs/decisions/queue-membership.md).

A server of the same name is the same member of its groups, whatever is on its disk. So with an empty one it has forgotten what it
acknowledged, and each group has one copy less than it counts. That is safe if, at that moment, all other members of each group are level
with a leader among them: every message that was acknowledged is then on all of them, and whoever is elected afterwards needs the vote of
one of them, which it only gets with a log as good as that one's. NATS itself takes an empty server's vote for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import find
from baas_operator.observe.moments import read_time
from baas_operator.observe.queue import QueueObservation
from baas_operator.observe.view import View
from baas_operator.observe.vitals import Vitals, vitals_of
from baas_operator.policy.plan import DeletePod, Finding, ReplaceVolume
from baas_operator.policy.queue.settled import unsettled

PATIENCE_SECONDS = 300.0
"""For so long a pod has had no place: a node that is made anew under its old name may bring the volume back."""


@dataclass(frozen=True)
class Repair:
    """What is done now, if anything, and what to tell."""

    effect: ReplaceVolume | DeletePod | None = None
    told: Finding | None = None


def repair(view: View, pods: Sequence[Manifest], seen: QueueObservation, *, servers: int) -> Repair:
    """Judge the servers that have no place. One at a time: the next one only once the one before is ready and level."""
    members = [vitals_of(view, each) for each in pods]
    for each in members:
        if not each.placed and not each.goes and each.claim is None:
            # Claims are made before their pods: this one's was deleted, here, and then it went no further.
            return Repair(DeletePod(each.name, each.uid), Finding("Repairing", f"{each.name} is made anew, with a new volume."))
    lost = next((each for each in members if each.lost_node), None)
    if lost is None:
        return Repair()
    what = f"The volume of {lost.name} was on node {lost.lost_node}, which is gone."
    if wait := _hindrance(view, pods, seen, lost, servers):
        return Repair(told=Finding("ServerStuck", f"{what} {wait}"))
    if _young(view, pods, lost):
        soon = f"It gets a new one when its pod has had no place for {PATIENCE_SECONDS:.0f} s."
        return Repair(told=Finding("Repairing", f"{what} {soon}"))
    claim = (lost.claim or {}).get("metadata") or {}
    effect = ReplaceVolume(lost.name, lost.uid, claim.get("name", ""), claim.get("uid", ""), lost.lost_node or "")
    return Repair(effect, Finding("Repairing", f"{what} It gets a new one, which is filled from the other servers."))


def _hindrance(view: View, pods: Sequence[Manifest], seen: QueueObservation, lost: Vitals, servers: int) -> str:
    """Why it may not have a new volume now, as a sentence; empty if it may."""
    by_hand = f"If it is to be given up, delete the volume claim data-{lost.name} and the pod."
    if servers < 3:
        return f"There is no other server that has what it had. {by_hand}"
    if wait := unsettled(view, pods, seen, servers=servers, without=(lost.name,)):
        return f"It gets a new one once {wait}: until then it may have what no other server has. {by_hand}"
    assert seen.jetstream is not None
    for what, _, _, group in seen.jetstream.groups():
        if group.servers() == [lost.name] or group.leader == lost.name:
            return f"It had the only copy of {what}, so it is left to you. {by_hand}"
    return ""


def _young(view: View, pods: Sequence[Manifest], lost: Vitals) -> bool:
    """Whether its pod has had no place for a short time only."""
    pod = next(each for each in pods if each["metadata"]["name"] == lost.name)
    since = read_time((find(pod, "PodScheduled") or {}).get("lastTransitionTime"))
    return since is not None and (view.now - since).total_seconds() < PATIENCE_SECONDS
