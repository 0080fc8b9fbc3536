"""Every node restarts, by turns and at once."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_every_node_restarts_one_after_another(promise: Promise) -> None:
    promise("restart-in-turn")


def test_all_nodes_restart_at_once(promise: Promise) -> None:
    promise("restart-all")
