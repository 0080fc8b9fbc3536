"""What a backend promises: the lines of the issue "4 · BaasInstance"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.instance.scenes import Result

FOR_GOOD_PERCENT = {"nothing": 0.0, "each-pod": 0.0, "zone-away": 0.5, "roll": 0.0, "rotation": 0.0, "passwords": 0.0}
"""Requests that a client saw fail after it had come again where it was told to, in percent of all."""
FIRST_PERCENT = {"nothing": 0.0, "each-pod": 0.1, "roll": 0.1, "rotation": 0.0, "passwords": 0.0}
"""Requests whose first attempt failed, in percent of all."""
ZONE_READS_SECONDS = 2.0
ZONE_WRITES_SECONDS = 8.0
P95_RATIO = 1.3


def broken(ours: dict[str, Any]) -> Iterator[str]:
    """What is not as promised, a sentence each."""
    for scene, runs in ours.items():
        if scene not in FOR_GOOD_PERCENT:
            continue
        for result in (Result(**each) for each in runs):
            yield from _of_run(scene, result)
    if (pairs := ours.get("latency")) and (ratio := sorted(each["ratio"] for each in pairs)[len(pairs) // 2]) > P95_RATIO:
        yield f"p95 through the gateway is {ratio:.2f} times that of PostgREST itself; promised are {P95_RATIO}."


def _of_run(scene: str, result: Result) -> Iterator[str]:
    if result.lost:
        yield f"{scene}: {result.lost} acknowledged rows are lost."
    if 100 * result.failed_for_good > FOR_GOOD_PERCENT[scene] * result.requests:
        yield f"{scene}: {result.failed_for_good} of {result.requests} requests failed for good; promised are {FOR_GOOD_PERCENT[scene]} %."
    if scene in FIRST_PERCENT and 100 * result.failed > FIRST_PERCENT[scene] * result.requests:
        yield f"{scene}: {result.failed} of {result.requests} first attempts failed; promised are {FIRST_PERCENT[scene]} %."
    if scene == "zone-away" and result.reads_away > ZONE_READS_SECONDS:
        yield f"{scene}: reads were away for {result.reads_away:.2f} s; promised are {ZONE_READS_SECONDS}."
    if scene == "zone-away" and result.writes_away > ZONE_WRITES_SECONDS:
        yield f"{scene}: writes were away for {result.writes_away:.2f} s; promised are {ZONE_WRITES_SECONDS}."
