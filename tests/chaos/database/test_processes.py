"""A primary whose pod, container or processes die, on a node that lives."""

from __future__ import annotations

import pytest

from tests.chaos.database.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_primarys_pod_is_deleted(promise: Promise) -> None:
    promise("pod-delete")


@pytest.mark.parametrize("what", ["postgres", "patroni", "container"])
def test_a_process_of_the_primary_is_killed(promise: Promise, what: str) -> None:
    promise(f"{what}-kill")


def test_patroni_hangs_while_postgresql_goes_on(promise: Promise) -> None:
    promise("patroni-hang")
