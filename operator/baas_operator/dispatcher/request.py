"""A message of a stream as an HTTP request: what is sent with its payload."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from baas_operator.api.webhooks import Webhook
from baas_operator.dead_letters.letter import ORIGINAL_ID
from baas_operator.dispatcher.signing import signature

_MOST_ID = 200
_SAFE = re.compile(r"^[!-~]{1,200}$")
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,100})?$")
_CONTENT_TYPE = re.compile(r"^[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}( *; *[ -~]{1,200})?$")
_EVENT_SAFE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What CloudEvents' HTTP binding 1.0.2, 3.1.3.2, leaves as it is: printable ASCII but the space, the quotation mark and the percent
sign."""
_NAMESPACE = uuid.UUID("5b0b3f0e-6b1a-5d34-9b55-6f5e8d0b4c11")


@dataclass(frozen=True)
class Message:
    """A message as JetStream delivered it."""

    stream: str
    sequence: int
    subject: str
    payload: bytes
    headers: Mapping[str, str]
    """By their names in small letters."""
    published_at: datetime


def identity(message: Message) -> str:
    """`webhook-id`, the same for every attempt, and for those after a dead letter was replayed: the publisher's own message id if it gave
    one, or the message's first place in its stream. Full stops, which delimit the signed content, and what a header can not hold are
    written as in URLs."""
    given = message.headers.get(ORIGINAL_ID.lower()) or message.headers.get("nats-msg-id", "")
    if not given:
        return f"{message.stream}:{message.sequence}"
    made = quote(given, safe="!*'():;/@=+$,&-_~").replace(".", "%2E")
    return made if len(made) <= _MOST_ID else "sha256:" + hashlib.sha256(given.encode()).hexdigest()


def content_type(message: Message) -> str:
    """The message's own `Content-Type`, or what its payload looks like."""
    given = message.headers.get("content-type", "")
    if _CONTENT_TYPE.match(given):
        return given
    try:
        json.loads(message.payload)
    except (ValueError, RecursionError):
        return "application/octet-stream"
    return "application/json"


class Requests:
    """Makes the requests of one webhook. `where` is NAMESPACE and NAME of its queue."""

    def __init__(self, webhook: Webhook, where: tuple[str, str]) -> None:
        source = webhook.cloud_events.source or f"/namespaces/{where[0]}/eventqueues/{where[1]}/streams/{webhook.stream}"
        self._source = _event_value(source)
        self._type = _event_value(webhook.cloud_events.type) if webhook.cloud_events.type else None

    def headers(self, message: Message, keys: Sequence[bytes], *, now: float, attempt: int) -> dict[str, str]:
        """Headers of an attempt; `now` is in seconds since 1970."""
        name, subject = identity(message), _event_value(message.subject)
        made = {
            "webhook-id": name,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": signature(keys, name, int(now), message.payload),
            "content-type": content_type(message),
            "ce-specversion": "1.0",
            "ce-id": name,
            "ce-source": self._source,
            "ce-type": self._type or subject,
            "ce-subject": subject,
            "ce-time": message.published_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "x-request-id": request_id(message),
            "x-webhook-attempt": str(attempt),
            "user-agent": "baas-operator-webhooks/1.0",
        }
        traceparent = message.headers.get("traceparent", "")
        if _TRACEPARENT.match(traceparent):
            made["traceparent"] = traceparent
        return made


def request_id(message: Message) -> str:
    """What the message's way can be followed by: its own `x-request-id`, or one made of its place, the same for every attempt."""
    given = message.headers.get("x-request-id", "")
    return given if _SAFE.match(given) else str(uuid.uuid5(_NAMESPACE, f"{message.stream}:{message.sequence}:{message.published_at}"))


def _event_value(text: str) -> str:
    return quote(text, safe=_EVENT_SAFE)
