"""The tables that tests and bench share fit each other."""

from __future__ import annotations

import pytest

from tests.chaos.database.bounds import BOUNDS
from tests.chaos.faults import FAULTS
from tests.chaos.systems import with_address


def test_every_fault_has_a_bound() -> None:
    assert list(BOUNDS) == list(FAULTS)


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
