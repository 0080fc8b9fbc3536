"""Tasks that end when they are told to.

A library may forget a cancellation, as nats-py did by way of `asyncio.wait_for` (see waiting.py). `asyncio.TaskGroup` cancels once and then
waits, in that case for ever. What uses nats-py is therefore run and ended with these, which ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

_AGAIN_SECONDS = 1.0


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again if need be, until they have ended; what they raise is not raised here."""
    left = set(tasks)
    while left:
        for each in left:
            each.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of it at once, until all has ended, one raises, or this is cancelled; then the rest is ended. Raises what was raised."""
    tasks = [asyncio.create_task(each) for each in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for each in done:
            each.result()
    finally:
        await end(tasks)
