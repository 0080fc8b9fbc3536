"""What all engines' transactions have in common."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from baas_operator.prober.client import Client
from baas_operator.prober.config import ConfigError
from baas_operator.prober.failure import Failure

LEFT_OVER = timedelta(hours=2)
"""What nobody has written for so long is of a prober that is gone: the longest interval is an hour."""

_AFTERWARDS_SECONDS = 5.0


class Result(StrEnum):
    """How a transaction succeeded."""

    OK = "ok"
    DEGRADED = "degraded"
    """It was answered by a standby, while there was no primary."""


class Transactions(Protocol):
    """Those of one engine."""

    def all(self) -> Mapping[str, Callable[[Client], Awaitable[Result | None]]]:
        """Name -> what is done. It raises Failure, or ConfigError where a key is missing."""
        ...

    async def clean_up(self, client: Client) -> None:
        """Remove what is left of this prober. Raises as above."""
        ...


class Afterwards:
    """What a transaction that was cut off by its deadline owes: a session that nobody ends stays for good, one more with each round."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Awaitable[object]) -> None:
        """Do it, for some seconds; nobody waits for it."""
        task = asyncio.create_task(_attempt(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def done(self) -> None:
        """Wait for all that was begun."""
        await asyncio.gather(*self._tasks)


async def _attempt(work: Awaitable[object]) -> None:
    with suppress(Failure, ConfigError, TimeoutError):
        async with asyncio.timeout(_AFTERWARDS_SECONDS):
            await work


async def all_of(*works: Awaitable[object]) -> None:
    """Do each of these, whatever becomes of the others; raises what the first of them did."""
    for each in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each


def drawn() -> str:
    """A value that nobody else writes."""
    return secrets.token_hex(16)
