"""What a backend promises its clients, whatever goes: the lines of the issue "4 · BaasInstance", one run of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest

from baas_lab.cluster import Cluster
from bench.instance.bounds import broken
from tests.chaos.faults import take_back_everything
from tests.chaos.instance.backend import OursBackend
from tests.chaos.instance.scenes import SCENES, play

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def backend(lab: Cluster) -> Iterator[OursBackend]:
    """A BaasInstance of an empty spec, with the table that clients use."""
    made = OursBackend.on(lab, "chaos-instance")
    made.deploy()
    yield made
    made.remove(wait=False)


@pytest.mark.parametrize("scene", SCENES)
def test_clients_see_it_through(lab: Cluster, backend: OursBackend, scene: str, figure: Callable[[str], None]) -> None:
    try:
        result = play(backend, scene)
    finally:
        take_back_everything(lab)
    figure(f"backend, {SCENES[scene][0]}: {result.told()}")
    assert not list(broken({scene: [asdict(result)]})), result.errors
