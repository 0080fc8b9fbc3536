"""Every node restarts, by turns, at once, and without what was not synced."""

from __future__ import annotations

import pytest

from tests.chaos.database.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_every_node_restarts_one_after_another(promise: Promise) -> None:
    promise("restart-in-turn")


def test_all_nodes_restart_at_once(promise: Promise) -> None:
    promise("restart-all")


def test_all_nodes_lose_their_power_at_one_moment(promise: Promise) -> None:
    promise("power-cut")
