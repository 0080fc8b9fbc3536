"""Fixtures: one control plane a session, one namespace a test."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterator

import pytest

from baas_operator.api.kinds import OWN_KINDS

from .harness.cluster import ControlPlane

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cp() -> Iterator[ControlPlane]:
    """The control plane; it goes with the test run, also when that is interrupted or asked to end."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    control_plane = ControlPlane.up()
    try:
        yield control_plane
    finally:
        control_plane.down()
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def namespace(cp: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace; it is emptied afterwards, so that the next test's operator has nothing of this one to do."""
    story = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).removeprefix("test-")
    name = f"t{next(_numbers)}-{story}"[:63].strip("-")
    cp.must_apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    for kind in OWN_KINDS:
        cp.delete_all(kind.name, name)
    cp.delete("Namespace", None, name)
