"""What a server says of a message that it does not deliver any more (NATS documentation, "JetStream advisories")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from baas_operator.dead_letters.letter import Reason, to_nanoseconds

_KINDS = {
    "io.nats.jetstream.advisory.v1.max_deliver": Reason.MAX_DELIVERIES,
    "io.nats.jetstream.advisory.v1.terminated": Reason.TERMINATED,
}
_NAME = re.compile(r"[^\s.*>]+")
"""What a stream or consumer may be called: one token of a subject."""
_OF_THE_SERVER = frozenset({"Message deleted by stream limits", "Unacknowledged message was deleted"})
"""What a server terminates itself (nats-server, server/consumer.go): a limit or somebody deleted it, which nobody failed at."""


@dataclass(frozen=True)
class Advisory:
    """A message that was delivered for the last time, or given up by who had it."""

    stream: str
    consumer: str
    sequence: int
    deliveries: int
    reason: Reason
    detail: str
    nanoseconds: int


def read_advisory(data: bytes) -> Advisory | None:
    """What an advisory tells; None where nothing is to be done about it."""
    try:
        said: Any = json.loads(data)
        reason = _KINDS[said["type"]]
        detail = str(said.get("reason") or "")
        if reason is Reason.TERMINATED and detail in _OF_THE_SERVER:
            return None
        if not (_NAME.fullmatch(said["stream"]) and _NAME.fullmatch(said["consumer"])):
            return None
        return Advisory(
            stream=said["stream"], consumer=said["consumer"], sequence=int(said["stream_seq"]),
            deliveries=int(said["deliveries"]), reason=reason, detail=detail, nanoseconds=to_nanoseconds(said["timestamp"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
