"""Two hundred objects at once: all of them reconciled, in a time that can be told."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.harness.manifests import own

from .harness.children import wait_leads
from .harness.cluster import ControlPlane

OBJECTS = 200
WITHIN_SECONDS = 300.0
"""Two cores carry the API server, etcd, the controllers, 600 pods and the operator, and in CI perhaps other things: the bound is for
what never ends, the figures that are printed are for people."""


@pytest.mark.chaos  # minutes of a machine's whole time
def test_two_hundred_objects(cp: ControlPlane, namespace: str, figure: Callable[[str], None]) -> None:
    kinds = ("DatabaseReplica", "EventQueue")
    with cp.operator() as operator:
        wait_leads(cp, operator.name)
        mark = cp.audit.mark()
        started = time.monotonic()
        for number in range(OBJECTS):
            cp.must_apply(own(kinds[number % 2], f"n{number:03}", {"suspend": False}), namespace)

        def judged() -> bool:
            every = [each for kind in kinds for each in cp.list(kind, namespace)]
            return len(every) == OBJECTS and all(each.get("status", {}).get("conditions") for each in every)

        cp.wait(judged, WITHIN_SECONDS, f"{OBJECTS} objects with conditions", every=1.0)
        took = time.monotonic() - started
        made = len(cp.list("StatefulSet", namespace))
        cpu = operator.cpu_seconds()

    calls = [call for call in cp.audit.calls(mark) if call.namespace == namespace]
    writes = cp.writes(mark, namespace=namespace)
    figure(
        f"{OBJECTS} objects: {took:.1f} s, {cpu:.1f} s of it on the operator's processor, "
        f"{len(calls)} requests, {len(writes)} of them writes"
    )
    assert made == OBJECTS
