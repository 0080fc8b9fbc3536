"""The tables that tests and bench share fit each other."""

from __future__ import annotations

import pytest

from tests.chaos.database.bounds import BOUNDS
from tests.chaos.database.faults import FAULTS
from tests.chaos.database.systems import with_address
from tests.chaos.faults import Fault
from tests.chaos.queue import bounds
from tests.chaos.queue import faults as queue


def test_every_fault_has_a_bound() -> None:
    assert list(BOUNDS) == list(FAULTS)
    assert list(bounds.SECONDS) == list(queue.FAULTS)


def test_a_queue_meets_every_fault_that_a_database_does_but_for_those_of_its_processes() -> None:
    def shared(table: dict[str, Fault]) -> list[object]:
        return [fault.inject for fault in table.values() if fault.inject.__module__ == Fault.__module__]

    assert shared(FAULTS) == shared(queue.FAULTS)
    assert len(shared(FAULTS)) == 16


@pytest.mark.parametrize(("seconds", "over", "bad"), [(9.9, False, False), (10.1, False, True), (3.0, True, True)])
def test_a_gap_is_held_against_what_is_promised_of_its_fault(seconds: float, over: bool, bad: bool) -> None:
    assert bool(bounds.broken("nats-kill", seconds, over=over)) is bad
    assert not bounds.broken("power-cut", 60.0, over=False)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://shop:pw@main-rw.ns.svc:5432/shop", "postgresql://shop:pw@main-rw.ns.svc:5432/shop?hostaddr=10.0.0.1"),
        (
            "postgresql://shop:pw@main-rw.ns.svc:5432/shop?sslmode=require",
            "postgresql://shop:pw@main-rw.ns.svc:5432/shop?sslmode=require&hostaddr=10.0.0.1",
        ),
    ],
)
def test_a_uri_leads_to_an_address_and_keeps_what_else_it_says(uri: str, expected: str) -> None:
    assert with_address(uri, "10.0.0.1") == expected
