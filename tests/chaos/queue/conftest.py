"""Fixtures: once a module an EventQueue, whole; for each test the way to rehearse a fault on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from baas_lab.cluster import Cluster
from tests.chaos.faults import take_back_everything
from tests.chaos.queue import bounds
from tests.chaos.queue.faults import FAULTS
from tests.chaos.queue.outcome import QueueOutcome
from tests.chaos.queue.systems import SERVICE, OursQueue
from tests.chaos.rehearsal import rehearse

Promise = Callable[[str], QueueOutcome]


@pytest.fixture(scope="module", params=["strict"])
def system(lab: Cluster, request: pytest.FixtureRequest) -> Iterator[OursQueue]:
    """An EventQueue in a namespace of the module's own, of the durability that the module asks for."""
    module = Path(request.path).stem.removeprefix("test_")
    made = OursQueue.on(lab, f"chaos-queue-{re.sub(r'[^a-z0-9]+', '-', module)}-{request.param}", durability=request.param)
    made.deploy()
    yield made
    if request.session.testsfailed and os.environ.get("BAAS_KEEP_LAB"):
        return
    made.remove(wait=False)


@pytest.fixture
def promise(lab: Cluster, system: OursQueue, figure: Callable[[str], None], tmp_path: Path) -> Iterator[Promise]:
    """Rehearse a fault, and hold what came of it against what is promised; returns it for what else is to be asked."""

    def rehearsed(name: str) -> QueueOutcome:
        log = tmp_path / f"{name}.jsonl"
        outcome = rehearse(system, FAULTS[name], service=SERVICE, note=lambda text: print(f"  {name}: {text}"), keep=log)
        figure(f"queue, {system.durability}, {FAULTS[name].told}: {outcome.told()}")
        said = outcome.unsafe()
        if late := bounds.broken(name, outcome.worst_seconds, over=outcome.over):
            said.append(f"{late} {outcome.told()}. Servers: {outcome.servers}. Errors: {outcome.errors[:3]}")
        assert not said, "\n".join([*said, f"The client's log: {log}"])
        return outcome

    try:
        yield rehearsed
    finally:
        take_back_everything(lab)
