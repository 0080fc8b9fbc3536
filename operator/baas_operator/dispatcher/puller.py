"""Fetches messages of a consumer as there is room for them (NATS, "JetStream wire API Reference": pull consumers).

nats-py's own `fetch` waits for a batch to be whole before it gives any of it; here more is asked for while the rest is still being worked
on, and never more than there is room for: what is fetched and not delivered has used up one of its deliveries.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from baas_operator.jetstream.requests import Unreachable

_NANO = 10**9
_AGAIN_SECONDS = 0.5
_LOOK_SECONDS = 0.25
_ENDS = ("404", "408", "409", "503")
"""Statuses that end a request for messages: none, it ran out, the consumer's or its leader's end, and that nobody leads the consumer."""
_log = logging.getLogger("dispatcher")


class Puller:
    """One consumer. `arrived` gets each message, `room` says how many more may come, `lost` is called when the consumer seems not to be
    there."""

    def __init__(
        self, connection: Nats, stream: str, consumer: str, *, arrived: Callable[[Msg], None], room: Callable[[], int],
        lost: Callable[[], Awaitable[None]], expires: float, heartbeat: float,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._arrived, self._room, self._lost = arrived, room, lost
        self._expires, self._heartbeat = expires, heartbeat
        self._inbox = connection.new_inbox()
        self._coming = 0
        """How many messages the requests may still bring, all together: a message does not say which one it answers."""
        self._number = 0
        self._heard = 0.0
        self._again_at = 0.0
        self._away = False
        self._turn = asyncio.Event()
        self._subscription: Any = None

    def wake(self) -> None:
        """There may be room."""
        self._turn.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._subscription = await self._connection.subscribe(
            f"{self._inbox}.*", cb=self._got, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        try:
            while True:
                with suppress(*Unreachable):
                    await self._ask()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._turn.wait()
                self._turn.clear()
        finally:
            with suppress(*Unreachable):
                await self._subscription.unsubscribe()

    async def _ask(self) -> None:
        now = time.monotonic()
        if self._coming and now > self._heard + 2 * self._heartbeat + 1:
            self._coming = 0  # who kept the requests died, and they with it
        if now < self._again_at:
            return
        if self._away:
            self._away = False
            await self._lost()
        room = self._room()
        if room <= 0 or self._coming > room // 2:
            return
        count = room - self._coming
        if not self._coming:
            self._heard = now
        self._coming += count
        self._number += 1
        body = {"batch": count, "expires": int(self._expires * _NANO), "idle_heartbeat": int(self._heartbeat * _NANO)}
        await self._connection.publish(self._subject, json.dumps(body).encode(), reply=f"{self._inbox}.{self._number}")

    async def _got(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if message.reply.startswith("$JS.ACK"):
            self._coming = max(0, self._coming - 1)
            self._arrived(message)
            return
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status in _ENDS:
            unserved = headers.get("Nats-Pending-Messages", "")
            self._coming = max(0, self._coming - int(unserved)) if unserved.isdigit() else 0
            if status in ("409", "503"):
                self._away = status == "503" or "Deleted" in headers.get("Description", "")
                self._again_at = self._heard + _AGAIN_SECONDS
            self._turn.set()

    @property
    def coming(self) -> int:
        """Messages that were asked for."""
        return self._coming
