"""Two operators, one Lease: only its holder acts, and the other takes over soon after the holder is gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.harness.manifests import own

from .harness.children import leader, wait_judged, wait_leads, wait_quiet
from .harness.cluster import ControlPlane

TAKES_OVER_SECONDS = 15.0
FIRST, SECOND = "baas-operator-0", "baas-operator-1"


def test_only_the_holder_of_the_lease_acts(cp: ControlPlane, namespace: str) -> None:
    with cp.operator(FIRST):
        wait_leads(cp, FIRST)
        with cp.operator(SECOND):
            mark = cp.audit.mark()
            cp.wait(lambda: any(call.resource == "leases" for call in cp.audit.calls(mark, SECOND)), 30, f"{SECOND} asks for the Lease")
            cp.must_apply(own("EventQueue", "events", {}), namespace)
            wait_judged(cp, namespace, "EventQueue", "events")
            wait_quiet(cp)

            assert leader(cp) == FIRST
            assert cp.writes(mark, FIRST)
            assert cp.writes(mark, SECOND) == []


def test_killed_leader_is_replaced(cp: ControlPlane, namespace: str, figure: Callable[[str], None]) -> None:
    with cp.operator(FIRST) as first:
        wait_leads(cp, FIRST)
        with cp.operator(SECOND):
            cp.must_apply(own("EventQueue", "events", {}), namespace)
            cp.wait(lambda: cp.get("StatefulSet", namespace, "events"), 30, "the servers")
            wait_quiet(cp)

            first.kill9()
            killed = time.monotonic()
            cp.delete("Service", namespace, "events")
            cp.wait(lambda: cp.get("Service", namespace, "events"), 2 * TAKES_OVER_SECONDS, f"{SECOND} repairs what was deleted")
            took = time.monotonic() - killed

            figure(f"killed leader: the other had repaired a Service after {took:.1f} s")
            assert leader(cp) == SECOND
            assert took < TAKES_OVER_SECONDS


def test_leader_that_stops_hands_over_at_once(cp: ControlPlane, namespace: str, figure: Callable[[str], None]) -> None:
    """A rolling update of the operator must not cost the fleet the Lease's whole life."""
    with cp.operator(FIRST) as first:
        wait_leads(cp, FIRST)
        with cp.operator(SECOND):
            mark = cp.audit.mark()
            cp.wait(lambda: any(call.resource == "leases" for call in cp.audit.calls(mark, SECOND)), 30, f"{SECOND} asks for the Lease")
            first.stop()
            stopped = time.monotonic()
            wait_leads(cp, SECOND, 10)
            figure(f"stopped leader: the other led after {time.monotonic() - stopped:.1f} s")
            assert time.monotonic() - stopped < 5


def test_frozen_leader_writes_nothing_after_it_wakes(cp: ControlPlane, namespace: str) -> None:
    """A leader that was frozen past its Lease finds it lost, and ends before it does any harm."""
    with cp.operator(FIRST) as first:
        wait_leads(cp, FIRST)
        with cp.operator(SECOND):
            first.may_end = True
            first.freeze()
            wait_leads(cp, SECOND, 2 * TAKES_OVER_SECONDS)
            mark = cp.audit.mark()
            first.thaw()
            cp.must_apply(own("EventQueue", "events", {}), namespace)
            wait_judged(cp, namespace, "EventQueue", "events")
            wait_quiet(cp)

            assert cp.writes(mark, FIRST) == []
            assert leader(cp) == SECOND
            cp.wait(lambda: not first.running, 15, f"{FIRST} ends, so that the kubelet starts it afresh")
