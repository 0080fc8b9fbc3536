"""`asyncio.wait_for`, as Python has it since 3.12.

The one before forgets a cancellation that comes in the same moment as what it waits for (cpython issue 86296): the task goes on as if
nobody had cancelled it, and an `asyncio.timeout` around it never ends. nats-py waits with it all the time: of agents that ask their server
without pause, 22 of 729 did not end, and now and then a test hung for good.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")
_stock = asyncio.wait_for


async def wait_for(fut: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109 - the name and shape that callers know
    """As `asyncio.wait_for` of Python 3.12: raises `TimeoutError` after `timeout` seconds, and a cancellation is never forgotten."""
    if timeout is not None and timeout <= 0:
        return await _stock(fut, timeout)  # nothing is waited for, so nothing is forgotten
    async with asyncio.timeout(timeout):
        return await fut


def install() -> None:
    """Have everything in this process wait with it, libraries too."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for  # type: ignore[assignment]
