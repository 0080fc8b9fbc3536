"""What is done to a primary on purpose: it moves before anything is taken from it."""

from __future__ import annotations

import pytest

from tests.chaos.database.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_a_planned_switchover_is_a_stall_and_no_error(promise: Promise) -> None:
    promise("switchover")


def test_a_drain_of_the_primarys_node(promise: Promise) -> None:
    promise("drain")


def test_a_rolling_update_under_load(promise: Promise) -> None:
    promise("roll")
