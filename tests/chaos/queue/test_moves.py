"""What is done to a leader on purpose: it moves before anything is taken from it."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_a_planned_move_of_the_streams_leader(promise: Promise) -> None:
    promise("stepdown")


def test_a_drain_of_the_leaders_node(promise: Promise) -> None:
    promise("drain")


def test_a_rolling_update_under_load(promise: Promise) -> None:
    promise("roll")
