"""Questions of which there may be a hundred, asked a few at a time: each answer takes its time, and may be large."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_A_TIME = 8
"""Answers that are in memory at once, for each reconcile that is going on. An object of somebody else's may have 1.5 MiB."""

_Of = TypeVar("_Of")
_Said = TypeVar("_Said")


async def ask_each(ask: Callable[[_Of], Awaitable[_Said]], of: Iterable[_Of]) -> list[_Said]:
    """What is said of each, in that order. All have been answered, or have failed, when it ends.

    Raises:
        The first failure, in that order.
    """
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(each: _Of) -> _Said:
        async with gate:
            return await ask(each)

    said: list[_Said] = []
    for each in await asyncio.gather(*map(one, of), return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        said.append(each)
    return said
