"""What the stories of whole reconciles have in common."""

from __future__ import annotations

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from tests.unit.engine.reconciling import Operator


@pytest.fixture
def queue() -> Operator:
    return Operator(EVENT_QUEUE, "mq")
