"""How many pods a worker has that scales with its backlog.

It scales with what waits for its consumer, up at once and down a pod a minute: what a burst has left is mostly followed by another,
and each start costs what the program takes to start. When that number last changed is noted on its Deployment, so that an operator that
comes anew goes on where the other was. No adapter of Kubernetes' external metrics is needed for it: the queue's own status has the backlog.
"""

from __future__ import annotations

from baas_operator.api.instance.programs import BacklogScaling, Worker
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.instance.programs import SCALED_ANNOTATION, Scaled, worker_start
from baas_operator.desired.meta import Manifest
from baas_operator.observe.moments import read_time, to_text
from baas_operator.observe.view import View

STEP_DOWN_SECONDS = 60.0
"""A worker loses no more than one pod in so long."""


def wanted_workers(scaling: BacklogScaling, *, waiting: int | None, now: int, since_seconds: float | None) -> int:
    """How many pods there should be. `waiting`: messages that wait or are under way, None while that is not known; `now`: how many there
    are to be so far; `since_seconds`: for how long, None for ever. The last one goes when nothing waits, and so nothing is in its hands;
    another when there is half a pod's share less than those that stay have room for, so that a backlog that stays near a step starts and
    ends nothing."""
    kept = min(max(now, scaling.min_replicas), scaling.max_replicas)
    if waiting is None:
        return kept
    share = scaling.backlog_per_replica
    wanted = min(max(-(-waiting // share), scaling.min_replicas), scaling.max_replicas)
    if wanted >= kept:
        return wanted
    settled = since_seconds is None or since_seconds >= STEP_DOWN_SECONDS
    spare = waiting == 0 if kept == 1 else 2 * waiting <= (2 * (kept - 1) - 1) * share
    return kept - 1 if settled and spare else kept


def scaled_workers(
    spec: BaasInstanceSpec, view: View, waiting: int | None, worker: Worker, workload: Manifest | None
) -> tuple[Scaled | None, float | None]:
    """Pods of a worker that scales, and in how many seconds there may be one less."""
    scaling, now = worker.autoscaling, to_text(view.now)
    if scaling is None or spec.hibernate:
        return None, None
    if workload is None:
        return Scaled(worker_start(worker), now), None
    have = int(workload["spec"].get("replicas", 1))
    noted = (workload["metadata"].get("annotations") or {}).get(SCALED_ANNOTATION)
    changed = read_time(noted)
    since = (view.now - changed).total_seconds() if changed else None
    wanted = wanted_workers(scaling, waiting=waiting, now=have, since_seconds=since)
    if wanted != have or noted is None or changed is None:
        noted, since = now, 0.0
    fewer = wanted_workers(scaling, waiting=waiting, now=wanted, since_seconds=None) < wanted
    return Scaled(wanted, noted), max(STEP_DOWN_SECONDS - (since or 0.0), 1.0) if fewer else None
