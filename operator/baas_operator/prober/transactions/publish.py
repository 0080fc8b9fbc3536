"""A message's way: published into a stream, and back as the webhook of a dispatcher.

The webhook leads to the Service of all probers, so that which one it comes to is nobody's choice. The message says where the prober is that
published it, and whichever gets the delivery hands it on to that one as it came, signature and all: that one alone judges it. So what is
proved is proved for each zone by itself. Where to is signed as well, with a key that is made of the webhook's secret: other users of the
queue may publish to the same subjects, and none of them shall make a prober call wherever it likes.

What comes late, is of a prober that is gone, or was never asked for is taken, and forgotten: a dispatcher that is refused would try again.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from standardwebhooks.webhooks import Webhook

from baas_operator.prober.client import Client, Gateway
from baas_operator.prober.config import ConfigError, Secrets
from baas_operator.prober.failure import Failure
from baas_operator.prober.queue import Login, Queue, connected

HOOK = "/hook"
NAME = "publish"
_FORWARDED = "baas-forwarded"
"""Header of a delivery that another prober handed on: nobody hands it on again."""
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_LATE_SECONDS = 300
"""What was published longer ago is of no use to anybody. As long as Standard Webhooks has a delivery count, clocks differ as they may."""
_HAND_ON_SECONDS = 2.0
_PURPOSE = "baas-probe-way-back"
"""Begins what is signed of a message. No delivery's signed content can begin so: it begins with an id, of which a line break is no part."""


@dataclass(frozen=True)
class Note:
    """What a message says: whose it is, and where that one is."""

    nonce: str
    host: str
    port: int
    sent: int
    """Seconds since 1970."""

    def written(self, key: str) -> bytes:
        """As the message has it."""
        return json.dumps({"nonce": self.nonce, "host": self.host, "port": self.port, "sent": self.sent, "mac": self._mac(key)}).encode()

    def _mac(self, key: str) -> str:
        return hmac.new(
            key.encode(), "\n".join((_PURPOSE, self.nonce, self.host, str(self.port), str(self.sent))).encode(), "sha256"
        ).hexdigest()

    @classmethod
    def read(cls, keys: list[str], body: bytes) -> Note | None:
        """What a message says that a prober wrote; None of any other."""
        try:
            said: Any = json.loads(body)
            note = cls(str(said["nonce"]), str(ip_address(said["host"])), int(said["port"]), int(said["sent"]))
            mac = str(said["mac"]).encode()
            return note if any(hmac.compare_digest(mac, note._mac(key).encode()) for key in keys) else None
        # JSON has half characters, which no UTF-8 has, and Python's has numbers without an end.
        except (ValueError, OverflowError, KeyError, TypeError, RecursionError):
            return None


class Publish:
    """The transaction, and what hears of deliveries. `port`: where this prober listens."""

    def __init__(self, keys: Secrets) -> None:
        self._secrets = keys
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.port = 0

    async def run(self, client: Client, queue: Queue | None, slot: int) -> None:
        """Publish a message, and wait for its webhook.

        Raises:
            Failure: it was not taken. ConfigError: it can not be tried.
        """
        if queue is None:
            raise ConfigError("this prober was not told of a queue")
        login = Login(self._secrets["queue-username"], self._secrets["queue-password"], self._secrets["queue-ca.crt"])
        key = self._keys()[0]
        nonce = secrets.token_hex(16)
        client.doing, client.late = f"publish to {queue.subject}", "no-acknowledgement"
        heard = self._waiting[nonce] = asyncio.get_running_loop().create_future()
        try:
            async with connected(queue, login) as connection:
                note = Note(nonce, connection.address, self.port, int(time.time()))
                await connection.publish(f"{queue.subject}.{slot}", note.written(key))
            client.doing, client.late = "webhook of a message that the stream has", "no-webhook"
            await heard
        finally:
            del self._waiting[nonce]

    def _keys(self) -> list[str]:
        """Secrets that sign, of which there is more than one while they are rotated.

        Raises:
            ConfigError: there is none.
        """
        found = self._secrets["webhook-secret"].split()
        if not found:
            raise ConfigError("the webhook's Secret is empty")
        return found

    async def hear(self, headers: Mapping[str, str], body: bytes) -> int:
        """A delivery; the status that it is answered with. Names of headers are in lower case."""
        if not body.isascii():  # which the library verifies no signature of
            return 200
        try:
            keys = self._keys()
        except ConfigError:
            return 503
        if not any(_signed(key, headers, body) for key in keys):
            return 401
        note = Note.read(keys, body)
        if note is None:
            return 200
        if waiting := self._waiting.get(note.nonce):
            if not waiting.done():
                waiting.set_result(None)
        elif _FORWARDED not in headers and abs(time.time() - note.sent) <= _LATE_SECONDS:
            await _hand_on(note, {name: headers[name] for name in _SIGNED}, body)
        return 200


def _signed(key: str, headers: Mapping[str, str], body: bytes) -> bool:
    """As a receiver finds out, with the library that receivers have."""
    try:
        Webhook(key).verify(body, dict(headers), json_parse=False)
    except Exception:  # noqa: BLE001 - whatever it makes of a header that is none: it is not signed
        return False
    return True


async def _hand_on(note: Note, signed: dict[str, str], body: bytes) -> None:
    """To the one that published it. Where that is gone, nobody waits for it."""
    there = Client(Gateway(note.host, note.port, f"[{note.host}]" if ":" in note.host else note.host))
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(_HAND_ON_SECONDS):
            await there.ask("POST", HOOK, signed | {_FORWARDED: "1", "Content-Type": "application/json"}, body)
