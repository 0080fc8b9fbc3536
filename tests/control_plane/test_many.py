"""Two hundred objects at once: all of them reconciled, in a time that can be told."""

from __future__ import annotations

import time

from .harness.children import wait_leads
from .harness.cluster import ControlPlane
from .harness.manifests import own

OBJECTS = 200
WITHIN_SECONDS = 120.0
"""Two cores carry the API server, etcd, the controllers, 600 pods and the operator; it takes a fraction of this."""


def test_two_hundred_objects(cp: ControlPlane, namespace: str) -> None:
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

        cp.wait(judged, WITHIN_SECONDS, f"{OBJECTS} objects with conditions")
        cp.wait(lambda: len(cp.list("StatefulSet", namespace)) == OBJECTS, WITHIN_SECONDS, f"{OBJECTS} StatefulSets")
        took = time.monotonic() - started

    writes = cp.writes(mark, namespace=namespace)
    print(f"\n{OBJECTS} objects: {took:.1f} s, {len(writes)} writes, {len(writes) / took:.0f} a second")
    assert took < WITHIN_SECONDS
