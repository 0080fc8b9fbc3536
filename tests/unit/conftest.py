"""A unit test that takes a minute hangs.

Property tests have no deadline (the machine may be busy) and keep no database: a failure prints what reproduces it.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("unit", deadline=None, database=None, print_blob=True, max_examples=100)
settings.load_profile("unit")


LONGEST_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder get a shorter limit than those that wait for a cluster."""
    for item in items:
        if "tests/unit" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(LONGEST_SECONDS))
