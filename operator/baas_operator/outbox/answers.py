"""Messages under way, and what the stream's leader answers to them.

nats-py's own `publish` knows no batches, and the futures of its `publish_async` never end where the server refuses (2.16:
`APIError.from_error` raises in the subscription's callback instead of returning the error).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

_NO_RESPONDERS = "503"


class Answers:
    """Publishes with an inbox of its own, which is subscribed to when it is first needed."""

    def __init__(self, client: Nats) -> None:
        self._client = client
        self._inbox = ""
        self._subscription: Any = None
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._sent = 0

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> asyncio.Future[dict[str, Any]]:
        """Send, and return what will be the answer: as JetStream gives it, or `{}` where nobody has the subject now.

        Raises:
            nats.errors.Error, OSError: it may have been sent, or not.
        """
        if self._subscription is None:
            self._inbox = self._client.new_inbox()
            self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._answered)
        self._sent += 1
        reply = f"{self._inbox}.{self._sent}"
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = future
        future.add_done_callback(lambda _: self._waiting.pop(reply, None))
        await self._client.publish(subject, payload, reply=reply, headers=dict(headers))
        return future

    async def send(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Send what is answered by the last message of its batch. Raises as `publish`."""
        await self._client.publish(subject, payload, headers=dict(headers))

    async def _answered(self, message: Msg) -> None:
        future = self._waiting.get(message.subject)
        if future is None or future.done():
            return
        if (message.headers or {}).get("Status") == _NO_RESPONDERS:
            future.set_result({})
            return
        try:
            answer: Any = json.loads(message.data)
        except ValueError:
            return
        if isinstance(answer, dict) and answer:
            future.set_result(answer)

    async def close(self) -> None:
        """Let go of the inbox, and of all that is under way."""
        for each in list(self._waiting.values()):
            each.cancel()
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()
