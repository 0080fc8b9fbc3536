"""Deliveries that were no attempt: of messages that a dispatcher had in hand and gave back before it sent them, as when it ends.

JetStream counts each delivery, and lets nobody take one back. So those are noted in the store before they are given back, and whoever gets
such a message next finds it there. What was not noted, as a dispatcher was killed or JetStream did not answer, counts as an attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from baas_operator.dispatcher.held import Held
from baas_operator.dispatcher.state import State

_TRIES = 20
"""Dispatchers that end together write one after another."""
_MOST = 1000
"""Messages that are noted; of older ones what was not begun counts."""
_MOST_DIGITS = 20


class Unbegun:
    """Those of one webhook: `unbegun.NAME` in the store, numbers by places."""

    def __init__(self, state: State, webhook: str) -> None:
        self._state, self._key = state, f"unbegun.{webhook}"
        self._turn = asyncio.Lock()

    async def note(self, given_back: Iterable[Held], *, floor: int) -> None:
        """Note one delivery more of each. `floor`: up to this sequence all messages are done with, and are noted no more.

        Raises:
            One of jetstream.requests.Unreachable.
        """
        places = [each.place for each in given_back]
        if not places:
            return
        async with self._turn:
            for _ in range(_TRIES):
                value, revision = await self._state.get(self._key)
                known = _read(value)
                for place in places:
                    known[place] = known.get(place, 0) + 1
                left = sorted((each for each in known if _sequence(each) > floor), key=_sequence)[-_MOST:]
                if await self._state.put(self._key, {place: known[place] for place in left}, revision) is not None:
                    return

    async def of(self, held: Held) -> int:
        """How many deliveries of a message were no attempt.

        Raises:
            One of jetstream.requests.Unreachable.
        """
        value, _ = await self._state.get(self._key)
        return _read(value).get(held.place, 0)


def _read(value: dict[str, Any]) -> dict[str, int]:
    return {place: number for place, number in value.items() if isinstance(number, int) and _sequence(place) >= 0}


def _sequence(place: str) -> int:
    """Of a place, `SEQUENCE:NANOSECONDS`; -1 of what is none."""
    sequence = place.partition(":")[0]
    return int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) <= _MOST_DIGITS else -1
