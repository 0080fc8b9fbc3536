"""All nodes lose their power at one moment, and with it what was not synced: `strict` loses nothing, `balanced` no more than it says."""

from __future__ import annotations

import pytest

from tests.chaos.queue.conftest import Promise
from tests.chaos.queue.systems import OursQueue

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("system", ["strict", "balanced"], indirect=True)
def test_all_nodes_lose_their_power_at_one_moment(promise: Promise, system: OursQueue) -> None:
    outcome = promise("power-cut")

    assert outcome.loss_window_seconds == (0 if system.durability == "strict" else 1)
