"""What is asked of operands and on its way. A reconcile waits for an answer for a moment and no longer.

What hangs would otherwise hold the object's turn, and what somebody edits meanwhile would not be put back before it is given up. So what
is asked outlives the turn that asked it: the turns that follow do their work and look whether it was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from baas_operator.engine.errors import Waiting
from baas_operator.engine.store import Key

What = TypeVar("What")
Answer = TypeVar("Answer")
_MOMENT_SECONDS = 0.5
"""An operand that is well answers within milliseconds."""


class Asking(Generic[What, Answer]):
    """What is asked about all objects, one thing an object at a time."""

    def __init__(self) -> None:
        self._asked: dict[Key, tuple[What, asyncio.Task[Answer]]] = {}

    async def answer(self, key: Key, what: What, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer, which no earlier turn was told. `what` is asked, by `ask`, unless it was before; raises as `ask` does.

        Raises:
            Waiting: there is none yet, or something else was asked before and is not over.
        """
        if key not in self._asked:
            self._asked[key] = what, asyncio.create_task(ask())
            self._asked[key][1].add_done_callback(_seen)
        asked, task = self._asked[key]
        done, _ = await asyncio.wait({task}, timeout=_MOMENT_SECONDS)
        if not done:
            raise Waiting("NoAnswerYet", "the operands have not answered yet", 0.1)
        del self._asked[key]
        if asked != what:
            raise Waiting("AskedBefore", "something else was asked before", 0.0)
        return task.result()

    def waits(self, key: Key) -> bool:
        """Whether an earlier turn asked something about the object that nobody was told yet: this one comes to look at that."""
        return key in self._asked

    def settle(self, key: Key) -> None:
        """Nothing is asked about the object now: what was answered meanwhile is no answer to what will be."""
        if key in self._asked and self._asked[key][1].done():
            del self._asked[key]

    def forget(self, key: Key) -> None:
        """The object is gone."""
        if asked := self._asked.pop(key, None):
            asked[1].cancel()


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that nobody wants to know of any more is none of the operator's."""
    if not task.cancelled():
        task.exception()
