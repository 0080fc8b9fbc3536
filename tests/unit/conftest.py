"""A unit test that takes a minute hangs, and one that takes gigabytes runs away.

Property tests have no deadline (the machine may be busy) and keep no database: a failure prints what reproduces it.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("unit", deadline=None, database=None, print_blob=True, max_examples=100)
settings.load_profile("unit")


LONGEST_SECONDS = 60
MOST_BYTES = 8 * 2**30
"""Of addresses; with 5 GiB all of them pass."""


@pytest.fixture(scope="package", autouse=True)
def bounded() -> Iterator[None]:
    """A test that runs away fails, and says where. Without, the kernel ends what it likes, of the machine's other work, too."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    if before[1] == resource.RLIM_INFINITY:  # else somebody has bounded it already
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder get a shorter limit than those that wait for a cluster."""
    for item in items:
        if "tests/unit" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(LONGEST_SECONDS))
