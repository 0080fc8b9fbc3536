"""A leader that is cut from some of those it needs."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_leaders_node_is_unplugged(promise: Promise) -> None:
    promise("unplug")


def test_the_leader_is_cut_from_its_followers_alone(promise: Promise) -> None:
    promise("partition-followers")


def test_followers_do_not_hear_the_leader(promise: Promise) -> None:
    promise("partition-to-followers")


def test_the_leader_does_not_hear_the_followers(promise: Promise) -> None:
    promise("partition-of-followers")


def test_the_leader_is_cut_from_the_api_server_alone(promise: Promise) -> None:
    promise("partition-api")
