"""A primary whose node is gone, or as good as gone."""

from __future__ import annotations

import pytest

from tests.chaos.database.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_primarys_node_is_powered_off(promise: Promise) -> None:
    promise("power-off")


def test_the_primarys_node_is_frozen(promise: Promise) -> None:
    promise("freeze")
