"""The dispatchers of an EventQueue: how many there should be, and what is told of their work.

One more is started at once when so many messages more wait, and one at a time goes again: not before half of that has been worked off, so
that a backlog that stays near a step does not start and end pods for ever, and not while any is young, as a burst is often followed by
another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import DATABASE_REPLICA, DEPLOYMENT, POD
from baas_operator.api.queue import EventQueueSpec, OutboxStatus, WebhookStatus
from baas_operator.api.webhooks import Dispatcher
from baas_operator.desired.queue import names
from baas_operator.observe.dispatchers import DispatcherReport, backlog, outbox_statuses, webhook_statuses
from baas_operator.observe.moments import read_time
from baas_operator.observe.view import View
from baas_operator.policy.plan import Scale

YOUNG_SECONDS = 300.0
"""The stabilisation window that Kubernetes' HorizontalPodAutoscaler has by default before it scales down."""


def wanted_dispatchers(spec: Dispatcher, *, waiting: int | None, now: int, youngest_seconds: float | None) -> int:
    """How many there should be. `waiting`: messages that more of them would deliver sooner, None while that is not known; `now`: how many
    there are to be so far; `youngest_seconds`: the age of the youngest pod, None without one."""
    least, most = spec.replicas, max(spec.replicas, spec.max_replicas)
    kept = min(max(now, least), most)
    if waiting is None:
        return kept
    step = spec.backlog_per_replica
    wanted = min(most, least + waiting // step)
    if wanted >= kept:
        return wanted
    young = youngest_seconds is not None and youngest_seconds < YOUNG_SECONDS
    worked_off = 2 * waiting < (2 * (kept - least) - 1) * step
    return kept - 1 if worked_off and not young else kept


def dispatchers_now(spec: EventQueueSpec, view: View) -> int:
    """How many its Deployment is to have now, within what the spec allows. The manifest keeps that; an effect changes it."""
    have = view.child(DEPLOYMENT, names.dispatcher(view.owner.name))
    live = (have or {}).get("spec", {}).get("replicas")
    return wanted_dispatchers(
        spec.dispatcher, waiting=None, now=live if isinstance(live, int) else spec.dispatcher.replicas, youngest_seconds=None
    )  # fmt: skip


def scale_dispatchers(spec: EventQueueSpec, view: View, said: Sequence[DispatcherReport]) -> list[Scale]:
    """What changes their number, if that is due; nothing where there are none or none says anything."""
    have = view.child(DEPLOYMENT, names.dispatcher(view.owner.name))
    if have is None or not said:
        return []
    born = [moment for pod in view.all(POD, names.DISPATCHER) if (moment := read_time(pod["metadata"].get("creationTimestamp")))]
    youngest = (view.now - max(born)).total_seconds() if born else None
    now = dispatchers_now(spec, view)
    wanted = wanted_dispatchers(spec.dispatcher, waiting=backlog(spec.webhooks, said), now=now, youngest_seconds=youngest)
    return [Scale(DEPLOYMENT.name, have["metadata"]["name"], wanted, have["metadata"]["resourceVersion"])] if wanted != now else []


def outboxes_databases(spec: EventQueueSpec, view: View) -> Mapping[str, DatabaseReplicaSpec]:
    """The databases that outboxes name and that are there."""
    found = {}
    for name in {each.database_ref.name for each in spec.outboxes}:
        database = view.others.get((DATABASE_REPLICA.name, name))
        if database is not None:
            found[name] = DatabaseReplicaSpec.stored(database.get("spec"))
    return found


def told_of_webhooks(spec: EventQueueSpec, view: View, said: Sequence[DispatcherReport]) -> list[WebhookStatus]:
    """Their status; while there are dispatchers and none answers, what they told last."""
    if said or not any(view.all(POD, names.DISPATCHER)):
        return webhook_statuses(spec.webhooks, said)
    declared = {each.name for each in spec.webhooks}
    return [WebhookStatus.stored(each) for each in _before(view, "webhooks") if each.get("name") in declared]


def told_of_outboxes(spec: EventQueueSpec, view: View, said: Sequence[DispatcherReport]) -> list[OutboxStatus]:
    """As above, of outboxes."""
    if said or not any(view.all(POD, names.DISPATCHER)):
        return outbox_statuses(spec.outboxes, said)
    declared = {each.name for each in spec.outboxes}
    return [OutboxStatus.stored(each) for each in _before(view, "outboxes") if each.get("name") in declared]


def _before(view: View, what: str) -> Sequence[Mapping[str, object]]:
    return (view.resource.get("status") or {}).get(what) or []
