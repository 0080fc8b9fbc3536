"""Something happens to a backend under load, and when."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.chaos.instance.backend import OursBackend
from tests.chaos.instance.scenes import BACK, SCENES, Result, judge

NOTHING = "nothing"


@dataclass(frozen=True)
class Played:
    """Seconds since 1970: when it began, when it was taken back (None: nothing was to be), and until when it was watched. `marks`: (when,
    what was done)."""

    began: float
    ended: float | None
    until: float
    marks: tuple[tuple[float, str], ...]
    result: Result


def played(backend: OursBackend, scene: str, *, before: float, after: float) -> Played:
    """Have clients call it for `before` seconds, then that is done, and `after` seconds more. Raises LabError, IncompleteLogError."""
    backend.wait_whole()
    with backend.loaded(backend.client_node(in_zone=True)) as loading:
        time.sleep(before)
        wall = time.time() - time.monotonic()
        began = time.monotonic()
        SCENES[scene][1](backend, loading)
        ended = time.monotonic()
        loading.wait_steady(since=ended)
        time.sleep(after)
        until = time.monotonic()
        load = loading.load()
    result = judge(scene, load, loading.lost(load), began, loading.marks)
    marks = tuple((at + wall, words) for at, words in loading.marks)
    taken_back = next((at for at, words in reversed(marks) if words == BACK), ended + wall)
    return Played(marks[0][0] if marks else began + wall, None if scene == NOTHING else taken_back, until + wall, marks, result)
