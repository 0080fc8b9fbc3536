"""A primary that is cut from some of those it needs. Writes go on, or another takes over; never do two acknowledge."""

from __future__ import annotations

import pytest

from tests.chaos.database.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_primarys_node_is_unplugged(promise: Promise) -> None:
    promise("unplug")


def test_the_primary_is_cut_from_its_standbys_alone(promise: Promise) -> None:
    promise("partition-standbys")


def test_the_primary_is_cut_from_the_api_server_alone(promise: Promise) -> None:
    promise("partition-api")


@pytest.mark.parametrize("direction", ["to", "of"])
def test_packets_are_lost_one_way(promise: Promise, direction: str) -> None:
    """`to` the standbys, or those `of` the standbys to the primary."""
    promise(f"partition-{direction}-standbys")
