"""Within a key the next message is sent only once the one before was taken or is a dead letter, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import defaultdict

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import StreamConfig

from baas_operator.dispatcher import consumers
from tests.jetstream.dispatcher.endpoints import Delivery, HttpEndpoint
from tests.jetstream.dispatcher.rig import Here, Process, Rig, dead, until, webhook
from tests.jetstream.dispatcher.test_delivery import status

KEYS = 5


async def _publish(client: Nats, count: int, first: int = 0) -> None:
    js = client.jetstream(timeout=10)
    for number in range(first, first + count):
        await js.publish(f"orders.{number % KEYS}", b"{}", headers={"Nats-Msg-Id": f"m{number}", "Customer": str(number % KEYS)})


def _check(came: list[Delivery]) -> None:
    """A message of a key comes only after the ones before it; again it may come, but not after a later one."""
    latest: dict[str, int] = defaultdict(lambda: -1)
    for each in came:
        number = int(each.id[1:])
        key = each.headers["ce-subject"]
        assert number >= latest[key], f"m{number} of {key} came after m{latest[key]}"
        assert number <= latest[key] + KEYS or latest[key] < 0, f"m{number} of {key} passed another: m{latest[key]} was before it"
        latest[key] = number


async def test_in_order_where_some_fail(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    chance = random.Random(1)
    http.answer = lambda _: status(500 if chance.random() < 0.2 else 204)
    rig.tell(webhook(http.url, ordering={"by": "subject"}, circuitBreaker={"failures": 100}))
    async with Here(rig), Here(rig):
        await _publish(nats_client, 60)
        await until(lambda: len(set(http.ids())) == 60, seconds=60)
    _check(http.came)


async def test_one_that_fails_keeps_only_its_own_key_waiting(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda each: status(500 if each.id == "m0" else 204)
    rig.tell(webhook(http.url, ordering={"by": "header", "header": "customer"}, retrySeconds=[1, 1]))
    async with Here(rig):
        await _publish(nats_client, 50)
        await until(lambda: len(http.taken) == 40, seconds=20, what="the other keys")
        await until(lambda: len(http.taken) == 49, seconds=20, what="the key, once its first message is a dead letter")
    _check(http.came)
    assert list(await dead(nats_client)) == [1]
    assert [each.headers["x-webhook-attempt"] for each in http.came if each.id == "m0"] == ["1", "2", "3"]


async def test_attempts_are_counted_through_an_orderly_handover(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    http.answer = lambda each: status(500 if each.id == "m0" else 204)
    rig.tell(webhook(http.url, ordering={"by": "subject"}, retrySeconds=[2, 2, 2]))
    async with Here(rig):
        await _publish(nats_client, 10)
        await until(lambda: len(http.came) >= 10)
    before = len(http.came)
    async with Here(rig):
        await until(lambda: len(set(http.ids())) == 9, seconds=30)
    _check(http.came)
    assert before >= 10
    assert [each.headers["x-webhook-attempt"] for each in http.came if each.id == "m0"] == ["1", "2", "3", "4"]


async def test_who_could_not_renew_its_lease_for_a_while_goes_on(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    async def slowly(_: Delivery) -> object:
        await asyncio.sleep(0.1)
        return status(204)

    http.answer = slowly  # type: ignore[assignment]
    rig.tell(webhook(http.url, ordering={"by": "subject"}))
    async with Here(rig):
        await _publish(nats_client, 100)
        await until(lambda: len(http.taken) > 10)
        rig.servers.signal("nats-0", signal.SIGSTOP)
        await asyncio.sleep(3)
        stopped_at = len(http.came)
        await asyncio.sleep(0.5)
        assert len(http.came) == stopped_at, "nothing is begun while nobody knows whose the lease is"
        rig.servers.signal("nats-0", signal.SIGCONT)
        await until(lambda: len(set(http.ids())) == 100, seconds=60)
    _check(http.came)


async def test_the_holder_is_killed_and_the_order_holds(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    chance = random.Random(5)

    async def answer(_: Delivery) -> object:
        await asyncio.sleep(0.05)
        return status(500 if chance.random() < 0.2 else 204)

    http.answer = answer  # type: ignore[assignment]
    rig.tell(webhook(http.url, ordering={"by": "subject"}, circuitBreaker={"failures": 100}))
    first = rig.process()
    second = None
    try:
        await _publish(nats_client, 100)
        await until(lambda: len(http.taken) > 10)
        second = rig.process()
        await asyncio.sleep(1)
        first.kill()
        came = len(http.came)
        await _publish(nats_client, 50, first=100)
        await until(lambda: len(set(http.ids())) == 150, seconds=90)
    finally:
        first.kill()
        if second:
            second.kill()
    assert len(http.came) > came
    _check(http.came)


@pytest.mark.parametrize("away_seconds", [0.0, 3.0])
async def test_what_was_in_hand_of_a_stream_that_was_made_again_is_not_taken_for_what_has_its_place(
    nats_client: Nats, http: HttpEndpoint, rig: Rig, away_seconds: float
) -> None:
    """Both count from 1. The new message would be acknowledged, and nobody sent it."""
    again = False

    async def answer(_: Delivery) -> object:
        if not again:
            await asyncio.sleep(0.8)
        return status(204)

    http.answer = answer  # type: ignore[assignment]
    rig.tell(webhook(http.url, ordering={"by": "subject"}, concurrency=2))
    async with Here(rig):
        await _publish(nats_client, 15)
        await until(lambda: len(http.came) >= 2)
        await nats_client.jetstream().delete_stream("orders")
        await asyncio.sleep(away_seconds)
        await nats_client.jetstream().add_stream(StreamConfig(name="orders", subjects=["orders.>"]))
        again = True
        await _publish(nats_client, 20, first=100)
        await until(lambda: {f"m{number}" for number in range(100, 120)} <= set(http.ids()), seconds=30)


# --- many behind one that fails -------------------------------------------------------------------------------------------


async def _behind(client: Nats, subject: str, numbers: range) -> None:
    js = client.jetstream(timeout=10)
    for first in range(numbers.start, numbers.stop, 100):
        await asyncio.gather(*(
            js.publish(subject, f"payload {number}".encode(), headers={"Nats-Msg-Id": f"m{number}", "Content-Type": "text/plain"})
            for number in range(first, min(first + 100, numbers.stop))
        ))  # fmt: skip


def _numbers(came: list[Delivery], subject: str) -> list[int]:
    return [int(each.payload.split()[1]) for each in came if each.headers["ce-subject"] == subject]


def _is_whole(came: list[Delivery]) -> None:
    for each in came:
        assert each.headers["content-type"] == "text/plain"
        assert each.id == f"m{each.payload.split()[1].decode()}"


async def test_more_than_are_kept_whole_wait_behind_one_and_no_other_key_does(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    broken = True
    http.answer = lambda each: status(400 if broken and each.headers["ce-subject"] == "orders.bad" else 204)
    rig.tell(webhook(http.url, ordering={"by": "subject"}, retrySeconds=[2] * 20))
    async with Here(rig) as here:
        await _behind(nats_client, "orders.bad", range(700))
        await _behind(nats_client, "orders.good", range(700, 1000))
        await until(lambda: len(http.taken) == 300, seconds=20, what="the other key")
        assert _numbers(http.taken, "orders.good") == sorted(_numbers(http.taken, "orders.good"))
        await until(lambda: here.status("a")["held"] == 700, what="all of them are in hand")
        slot = here.program._dispatcher._slots["a"].endpoint
        assert slot
        assert sum(each.whole for each in slot._held.values()) <= 256 + 20
        broken = False
        await until(lambda: len(http.taken) == 1000, seconds=40)
        await until(lambda: here.status("a")["held"] == 0)
    first, *rest = dict.fromkeys(_numbers(http.came, "orders.bad"))
    assert [first, *rest] == sorted([first, *rest]), "in order"
    assert _numbers(http.taken, "orders.bad") == [first, *rest], "each once"
    _is_whole(http.came)
    assert await dead(nats_client) == {}


@pytest.mark.parametrize("killed", [True, False])
async def test_their_order_holds_when_another_takes_over(nats_client: Nats, http: HttpEndpoint, rig: Rig, killed: bool) -> None:
    broken = {"orders.bad", "orders.worse"}
    http.answer = lambda each: status(400 if each.headers["ce-subject"] in broken else 204)
    rig.tell(webhook(http.url, ordering={"by": "subject"}, retrySeconds=[2] * 20))
    processes = [rig.process()]
    try:
        for number in range(4):
            await _behind(nats_client, "orders.bad", range(200 * number, 200 * number + 150))
            await _behind(nats_client, "orders.worse", range(200 * number + 150, 200 * number + 200))
        await _behind(nats_client, "orders.good", range(800, 900))
        await until(lambda: len(http.taken) == 100, seconds=20, what="the other key")
        await _in_hand(processes[0], 800)
        processes.append(rig.process())
        await asyncio.sleep(1)
        if killed:
            processes[0].kill()
        else:
            assert await processes[0].terminate() == 0
        broken.discard("orders.bad")
        await _behind(nats_client, "orders.bad", range(900, 1000))
        await until(lambda: len(http.taken) == 800, seconds=40, what="the key that works again")
        broken.clear()
        await until(lambda: len(http.taken) == 1000, seconds=40)
    finally:
        for each in processes:
            each.kill()
    for subject, count in (("orders.bad", 700), ("orders.worse", 200), ("orders.good", 100)):
        came = _numbers(http.came, subject)
        assert came == sorted(came), f"{subject}: in order"
        assert len(set(came)) == count
    _is_whole(http.came)


async def _in_hand(process: Process, count: int) -> None:
    for _ in range(200):
        _, said = await process.get("/status")
        if said and json.loads(said)["webhooks"][0]["held"] == count:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{count} were not in hand")


async def test_one_that_the_stream_has_no_more_is_passed_over(nats_client: Nats, http: HttpEndpoint, rig: Rig) -> None:
    broken = True
    http.answer = lambda _: status(400 if broken else 204)
    rig.tell(webhook(http.url, ordering={"by": "subject"}, retrySeconds=[2] * 20))
    async with Here(rig) as here:
        await _behind(nats_client, "orders.bad", range(400))
        await until(lambda: here.status("a").get("held") == 400)
        for sequence in (300, 350, 400):
            assert await nats_client.jetstream().delete_msg("orders", sequence)
        broken = False
        await until(lambda: len(http.taken) == 397 and here.status("a")["held"] == 0, seconds=40)
        info = await nats_client.jetstream().consumer_info("orders", "BAAS_webhook_a")
        assert info.num_ack_pending == 0
    assert _numbers(http.taken, "orders.bad") == sorted(set(range(400)) - {299, 349, 399})


async def test_there_is_an_end_to_what_is_held(nats_client: Nats, http: HttpEndpoint, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "MOST_IN_ORDER", 300)
    http.answer = lambda _: status(400)
    rig.tell(webhook(http.url, ordering={"by": "subject"}, retrySeconds=[30] * 3))
    async with Here(rig) as here:
        await _behind(nats_client, "orders.bad", range(500))
        await until(lambda: here.status("a").get("held") == 300)
        await asyncio.sleep(1)
        assert here.status("a")["held"] == 300
