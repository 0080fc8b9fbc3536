"""What the transaction `publish` needs in the queue that was made for a backend: a stream, a user, and a webhook that leads to the probers.

None of it is written into the EventQueue's spec: the queue is kept as if it were (policy/queue/probes.py, where the reason is).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.streams import QueueUser, Stream
from baas_operator.api.webhooks import Webhook

NAME = "baas-probe"
"""Of the stream and of the webhook; its subjects begin with it."""
_SIZE = "1Mi"
_RETRY_SECONDS = [1, 2, 4, 7200]
"""After a failure: three more attempts within the deadline of the transaction, and then none while the message is there, which is an hour.
So it never becomes a dead letter, which somebody would have to look at."""
_YEAR_HOURS = 8760


def publishes(spec: BaasInstanceSpec) -> bool:
    """Whether messages are probed: in a queue of the backend's own alone, as another is somebody else's."""
    return spec.prober.enabled and spec.prober.publish and spec.queue_ref is None


def user(instance: str) -> str:
    """The probers' user. A declared user has no full stop in its name, and a program's has two."""
    return f"{instance}.prober"


def stream() -> Stream:
    """The stream: bounded in every way, and gone with the wish for it. A full one drops what is old, and takes what is new. What it and its
    dead letters may fill is said, so that it takes no share of what other streams have."""
    return Stream.model_validate({
        "name": NAME, "subjects": [f"{NAME}.>"], "maxAgeHours": 1, "maxMessages": 500, "maxSize": _SIZE, "maxMessageSize": "1Ki",
        "deadLetter": {"maxAgeHours": 1, "maxSize": _SIZE, "alarmHours": 1}, "deletionPolicy": "Delete",
    })  # fmt: skip


def login(instance: str) -> QueueUser:
    """The user: it publishes there, and nowhere else; it reads nothing but the answers to that. Not validated, for its name."""
    return QueueUser.model_construct(name=user(instance), publish=[f"{NAME}.>"], private_inbox=True)


def webhook(url: str, addresses: Iterable[str], *, enabled: bool) -> Webhook:
    """The webhook. `addresses`: those of the Service that the URL names, the only private ones that it may lead to. It is never given up:
    that probers are gone for days is no reason to say nothing once they are back."""
    networks = [f"{each}/{ip_address(each).max_prefixlen}" for each in addresses]
    return Webhook.model_validate({
        "name": NAME, "stream": NAME, "url": url, "enabled": enabled, "allowNetworks": networks, "timeoutSeconds": 5, "maxPayload": "1Ki",
        "retrySeconds": _RETRY_SECONDS, "disableAfterHours": _YEAR_HOURS, "circuitBreaker": {"openSeconds": 5},
    })  # fmt: skip
