"""A control plane that is away: nobody who publishes or reads should know."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_the_api_server_is_away_for_two_minutes(promise: Promise) -> None:
    promise("api-server")
