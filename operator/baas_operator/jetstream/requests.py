"""Requests to JetStream's API as raw messages: nats-py lacks the ones that move leaders and peers (NATS documentation, "JetStream wire API
Reference")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

REQUEST_SECONDS = 3.0
CHANGE_SECONDS = 8.0
Unreachable = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)


class JetStreamError(Exception):
    """JetStream refused a request, with its own sentence. `code` is its `err_code`, 0 where it gave none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


async def call(
    connection: Nats, subject: str, body: Mapping[str, Any] | None = None, *, seconds: float = REQUEST_SECONDS
) -> dict[str, Any]:
    """The answer to a request; `subject` is a whole one, such as `$JS.API.STREAM.INFO.orders`.

    Raises:
        JetStreamError: it was refused. One of Unreachable: nobody answered, or something that is no JetStream.
    """
    message = await connection.request(subject, json.dumps(body).encode() if body else b"", timeout=seconds)
    try:
        answer: Any = json.loads(message.data)
        error = answer.get("error")
        said, code = (error.get("description", "unknown error"), int(error.get("err_code", 0))) if error else ("", 0)
    except (ValueError, AttributeError, TypeError, RecursionError) as garbage:
        raise NatsError(f"{subject} was answered by something that is no JetStream") from garbage
    if error:
        raise JetStreamError(str(said), code)
    return dict(answer)
