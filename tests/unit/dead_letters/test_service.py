"""What a dispatcher does with word of a stream of which it has not read yet."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from baas_operator.dead_letters.service import DeadLetterService

TOLD = {
    "type": "io.nats.jetstream.advisory.v1.max_deliver", "timestamp": "2026-05-01T12:00:00Z", "stream": "new", "consumer": "c",
    "deliveries": 1, "stream_seq": 1,
}  # fmt: skip


class Told:
    """An advisory out of the stream that keeps them, and what was answered to it."""

    def __init__(self, *, age: float, tries: int) -> None:
        self.data = json.dumps(TOLD).encode()
        self.metadata = SimpleNamespace(num_delivered=tries, timestamp=datetime.now(UTC) - timedelta(seconds=age))
        self.answers: list[Any] = []

    async def ack(self) -> None:
        self.answers.append("ack")

    async def nak(self, delay: float) -> None:
        self.answers.append(delay)


@pytest.mark.parametrize(("age", "tries", "answer"), [(0, 1, 30.0), (100, 3, 120.0), (595, 5, 480.0), (601, 6, "ack")])
async def test_what_is_told_of_a_stream_that_is_not_known_yet_waits_for_ten_minutes(age: float, tries: int, answer: object) -> None:
    """What declares it may be on its way: the operator makes what tells of it before kubelets bring the dispatchers word."""
    service = DeadLetterService(cast(Any, None), {"other": "limits"})
    told = Told(age=age, tries=tries)
    await service._answered(cast(Any, told))
    assert told.answers == [answer]
