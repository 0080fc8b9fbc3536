"""A leader whose node is gone, or as good as gone."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_leaders_node_is_powered_off(promise: Promise) -> None:
    promise("power-off")


def test_the_leaders_node_is_gone_with_its_volume(promise: Promise) -> None:
    promise("volume-lost")


def test_the_leaders_node_is_frozen(promise: Promise) -> None:
    promise("freeze")
