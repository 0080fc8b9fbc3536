"""A rolling update of a queue: which server is made anew next, one at a time, those that lead least first, JetStream's own leader last.

The StatefulSet replaces no pod by itself (`OnDelete`). A server that goes hands over what it leads (its agent does, before it stops), so
who leads least costs least, and what moves away from the first is not moved again by the second. None goes unless all is at rest
(settled.py): with one of three away, each message is acknowledged by two, and both must be good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baas_operator.desired.meta import Manifest
from baas_operator.observe.queue import QueueObservation
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, is_ready
from baas_operator.policy.plan import DeletePod, Finding
from baas_operator.policy.queue.settled import unsettled
from baas_operator.policy.rollout import REVISION_LABEL, ROLLING_OUT

_PASSING = (None, "ContainerCreating", "PodInitializing", "CrashLoopBackOff")
"""Why a container waits that will be started as it is; an image that is not to be had is no such reason."""


@dataclass(frozen=True)
class Rollout:
    """What is to be done now, if anything, and what to tell while it is not over."""

    effect: DeletePod | None = None
    told: Finding | None = None


def roll_out(view: View, workload: Manifest | None, pods: Sequence[Manifest], seen: QueueObservation, *, servers: int) -> Rollout:
    """The next step, from what is there now. It is forgotten if the operator dies over it: the next look finds the same."""
    if workload is None:
        return Rollout()
    by_itself = (workload.get("spec") or {}).get("updateStrategy", {}).get("type") != "OnDelete"
    due = _outdated(workload, pods)
    if by_itself or not due:
        return Rollout()
    chosen = _broken(due, pods, servers)
    wait = "" if chosen or servers == 1 else unsettled(view, pods, seen, servers=servers)
    if chosen is None and not wait:
        chosen = min(due, key=lambda each: _weight(str(each["metadata"]["name"]), seen))
    if chosen is not None and chosen["metadata"].get("deletionTimestamp"):
        wait = f"{chosen['metadata']['name']} is gone and back"
        chosen = None
    done = len(pods) - len(due)
    said = f"{done} of {counted(len(pods), 'server')} {are(done)} as the spec says."
    if chosen is None:
        return Rollout(told=Finding(ROLLING_OUT, f"{said} It goes on once {wait}."))
    name = str(chosen["metadata"]["name"])
    return Rollout(DeletePod(name, chosen["metadata"]["uid"]), Finding(ROLLING_OUT, f"{said} {name} is made anew now."))


def _outdated(workload: Manifest, pods: Sequence[Manifest]) -> list[Manifest] | None:
    """Pods of another revision than the StatefulSet's; None while it has not looked at its template yet."""
    status = workload.get("status") or {}
    revision = status.get("updateRevision")
    if not revision or status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return None
    return [each for each in pods if (each["metadata"].get("labels") or {}).get(REVISION_LABEL) != revision]


def under_way(workload: Manifest | None, pods: Sequence[Manifest]) -> bool:
    """Whether a server runs with an older configuration, or nobody knows. It may not be able to load the new one, with no user of it
    either: a server refuses a file as a whole for what only a start can change (measured on 2.15.2 of `sync_interval`)."""
    return bool(pods) and workload is not None and _outdated(workload, pods) != []


def _broken(due: Sequence[Manifest], pods: Sequence[Manifest], servers: int) -> Manifest | None:
    """One that does not work can not be harmed, and may be what the new template puts right: one that can not run as it is, or the only one
    that is not ready."""
    down = [each for each in due if not is_ready(each) and not each["metadata"].get("deletionTimestamp")]
    well = [each for each in pods if is_ready(each)]
    if down and len(well) == len(pods) - 1 and len(pods) == servers:
        return down[0]
    return next((each for each in down if _can_not_run(each)), None)


def _can_not_run(pod: Manifest) -> bool:
    """Whether its server does not run, and will not as it is. One whose agent alone can not be started still has what others may need."""
    status = pod.get("status") or {}
    if any("running" in (each.get("state") or {}) for each in status.get("containerStatuses") or []):
        return False
    states = [each.get("state") or {} for key in ("initContainerStatuses", "containerStatuses") for each in status.get(key) or []]
    return any((each.get("waiting") or {}).get("reason") not in _PASSING for each in states)


def _weight(name: str, seen: QueueObservation) -> tuple[bool, int, int]:
    state = seen.jetstream
    leads = sum(group.leader == name for *_, group in state.groups()) if state else 0
    return bool(state and state.meta_leader == name), leads, -int(name.rpartition("-")[2])
