"""A queue of keys: one reconcile a key at a time, coalescing, with back-off for each key.

kopf swallows what an `on.event` handler raises, so retries live here. The rules are those of client-go's workqueue: a key that is
added while it is worked on is worked on once more afterwards; failures of one key slow down that key alone.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 60.0
_DOUBLINGS = 10
"""After this many the longest is reached; beyond 1,023, a day of failures, the power would be no float any more."""


class WorkQueue(Generic[K]):
    """Keys to work on. `get` waits for one; `done` must follow it."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, key: K) -> None:
        """Work on a key now, or again after the work that is going on."""
        self._due.pop(key, None)
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Work on a key in a while, if nothing asks for it before; the earlier of two such wishes counts."""
        due = asyncio.get_running_loop().time() + seconds
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))
        self._wake.set()

    def add_failed(self, key: K) -> float:
        """Work on a key again after its back-off; returns the seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        seconds: float = min(_FIRST_SECONDS * 2 ** min(count, _DOUBLINGS), _LONGEST_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure starts from the shortest back-off."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; it counts as worked on until `done`."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on a key is over."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def run_delays(self) -> None:
        """Move keys over when their time has come; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            while self._heap and self._heap[0][0] <= loop.time():
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:
                    self.add(key)
            pause = self._heap[0][0] - loop.time() if self._heap else None
            try:
                # Not wait_for: that of Python 3.11 loses a cancellation which comes just when what it waits for is done.
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue
