"""A queue of keys: one reconcile a key at a time, coalescing, with back-off for each key, and fair to namespaces.

kopf swallows what an `on.event` handler raises, so retries live here. The rules are those of client-go's workqueue: a key that is
added while it is worked on is worked on once more afterwards; failures of one key slow down that key alone. Two rules are not:

- Namespaces take turns, and none may hold all workers: a namespace gets one more only while more are free than it holds (Choudhury and
  Hahne, "Dynamic Queue Length Thresholds", 1998). Of eight workers a tenant whose operands hang holds four, the next one two; whoever
  comes finds a free one. client-go has one line for all (kubernetes#25744; controller-runtime's fair queue is its pull request 3261).
- In client-go an event passes by the back-off, and each failure that follows doubles it: a noisy watch is a hot loop, and pushes the
  back-off to its longest within seconds (kubernetes#112325, #132805). Here a failure counts only once the back-off before it has run
  out, and an event is served at once, but not within `_PAUSE_SECONDS` of a failure.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 60.0
_DOUBLINGS = 10
"""After this many the longest is reached; beyond 1,023, a day of failures, the power would be no float any more."""
_PAUSE_SECONDS = 1.0
"""What fails is tried no more often, whatever asks for it; short enough for the user who just put right what was wrong."""


class _Failure(NamedTuple):
    """A key's last failure: how often its back-off was doubled, and when the pause and the back-off end (monotonic)."""

    doublings: int
    pause_ends: float
    ends: float


class WorkQueue(Generic[K]):
    """Keys to work on, for so many workers. `get` waits for one; `done` must follow it."""

    def __init__(self, workers: int, namespace_of: Callable[[K], Hashable]) -> None:
        self._workers = workers
        self._namespace_of = namespace_of
        self._ready: dict[Hashable, dict[K, None]] = {}
        """By namespace, both in the order in which they have their turn."""
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._changed = asyncio.Event()
        self._failures: dict[K, _Failure] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._ready.values())) + len(self._again)

    def add(self, key: K) -> None:
        """Work on a key now, or again after the work that is going on; if that failed a moment ago, after a pause."""
        last = self._failures.get(key)
        pause = last.pause_ends - time.monotonic() if last else 0.0
        if key in self._active or pause <= 0:
            self._put(key)
        else:
            self.add_after(key, pause)

    def _put(self, key: K) -> None:
        self._due.pop(key, None)
        if key in self._active:
            self._again.add(key)
        else:
            self._ready.setdefault(self._namespace_of(key), {})[key] = None
            self._changed.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Work on a key in a while, if nothing asks for it before; the earlier of two such wishes counts."""
        due = time.monotonic() + seconds
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))
        self._wake.set()

    def add_failed(self, key: K) -> float:
        """Work on a key again after its back-off; returns the seconds."""
        now, last = time.monotonic(), self._failures.get(key)
        doublings = min(last.doublings + (now >= last.ends), _DOUBLINGS) if last else 0
        seconds: float = min(_FIRST_SECONDS * 2**doublings, _LONGEST_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        self._failures[key] = _Failure(doublings, now + min(seconds, _PAUSE_SECONDS), now + seconds)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: K) -> None:
        """The key's work succeeded: its next failure starts from the shortest back-off."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; it counts as worked on until `done`."""
        while (key := self._next()) is None:
            self._changed.clear()
            await self._changed.wait()
        self._active.add(key)
        return key

    def _next(self) -> K | None:
        free = self._workers - len(self._active)
        for namespace, keys in self._ready.items():
            if sum(self._namespace_of(each) == namespace for each in self._active) < free:
                key = next(iter(keys))
                del keys[key], self._ready[namespace]
                if keys:
                    self._ready[namespace] = keys  # behind the others
                return key
        return None

    def done(self, key: K) -> None:
        """The work on a key is over."""
        self._active.discard(key)
        self._changed.set()
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def run_delays(self) -> None:
        """Move keys over when their time has come; runs until it is cancelled."""
        while True:
            self._wake.clear()
            while self._heap and self._heap[0][0] <= time.monotonic():
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:
                    self._put(key)
            pause = self._heap[0][0] - time.monotonic() if self._heap else None
            try:
                # Not wait_for: that of Python 3.11 loses a cancellation which comes just when what it waits for is done.
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue
