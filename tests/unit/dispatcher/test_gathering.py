"""A dispatcher that takes an ordered webhook over gets back what was in hand before it begins anything, however silent the store is
meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from baas_operator.api.webhooks import Webhook
from baas_operator.dead_letters.letter import Source
from baas_operator.dispatcher import ordered
from baas_operator.dispatcher.config import Told
from baas_operator.dispatcher.held import Held
from baas_operator.dispatcher.ordered import OrderedEndpoint
from baas_operator.dispatcher.shared import Shared, Timing
from tests.unit.dispatcher.messages import message

TIMING = Timing(slack=0.2, lease=0.3)
"""What was in hand is waited for for 1.4 s."""


class Store:
    """It has nothing noted."""

    async def get(self, _: str) -> tuple[dict[str, Any], int]:
        return {}, 0


class Taken(OrderedEndpoint):
    """One that has just taken the lease over, of a consumer with three messages in hand."""

    def renew(self) -> None:
        self._lease._mine, self._lease._renewed = True, time.monotonic()
        self._lease._turn()

    def lose(self) -> None:
        self._lease._mine = False
        self._lease._turn()

    def comes(self, sequence: int, deliveries: int) -> None:
        made = replace(message(), sequence=sequence)
        held = Held(made, Source(sequence, made.subject, sequence), "", deliveries, 0.0)
        self._held[sequence] = held
        self._take_in(held)

    def begun(self) -> list[int]:
        return [self._ready.get_nowait().sequence for _ in range(self._ready.qsize())]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Taken:
    async def call(*_: object) -> dict[str, Any]:
        return {"num_ack_pending": 3}

    monkeypatch.setattr(ordered, "call", call)
    told = Webhook.model_validate(
        {"name": "a", "stream": "orders", "url": "https://a.example/", "timeoutSeconds": 1, "ordering": {"by": "subject"}}
    )
    connection = SimpleNamespace(new_inbox=lambda: "_INBOX.a")
    return Taken(Told(told), Shared(cast(Any, connection), cast(Any, Store()), ("shop", "jobs"), "me", timing=TIMING))


@pytest.fixture
async def taking_over(endpoint: Taken) -> AsyncIterator[asyncio.Task[None]]:
    endpoint.renew()
    task = asyncio.create_task(endpoint._begin())
    yield task
    task.cancel()
    await asyncio.wait([task])


async def test_nothing_is_begun_before_all_came_back_though_the_lease_can_not_be_renewed(
    endpoint: Taken, taking_over: asyncio.Task[None]
) -> None:
    await asyncio.sleep(0.1)
    endpoint.comes(7, deliveries=2)
    await asyncio.sleep(1.7)  # an election: longer than the lease is valid, and than what comes back is waited for
    assert not endpoint._lease.valid
    assert not taking_over.done()
    endpoint.renew()
    endpoint.comes(9, deliveries=1)
    endpoint.comes(6, deliveries=2)
    endpoint.comes(5, deliveries=2)
    await asyncio.wait_for(taking_over, 1)
    assert endpoint.begun() == [5]
    assert [each.sequence for each in endpoint._lanes._lanes["orders.new"]] == [5, 6, 7, 9]


async def test_what_never_comes_back_is_not_waited_for_for_ever(endpoint: Taken, taking_over: asyncio.Task[None]) -> None:
    endpoint.comes(7, deliveries=2)
    await asyncio.sleep(0.6)
    for _ in range(40):
        endpoint.renew()
        await asyncio.sleep(0.05)
    assert taking_over.done()
    assert endpoint.begun() == [7]


async def test_a_lease_that_is_lost_ends_it(endpoint: Taken, taking_over: asyncio.Task[None]) -> None:
    await asyncio.sleep(0.6)
    endpoint.lose()
    await asyncio.wait_for(taking_over, 1)
