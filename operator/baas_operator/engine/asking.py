"""Questions to operands that are on their way. A reconcile waits for an answer for a moment and no longer.

What hangs would otherwise hold the object's turn, and what somebody edits meanwhile would not be put back before it is given up. So a
question outlives the turn that asked it: the turns that follow do their work and look whether it was answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from baas_operator.engine.errors import Waiting
from baas_operator.engine.gather import ask_operands
from baas_operator.engine.store import Key
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View

_MOMENT_SECONDS = 0.5
"""An operand that is well answers within milliseconds."""


class Asking:
    """The questions about all objects, one an object at a time."""

    def __init__(self) -> None:
        self._asked: dict[Key, asyncio.Task[JetStreamState | None]] = {}

    async def answer(self, key: Key, view: View) -> View:
        """The view with what its operands say, which no earlier turn was told.

        Raises:
            Waiting: they have not answered yet.
        """
        if (asked := self._asked.get(key)) is None:
            asked = self._asked[key] = asyncio.create_task(ask_operands(view))
        done, _ = await asyncio.wait({asked}, timeout=_MOMENT_SECONDS)
        if not done:
            raise Waiting("NoAnswerYet", "the operands have not answered yet", 0.1)
        del self._asked[key]
        return replace(view, external=asked.result())

    def forget(self, key: Key) -> None:
        """The object is gone."""
        if asked := self._asked.pop(key, None):
            asked.cancel()
