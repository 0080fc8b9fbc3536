"""What dispatchers say of themselves, and what follows from all of it together.

Each dispatcher sees its own attempts alone, has a breaker of its own, and learns within seconds what others noted of an endpoint. What
waits is the consumer's, and the same whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import ApiModel
from baas_operator.api.queue import EndpointState, OutboxState, OutboxStatus, WebhookStatus
from baas_operator.api.webhooks import OrderBy, Outbox, Webhook
from baas_operator.observe.latency import added, percentile

_LENIENT = ConfigDict(extra="ignore")
"""During a roll-out those who say it and who reads it are of different versions."""
_WORST = (EndpointState.DISABLED, EndpointState.OPEN, EndpointState.HALF_OPEN, EndpointState.CLOSED, EndpointState.PAUSED)


class WebhookReport(WebhookStatus):
    """What one dispatcher says of a webhook. Counts are of the last minutes, but for `attempts`."""

    model_config = _LENIENT

    attempts: int = 0
    """Attempts since it started."""
    recent_attempts: int = 0
    recent_taken: int = 0
    latencies: Annotated[dict[Annotated[int, Field(ge=-1000, le=1000)], int], Field(max_length=1000)] = {}
    """How long answers took (observe/latency.py)."""
    held: int = 0
    """Messages in its hands."""
    retrying: int | None = None
    """Of those that are pending, the ones that were delivered before and are under way or wait for another attempt."""
    asked_seconds_ago: float | None = None
    """When it learnt what is pending."""
    unheard_seconds: float | None = None
    """For how long JetStream has refused it what it asks for, or not answered."""


class OutboxReport(ApiModel):
    """What one dispatcher says of an outbox; `state` as the relay has it (outbox/status.py)."""

    model_config = _LENIENT

    name: str
    state: str
    message: str = ""
    backlog: int = 0
    oldest_seconds: float = 0.0
    published: int = 0
    refused: int = 0
    uncertain: int = 0
    progress: bool = True
    """Of one that relays: whether rows become messages, or there are none."""
    failing_seconds: float | None = None
    """For how long it has failed, and no other had the outbox for long meanwhile."""


class DispatcherReport(ApiModel):
    """What a dispatcher says at `/status`."""

    model_config = _LENIENT

    connected: bool = False
    """Whether it is connected to NATS."""
    # No more than can be declared, by far: whatever has a dispatcher's labels may say so many that they take a hundred times the room of
    # the answer.
    webhooks: Annotated[list[WebhookReport], Field(max_length=500)] = []
    outboxes: Annotated[list[OutboxReport], Field(max_length=500)] = []


def _of(name: str, said: Iterable[DispatcherReport]) -> list[WebhookReport]:
    return [each for report in said for each in report.webhooks if each.name == name]


def _freshest(reports: Iterable[WebhookReport]) -> WebhookReport | None:
    known = [each for each in reports if each.pending is not None]
    return min(known, key=lambda each: each.asked_seconds_ago or 0.0, default=None)


def webhook_statuses(declared: Sequence[Webhook], said: Sequence[DispatcherReport]) -> list[WebhookStatus]:
    """The status of each declared webhook that a dispatcher knows of."""
    return [_webhook(each, found) for each in declared if (found := _of(each.name, said))]


def _webhook(webhook: Webhook, found: list[WebhookReport]) -> WebhookStatus:
    """One of which no dispatcher has read yet that it is enabled again is still paused."""
    state = min((each.state for each in found), key=_WORST.index)
    if not webhook.enabled:
        state = EndpointState.PAUSED
    attempts = sum(each.recent_attempts for each in found)
    p95 = percentile(added(each.latencies for each in found), 0.95)
    pending = _freshest(found)
    failures = [each.consecutive_failures for each in found if each.consecutive_failures is not None]
    return WebhookStatus(
        name=webhook.name,
        state=state,
        reason=_reason(state, found),
        disabled_at=min((each.disabled_at for each in found if each.disabled_at), default=None)
        if state is EndpointState.DISABLED
        else None,
        failing_since=min((each.failing_since for each in found if each.failing_since), default=None) if webhook.enabled else None,
        success_rate=round(sum(each.recent_taken for each in found) / attempts, 4) if attempts else None,
        p95_milliseconds=None if p95 is None else round(p95 * 1000),
        consecutive_failures=max(failures, default=None),
        pending=pending.pending if pending else None,
        oldest_pending_seconds=pending.oldest_pending_seconds if pending else None,
    )


def _reason(state: EndpointState, found: list[WebhookReport]) -> str | None:
    """Of those that are in this state the first that gives one; how many they are, where the others are not."""
    if state is EndpointState.PAUSED:
        return None
    said = next((each.reason for each in found if each.state is state and each.reason), None)
    those = sum(each.state is state for each in found)
    if said is None or state in (EndpointState.CLOSED, EndpointState.DISABLED) or those == len(found):
        return said
    return f"{said} ({those} of {len(found)} dispatchers)"


def outbox_statuses(declared: Sequence[Outbox], said: Sequence[DispatcherReport]) -> list[OutboxStatus]:
    """The status of each declared outbox that a dispatcher knows of. The one that relays it knows how many rows wait."""
    made = []
    for outbox in declared:
        found = [each for report in said for each in report.outboxes if each.name == outbox.name]
        relaying = next((each for each in found if each.state == "relaying"), None)
        failing = next((each for each in found if each.state == "failing"), None)
        if relaying:
            made.append(OutboxStatus(
                name=outbox.name, state=OutboxState.RELAYING, reason=relaying.message or None, pending=relaying.backlog,
                oldest_pending_seconds=int(relaying.oldest_seconds) if relaying.backlog else None,
            ))  # fmt: skip
        elif failing:
            made.append(OutboxStatus(name=outbox.name, state=OutboxState.FAILING, reason=failing.message or None))
        elif found:
            made.append(OutboxStatus(name=outbox.name, state=OutboxState.STARTING))
    return made


def backlog(declared: Sequence[Webhook], said: Sequence[DispatcherReport]) -> int | None:
    """Messages that more dispatchers would deliver sooner; None while nothing is known of any webhook.

    Not those that wait for their next attempt, nor those of a webhook whose endpoint is left alone, has a rate that all dispatchers share,
    or gets its messages in order, from one dispatcher at a time.
    """
    waiting, known = 0, not declared
    for webhook in declared:
        found = _of(webhook.name, said)
        seen = _freshest(found)
        known = known or seen is not None
        alike = webhook.enabled and webhook.rate_per_second is None and webhook.ordering.by is OrderBy.NOTHING
        if seen and alike and all(each.state is EndpointState.CLOSED for each in found):
            waiting += max(0, (seen.pending or 0) - (seen.retrying or 0))
    return waiting if known else None
