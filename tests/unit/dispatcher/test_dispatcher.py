"""What dispatchers keep and delete of the consumers of webhooks, against a JetStream that knows no more than these."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from baas_operator.api.webhooks import Webhook
from baas_operator.dispatcher import consumers, metrics
from baas_operator.dispatcher.config import Told
from baas_operator.dispatcher.consumers import Backlog
from baas_operator.dispatcher.dispatcher import Dispatcher
from baas_operator.dispatcher.endpoint import Endpoint
from baas_operator.dispatcher.shared import Shared, Timing

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)


class JetStream:
    """The stream `orders` and its consumers."""

    def __init__(self) -> None:
        self.consumers: dict[str, dict[str, Any]] = {}
        self.now = 0.0
        self.asked: list[str] = []

    async def request(self, subject: str, _: bytes, timeout: float) -> SimpleNamespace:  # noqa: ASYNC109 - nats-py's
        *_, what, stream, name = subject.split(".")
        self.asked.append(what)
        there = name in self.consumers
        if stream != "orders" or not (there or what == "CREATE"):
            code = 10014 if stream == "orders" else 10059
            return SimpleNamespace(data=json.dumps({"error": {"description": "not found", "err_code": code}}).encode())
        if what == "CREATE" and not there:
            self.consumers[name] = {"created": self._at(self.now), "num_waiting": 0}
        answer = self.consumers.pop(name) if what == "DELETE" else self.consumers[name]
        return SimpleNamespace(data=json.dumps(answer | {"ts": self._at(self.now)}).encode())

    def new_inbox(self) -> str:
        return "_INBOX.a"

    @staticmethod
    def _at(seconds: float) -> str:
        return (BEGAN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@pytest.fixture
def jetstream() -> JetStream:
    return JetStream()


def told(*webhooks: str, stream: str = "orders") -> list[Told]:
    """Webhooks that can not be delivered: all that is done for them is to keep their place."""
    made = [Webhook.model_validate({"name": each, "stream": stream, "url": "https://a.example/"}) for each in webhooks]
    return [Told(each, trouble="its secret is not there") for each in made]


def shared(jetstream: JetStream) -> Shared:
    return Shared(cast(Any, jetstream), cast(Any, None), ("shop", "jobs"), "me", timing=Timing(place=0.05))


@asynccontextmanager
async def dispatcher(jetstream: JetStream, *webhooks: str) -> AsyncIterator[Dispatcher]:
    made = Dispatcher(shared(jetstream))
    made.apply(told(*webhooks), ["orders"])
    try:
        yield made
    finally:
        await made.stop()


async def sweeps(jetstream: JetStream, *those: Dispatcher, seconds: float) -> None:
    for _ in range(int(seconds / 60)):
        jetstream.now += 60
        for each in those:
            await each.sweep_once(jetstream.now)


async def exist(jetstream: JetStream, *webhooks: str) -> None:
    for each in webhooks:
        await jetstream.request(f"$JS.API.CONSUMER.CREATE.orders.BAAS_webhook_{each}", b"", 1)


def left(jetstream: JetStream) -> list[str]:
    return sorted(each.removeprefix("BAAS_webhook_") for each in jetstream.consumers)


async def test_what_is_taken_out_goes_once_all_have_heard_of_it(jetstream: JetStream) -> None:
    await exist(jetstream, "a", "b")
    async with dispatcher(jetstream, "a", "b") as one:
        await sweeps(jetstream, one, seconds=600)
        one.apply(told("a"), ["orders"])
        await sweeps(jetstream, one, seconds=180)
        assert left(jetstream) == ["a", "b"]
        await sweeps(jetstream, one, seconds=60)
        assert left(jetstream) == ["a"]


async def test_who_has_heard_nothing_new_deletes_nothing_of_what_others_deliver(jetstream: JetStream) -> None:
    """As on a node whose kubelet is cut off: the others would make it anew, and send the whole stream again."""
    await exist(jetstream, "a", "later")
    async with dispatcher(jetstream, "a") as one:
        await sweeps(jetstream, one, seconds=3600)
        assert left(jetstream) == ["a", "later"]


async def test_what_one_that_has_heard_nothing_new_delivers_stays(jetstream: JetStream) -> None:
    """It would make the consumer anew, and send the whole stream again."""
    await exist(jetstream, "a", "b")
    async with dispatcher(jetstream, "a", "b") as one:
        jetstream.consumers["BAAS_webhook_b"]["num_waiting"] = 1
        one.apply(told("a"), ["orders"])
        await sweeps(jetstream, one, seconds=3600)
        assert left(jetstream) == ["a", "b"]
        jetstream.consumers["BAAS_webhook_b"]["num_waiting"] = 0
        await sweeps(jetstream, one, seconds=120)
        assert left(jetstream) == ["a", "b"], "it asks again in a moment"
        await sweeps(jetstream, one, seconds=60)
        assert left(jetstream) == ["a"]


async def test_what_is_made_again_is_not_deleted_again(jetstream: JetStream) -> None:
    async with dispatcher(jetstream, "a", "b") as one:
        one.apply(told("a"), ["orders"])
        await exist(jetstream, "a", "b")
        await sweeps(jetstream, one, seconds=300)
        assert left(jetstream) == ["a"]
        await exist(jetstream, "b")
        await sweeps(jetstream, one, seconds=3600)
        assert left(jetstream) == ["a", "b"]


async def test_of_a_webhook_that_moved_to_another_stream_the_first_one_goes(jetstream: JetStream) -> None:
    await exist(jetstream, "a")
    async with dispatcher(jetstream, "a") as one:
        one.apply(told("a", stream="other"), ["orders", "other"])
        await sweeps(jetstream, one, seconds=240)
        assert left(jetstream) == []


async def _is_made(jetstream: JetStream) -> None:
    async with asyncio.timeout(5):
        while left(jetstream) != ["a"]:  # noqa: ASYNC110 - a stand-in tells nobody
            await asyncio.sleep(0.01)


async def test_the_place_of_one_that_is_not_delivered_is_kept_also_where_somebody_deletes_it(jetstream: JetStream) -> None:
    async with dispatcher(jetstream, "a"):
        for _ in range(3):
            await _is_made(jetstream)
            jetstream.consumers.clear()


async def test_what_is_there_stays_as_another_made_it(jetstream: JetStream) -> None:
    """It may have heard of filters since that this one has not."""
    async with dispatcher(jetstream, "a"):
        await _is_made(jetstream)
        await asyncio.sleep(0.2)
    assert jetstream.asked.count("CREATE") == 1
    assert jetstream.asked.count("INFO") >= 2


@pytest.mark.parametrize("disabled", ["the endpoint answered 410", None])
async def test_the_place_of_one_that_is_disabled_is_kept(jetstream: JetStream, disabled: str | None) -> None:
    (what,) = told("a")
    endpoint = Endpoint(replace(what, trouble=None), shared(jetstream))
    endpoint.standing.record = replace(endpoint.standing.record, disabled=disabled)
    task = asyncio.create_task(endpoint._keep_place())
    try:
        if disabled:
            await _is_made(jetstream)
        else:
            await asyncio.sleep(0.2)
            assert jetstream.asked == [], "its requests for messages are told"
    finally:
        endpoint.stop()
        await asyncio.wait_for(task, 1)


async def test_series_of_a_webhook_that_is_taken_out_while_its_backlog_is_asked_for_stay_away(
    jetstream: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = asyncio.Event(), asyncio.Event()

    async def late(*_: Any) -> Backlog:
        asked.set()
        await answers.wait()
        return Backlog(3, 0, None)

    monkeypatch.setattr(consumers, "backlog", late)
    async with dispatcher(jetstream, "taken-out") as one:
        watching = asyncio.create_task(one._watch_backlogs())
        try:
            await asyncio.wait_for(asked.wait(), 5)
            one.apply([], ["orders"])
            await asyncio.wait_for(asyncio.gather(*one._ending), 5)
            answers.set()
            await asyncio.sleep(0.05)
        finally:
            watching.cancel()
    gauges = (metrics.PENDING, metrics.OLDEST, metrics.FAILURES, metrics.STATE)
    samples = [each for gauge in gauges for family in gauge.collect() for each in family.samples]
    assert not [each for each in samples if each.labels["webhook"] == "taken-out"]
