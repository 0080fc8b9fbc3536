"""The consumer of a webhook: a durable one, which all dispatchers read from together.

It delivers without end (`max_deliver` -1): who counts is the dispatcher that has the message in its hands. JetStream itself would drop a
message whose last attempt a dispatcher's death cut off, and say so once, in an advisory that nobody need hear.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client as Nats

from baas_operator.api.webhooks import OrderBy, Webhook
from baas_operator.desired.queue import names
from baas_operator.dispatcher.schedule import backoff
from baas_operator.jetstream.idle import idle_seconds
from baas_operator.jetstream.requests import JetStreamError, call

MOST_PENDING = 250_000
"""Messages that may be under way or wait for another attempt: those of an endpoint that fails for long keep none of the others waiting."""
MOST_IN_ORDER = 5000
"""The same of an ordered webhook, whose messages all wait in one dispatcher's hands. It says of each, every few seconds, that it still has
it, gets all of them again when it takes over, and notes those that failed in one value of the store, which may have 1 MiB."""
_WINDOW = 256
_NO_MESSAGE, _NO_CONSUMER, _NO_STREAM = 10037, 10014, 10059
MISSING = (_NO_CONSUMER, _NO_STREAM)
"""Codes of JetStream: there is no such consumer, no such stream."""
_NANO = 10**9


def consumer_name(webhook: str) -> str:
    """Name of a webhook's consumer."""
    return names.webhook_consumer(webhook)


def window(webhook: Webhook) -> int:
    """Messages of an ordered webhook that are in hand with all that they have: at 256Ki each, 64 MiB. And most of those that wait for
    nothing but their turn."""
    return max(_WINDOW, 2 * webhook.concurrency)


def config_of(webhook: Webhook, ack_wait_seconds: float) -> dict[str, Any]:
    """The consumer's configuration."""
    ordered = webhook.ordering.by is not OrderBy.NOTHING
    steps = [] if ordered else backoff(webhook.retry_seconds, ack_wait_seconds)
    return {
        "durable_name": consumer_name(webhook.name), "name": consumer_name(webhook.name), "description": f"webhook {webhook.name}",
        "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant", "max_deliver": -1,
        "ack_wait": int((steps[0] if steps else ack_wait_seconds) * _NANO),
        "max_ack_pending": MOST_IN_ORDER if ordered else MOST_PENDING,
    } | ({"backoff": [int(each * _NANO) for each in steps]} if steps else {}) | (
        {"filter_subjects": webhook.filters} if webhook.filters else {}
    )  # fmt: skip


async def ensure(connection: Nats, webhook: Webhook, ack_wait_seconds: float) -> None:
    """Make the consumer, or make it what it should be; nothing happens where it is.

    Raises:
        JetStreamError: it was refused, as where there is no such stream. One of jetstream.requests.Unreachable.
    """
    name = consumer_name(webhook.name)
    body = {"stream_name": webhook.stream, "config": config_of(webhook, ack_wait_seconds), "action": ""}
    await call(connection, f"$JS.API.CONSUMER.CREATE.{webhook.stream}.{name}", body)


async def restore(connection: Nats, webhook: Webhook, ack_wait_seconds: float) -> None:
    """Make the consumer if it is not there any more. One that is there stays as it is; that nobody leads it for a moment is no reason.

    Raises:
        JetStreamError, or one of jetstream.requests.Unreachable.
    """
    try:
        await call(connection, f"$JS.API.CONSUMER.INFO.{webhook.stream}.{consumer_name(webhook.name)}")
    except JetStreamError as refused:
        if refused.code in MISSING:
            await ensure(connection, webhook, ack_wait_seconds)


@dataclass(frozen=True)
class Backlog:
    """What waits for delivery."""

    pending: int
    retrying: int
    """Of those, the ones that were delivered before and are under way or wait for another attempt."""
    oldest_seconds: float | None


async def backlog(connection: Nats, webhook: Webhook, now: datetime) -> Backlog:
    """What waits for delivery, as the consumer's leader says.

    Raises:
        JetStreamError, or one of jetstream.requests.Unreachable.
    """
    info = await call(connection, f"$JS.API.CONSUMER.INFO.{webhook.stream}.{consumer_name(webhook.name)}")
    waiting, retrying = int(info.get("num_pending", 0)), int(info.get("num_ack_pending", 0))
    if not waiting + retrying:
        return Backlog(0, 0, None)
    after = int(info.get("ack_floor", {}).get("stream_seq", 0)) + 1
    found = [each for filter_ in webhook.filters or [">"] if (each := await _published(connection, webhook.stream, after, filter_))]
    return Backlog(waiting + retrying, retrying, max(0.0, (now - min(found)).total_seconds()) if found else None)


async def _published(connection: Nats, stream: str, after: int, filter_: str) -> datetime | None:
    """When the first message from a sequence on was stored."""
    try:
        found = await call(connection, f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": after, "next_by_subj": filter_})
    except JetStreamError as refused:
        if refused.code == _NO_MESSAGE:
            return None
        raise
    return parse_time(str(found["message"]["time"]))


def parse_time(text: str) -> datetime:
    """A time as NATS writes it, with nanoseconds."""
    moment, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{moment}.{fraction[:6] or '0'}").replace(tzinfo=UTC)


async def idle(connection: Nats, stream: str, name: str) -> float | None:
    """For how many seconds nobody has asked a consumer for messages; None while somebody does.

    Raises:
        JetStreamError: with a code of `MISSING` there is none. One of jetstream.requests.Unreachable.
    """
    return idle_seconds(await call(connection, f"$JS.API.CONSUMER.INFO.{stream}.{name}"))


async def delete(connection: Nats, stream: str, name: str) -> None:
    """Delete a consumer.

    Raises:
        JetStreamError, or one of jetstream.requests.Unreachable.
    """
    await call(connection, f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
