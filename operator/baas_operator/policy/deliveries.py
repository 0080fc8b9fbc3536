"""Whether webhooks are delivered and outboxes relayed, as conditions beside `Ready`: an endpoint that is broken is no fault of the queue.

They turn for what lasts, and not for an attempt that failed. A webhook counts as failing once nothing was taken for so long, whichever
dispatcher tried; they note that together (dispatcher/endpoint.py), so it outlives each of them, and the first message that is taken ends
it. While nobody can tell, what was told last stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from baas_operator.api.kinds import POD
from baas_operator.api.queue import EndpointState, EventQueueSpec, OutboxState, WebhookStatus
from baas_operator.desired.queue import names
from baas_operator.observe.conditions import OUTBOXES_RELAYING, WEBHOOKS_DELIVERING, Condition, find
from baas_operator.observe.dispatchers import DispatcherReport, OutboxReport, outbox_statuses, webhook_statuses
from baas_operator.observe.moments import read_time
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, is_ready, trouble
from baas_operator.policy.plan import Finding

OPEN_SECONDS = 120.0
"""So long nothing was taken, where the circuit is open: dispatchers note after one minute that nothing was, and take it back within seconds
where others of them are well."""
FAILING_SECONDS = 600.0
"""The same where it is not, as with answers that are no 5xx: by then the second retry was made, by the schedule that is the default."""
UNHEARD_SECONDS = 60.0
"""An election of JetStream takes seconds."""
OUTBOX_SECONDS = 60.0
"""A failover of the database takes seconds."""
_MOST_NAMES = 10


def deliveries(spec: EventQueueSpec, view: View, said: Sequence[DispatcherReport]) -> list[Condition]:
    """The conditions of what is declared."""
    made = []
    if spec.webhooks:
        made.append(_condition(WEBHOOKS_DELIVERING, view, said, _webhooks(spec, view, said)))
    if spec.outboxes:
        made.append(_condition(OUTBOXES_RELAYING, view, said, _outboxes(spec, view, said)))
    return made


@dataclass(frozen=True)
class _Told:
    """What follows from what dispatchers say. `well`: None where that is nothing yet; `passes`: it is to be told in a moment again."""

    well: bool | None
    why: Finding
    passes: bool = False


def _condition(kind: str, view: View, said: Sequence[DispatcherReport], told: _Told) -> Condition:
    pods = list(view.all(POD, names.DISPATCHER))
    if not any(map(is_ready, pods)):
        why = next((text for pod in pods if (text := trouble(pod))), "")
        away = Finding("NoDispatcher", f"No dispatcher is ready, so nothing is delivered or relayed; nothing is lost meanwhile. {why}")
        return Condition(kind, False, away.reason, away.message)
    before = find(view.resource, kind)
    if before and before["reason"] != "NoDispatcher" and (told.passes or not said):
        return Condition(kind, {"True": True, "False": False}.get(before["status"]), before["reason"], before["message"])
    return Condition(kind, told.well if said else None, told.why.reason, told.why.message)


# --- webhooks -------------------------------------------------------------------------------------------------------------


def _webhooks(spec: EventQueueSpec, view: View, said: Sequence[DispatcherReport]) -> _Told:
    enabled = [each for each in spec.webhooks if each.enabled]
    states = {each.name: each for each in webhook_statuses(enabled, said)}
    wrong = {name: why for name, state in states.items() if (why := _wrong(state, view, said))}
    if wrong:
        worst = min(wrong, key=lambda name: _REASONS.index(wrong[name].reason))
        others = _listed(each for each in wrong if each != worst)
        more = f" Nor are these delivered, as status.webhooks says: {others}." if others else ""
        return _Told(False, Finding(wrong[worst].reason, f"{wrong[worst].message}{more}"))
    if missing := [each.name for each in enabled if each.name not in states]:
        return _Told(None, Finding("WebhookStarting", f"The dispatchers have not heard of these webhooks yet: {_listed(missing)}."))
    paused = len(spec.webhooks) - len(enabled)
    rest = f"; {counted(paused, 'other')} {are(paused)} paused" if paused else ""
    return _Told(True, Finding("Delivering", f"{counted(len(enabled), 'webhook')} {are(len(enabled))} delivered{rest}."))


_REASONS = ("WebhookDisabled", "WebhookMisconfigured", "WebhookFailing", "WebhookUnheard")
"""What somebody has to act on first, first."""


def misconfigured(state: WebhookStatus) -> Finding | None:
    """Why a webhook can not be delivered as the spec and its Secrets have it: no endpoint disabled it, as there is no time of that."""
    if state.state is not EndpointState.DISABLED or state.disabled_at is not None:
        return None
    why = (state.reason or "it fails").rstrip(".")
    return Finding("WebhookMisconfigured", f"Webhook {state.name}: {why}. It goes on by itself once that is put right.")


def _wrong(state: WebhookStatus, view: View, said: Sequence[DispatcherReport]) -> Finding | None:
    why = (state.reason or "it fails").rstrip(".")
    if state.state is EndpointState.DISABLED:
        if wrong := misconfigured(state):
            return wrong
        return Finding(
            "WebhookDisabled",
            f"Webhook {state.name} is disabled: {why}. Once its endpoint works, enable it: kubectl baas webhook enable {view.owner.name} "
            f"{state.name} -n {view.owner.namespace}.",
        )
    since = read_time(state.failing_since)
    limit = OPEN_SECONDS if state.state in (EndpointState.OPEN, EndpointState.HALF_OPEN) else FAILING_SECONDS
    if since and (view.now - since).total_seconds() >= limit:
        return Finding(
            "WebhookFailing",
            f"The endpoint of webhook {state.name} has taken nothing since {state.failing_since}: {why}. It is tried again by itself; see "
            "to the endpoint.",
        )
    unheard = [each.unheard_seconds or 0.0 for report in said for each in report.webhooks if each.name == state.name]
    if min(unheard, default=0.0) >= UNHEARD_SECONDS:
        return Finding("WebhookUnheard", f"Webhook {state.name}: {why}. Nothing is delivered until that is put right.")
    return None


# --- outboxes -------------------------------------------------------------------------------------------------------------


def _outboxes(spec: EventQueueSpec, view: View, said: Sequence[DispatcherReport]) -> _Told:
    reasons = {each.name: each.reason for each in outbox_statuses(spec.outboxes, said)}
    wells = {each.name: _well([one for report in said for one in report.outboxes if one.name == each.name]) for each in spec.outboxes}
    failing = [name for name, well in wells.items() if well is False]
    if failing:
        why = (reasons.get(failing[0]) or "it fails").rstrip(".")
        others = _listed(failing[1:])
        more = f" Nor are these relayed: {others}." if others else ""
        return _Told(
            False, Finding("OutboxFailing", f"Outbox {failing[0]}: {why}. Its rows wait in the table until that is put right.{more}")
        )
    if starting := [name for name, well in wells.items() if well is None]:
        why_not = Finding("OutboxStarting", f"No dispatcher relays these outboxes yet: {_listed(starting)}.")
        before = (view.resource.get("status") or {}).get("outboxes") or []
        begun = {each["name"] for each in before if each["state"] != OutboxState.STARTING}
        return _Told(None, why_not, passes=begun.issuperset(starting))  # one dispatcher hands it to another
    return _Told(True, Finding("Relaying", f"{counted(len(wells), 'outbox', 'outboxes')} {are(len(wells))} relayed."))


def _well(found: Sequence[OutboxReport]) -> bool | None:
    """Whether rows of an outbox become messages; None while that is not to be told."""
    relaying = [each for each in found if each.state == "relaying"]
    if any(each.progress for each in relaying):
        return True
    if any(each.backlog and each.oldest_seconds >= OUTBOX_SECONDS for each in relaying):
        return False
    failing = [each for each in found if each.state == "failing"]
    if not relaying and any((each.failing_seconds or 0.0) >= OUTBOX_SECONDS for each in failing):
        return False
    return None


def _listed(found: Iterable[str]) -> str:
    known = sorted(found)
    return ", ".join(known[:_MOST_NAMES]) + (f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else "")
