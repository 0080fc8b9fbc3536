"""What dispatchers know of endpoints together: a key-value store in JetStream, so that all replicas and those that come later know it, too.

`endpoint.NAME` says whether it is disabled and since when it fails; `unbegun.NAME` how often messages were delivered to a dispatcher that
never sent them; `lease.NAME` who delivers an ordered webhook; `order.NAME` which of its messages were tried how often. Who deletes
`endpoint.NAME` enables the endpoint again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError

from baas_operator.desired.queue.names import WEBHOOKS_BUCKET

_ASK_SECONDS = 5.0
_TRIES = 10
_MOST_SECONDS = 10**11
"""Since 1970. Who may write the store may write anything there; a later time has no form as text."""


@dataclass(frozen=True)
class Record:
    """What is known of an endpoint. It speaks of one URL: another one begins anew. Times are in seconds since 1970."""

    url: str = ""
    disabled: str | None = None
    """Why it is disabled."""
    disabled_at: float | None = None
    failing_since: float | None = None
    """When the first of the attempts was made of which none has succeeded."""
    failing_until: float | None = None
    """By when another attempt had to follow the last failure that was noted. With one that fails later `failing_since` begins anew, as
    nothing was tried meanwhile. Records of older versions have none."""


class State:
    """The store; `copies` is how many servers keep it."""

    def __init__(self, connection: Nats, copies: int) -> None:
        self._js = connection.jetstream(timeout=_ASK_SECONDS)
        self._copies = copies
        self._bucket: Any = None

    async def _opened(self) -> Any:
        if self._bucket is None:
            try:
                self._bucket = await self._js.key_value(WEBHOOKS_BUCKET)
            except BucketNotFoundError:
                self._bucket = await self._js.create_key_value(KeyValueConfig(bucket=WEBHOOKS_BUCKET, history=1, replicas=self._copies))
        return self._bucket

    async def get(self, key: str) -> tuple[dict[str, Any], int]:
        """A value, and its revision; nothing and 0 where there is none or it is no object.

        Raises:
            One of jetstream.requests.Unreachable.
        """
        try:
            entry = await (await self._opened()).get(key)
        except KeyNotFoundError:
            return {}, 0
        try:
            value = json.loads(entry.value or b"{}")
        except ValueError:
            value = {}
        return (value if isinstance(value, dict) else {}), int(entry.revision)

    async def put(self, key: str, value: dict[str, Any], revision: int) -> int | None:
        """Write a value over the one with that revision (0: over none); its revision, or None: somebody else was faster."""
        bucket = await self._opened()
        body = json.dumps(value).encode()
        try:
            return int(await (bucket.update(key, body, last=revision) if revision else bucket.create(key, body)))
        except KeyWrongLastSequenceError:
            return None

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Take a value out, if it still has that revision."""
        await (await self._opened()).delete(key, last=revision)

    async def record(self, name: str, url: str) -> Record:
        """What is known of a webhook's endpoint with this URL."""
        return _record((await self.get(f"endpoint.{name}"))[0], url)

    async def note(self, name: str, url: str, change: Callable[[Record], Record]) -> Record:
        """Change what is known of an endpoint, whoever else does so at the same time.

        Raises:
            One of jetstream.requests.Unreachable.
        """
        for _ in range(_TRIES):
            value, revision = await self.get(f"endpoint.{name}")
            before = _record(value, url)
            after = change(before)
            # A dispatcher of an older version takes what has a field that it does not know for no record at all.
            body = {key: value for key, value in asdict(after).items() if value is not None}
            if after == before or await self.put(f"endpoint.{name}", body, revision) is not None:
                return after
        raise NatsError(f"what is known of {name} changed {_TRIES} times while it was written")

    async def enable(self, name: str) -> Record:
        """Forget that an endpoint was disabled, and since when it fails; what was known, of whichever URL. Dispatchers read that within
        seconds.

        Raises:
            One of jetstream.requests.Unreachable: it may be forgotten all the same.
        """
        value, revision = await self.get(f"endpoint.{name}")
        if revision:
            await self.delete(f"endpoint.{name}")  # whatever was noted meanwhile
        return _record(value, str(value.get("url", "")))


def _record(value: dict[str, Any], url: str) -> Record:
    found = Record(**{each.name: value[each.name] for each in fields(Record) if each.name in value})
    times = (found.disabled_at, found.failing_since, found.failing_until)
    plausible = all(each is None or (isinstance(each, int | float) and 0 <= each < _MOST_SECONDS) for each in times)
    return found if found.url == url and plausible else Record(url)
