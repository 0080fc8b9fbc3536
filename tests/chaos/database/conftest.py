"""Fixtures: once a module a DatabaseReplica, whole; for each test the way to rehearse a fault on it.

`BAAS_CHAOS_SERVICE=rw` makes all clients write through that service, whatever `bounds.py` says: to see what is so without the pooler.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from baas_lab.cluster import Cluster
from tests.chaos.database.bounds import BOUNDS
from tests.chaos.database.faults import FAULTS
from tests.chaos.database.outcome import DatabaseOutcome
from tests.chaos.database.systems import Ours
from tests.chaos.faults import take_back_everything
from tests.chaos.rehearsal import rehearse

Promise = Callable[[str], DatabaseOutcome]


@pytest.fixture(scope="module")
def system(lab: Cluster, request: pytest.FixtureRequest) -> Iterator[Ours]:
    """A DatabaseReplica in a namespace of the module's own."""
    module = Path(request.path).stem.removeprefix("test_")
    made = Ours.on(lab, f"chaos-{re.sub(r'[^a-z0-9]+', '-', module)}")
    made.deploy()
    yield made
    if request.session.testsfailed and os.environ.get("BAAS_KEEP_LAB"):
        return
    made.remove(wait=False)


@pytest.fixture
def promise(lab: Cluster, system: Ours, figure: Callable[[str], None], tmp_path: Path) -> Iterator[Promise]:
    """Rehearse a fault, and hold what came of it against what is promised; returns it for what else is to be asked."""

    def rehearsed(name: str) -> DatabaseOutcome:
        bound = BOUNDS[name]
        service = os.environ.get("BAAS_CHAOS_SERVICE", bound.service)
        if not system.has(service):
            pytest.skip(f"There is no Service {system.name}-{service} to write through; BAAS_CHAOS_SERVICE=rw does without.")
        log = tmp_path / f"{name}.jsonl"
        outcome = rehearse(system, FAULTS[name], service=service, note=lambda text: print(f"  {name}: {text}"), keep=log)
        figure(f"{FAULTS[name].told}, through {service}: {outcome.told()}")
        broken = outcome.unsafe()
        if outcome.over or (bound.seconds is not None and outcome.worst_seconds > bound.seconds):
            broken.append(f"Promised were {bound.seconds} s without writes at most: {outcome.told()}. Servers: {outcome.servers}")
        if bound.errors is not None and outcome.client_errors > bound.errors:
            broken.append(f"Clients had {outcome.client_errors} errors, and may have {bound.errors}: {outcome.errors[:3]}")
        if outcome.stale_seconds > bound.stale_seconds:
            broken.append(
                f"For {outcome.stale_seconds:.1f} s, {outcome.stale} reads lacked what had been acknowledged or read before them."
            )
        assert not broken, "\n".join([*broken, f"The client's log: {log}"])
        return outcome

    try:
        yield rehearsed
    finally:
        take_back_everything(lab)
