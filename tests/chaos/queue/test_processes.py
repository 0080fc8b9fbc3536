"""A leader whose pod, container or process dies or hangs, on a node that lives."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_leaders_pod_is_deleted(promise: Promise) -> None:
    promise("pod-delete")


def test_the_leaders_nats_server_is_killed(promise: Promise) -> None:
    promise("nats-kill")


def test_the_leaders_container_is_killed(promise: Promise) -> None:
    promise("container-kill")


def test_the_leaders_nats_server_hangs(promise: Promise) -> None:
    promise("nats-hang")
