"""What dispatchers count of dead letters, as a Prometheus would scrape it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prometheus_client import REGISTRY

from baas_operator.dead_letters.count import Census
from baas_operator.dead_letters.letter import Reason
from baas_operator.desired.queue.dead_letters import ADVISORIES, ADVISORIES_CONSUMER, MAX_DELIVERIES, advisories_consumer_config
from baas_operator.jetstream.requests import JetStreamError, call
from baas_operator.jetstream.tasks import end
from tests.jetstream.dead_letters.conftest import Queue, until

HOUR = 3600


def value(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"baas_dead_letters{metric}", labels)


def buried(stream: str) -> dict[str, float | None]:
    """By reason; those that are 0 left out."""
    found = {each.value: value("_buried_total", stream=stream, reason=each) for each in Reason}
    return {reason: count for reason, count in found.items() if count != 0}


@asynccontextmanager
async def counting(queue: Queue, *streams: str, advisories: bool = False) -> AsyncIterator[Census]:
    census = Census(queue.connection, seconds=0.1)
    census.apply(streams, advisories=advisories)
    task = asyncio.create_task(census.run())
    try:
        yield census
        assert not task.done(), task.exception()
    finally:
        await end([task])
        census.apply((), advisories=False)


async def becomes(metric: str, wanted: float | None, **labels: str) -> None:
    async def so() -> bool:
        return value(metric, **labels) == wanted

    try:
        await until(so, seconds=20)
    except TimeoutError:
        raise AssertionError(f"{metric} {labels} is {value(metric, **labels)}, and not {wanted}") from None


async def age(queue: Queue, stream: str, seconds: int) -> None:
    """How long dead letters of a stream are kept."""
    name = f"BAAS_DEAD_{stream}"
    config = (await call(queue.connection, f"$JS.API.STREAM.INFO.{name}"))["config"]
    changed = {"max_age": seconds * 10**9, "duplicate_window": min(seconds * 10**9, config["duplicate_window"])}
    await call(queue.connection, f"$JS.API.STREAM.UPDATE.{name}", config | changed, seconds=20)


async def test_how_many_are_kept_how_old_they_are_and_how_much_room_is_left(queue: Queue) -> None:
    await queue.stream("counted", max_size="1Mi")
    await age(queue, "counted", 24 * HOUR)
    for _ in range(3):
        await queue.publish("counted.a", b"x" * 1000)
    async with counting(queue, "counted"):
        await becomes("", 0, stream="counted")
        assert value("_oldest_seconds", stream="counted") == 0
        assert value("_expire_seconds", stream="counted") is None, "nothing expires where there is nothing"
        assert value("_max_bytes", stream="counted") == 2**20

        for sequence in (1, 2, 3):
            await queue.bury("counted", "c", sequence)
        await becomes("", 3, stream="counted")
        await asyncio.sleep(1.2)
        oldest, left, size = (value(each, stream="counted") for each in ("_oldest_seconds", "_expire_seconds", "_bytes"))
        assert oldest is not None
        assert 1 < oldest < 60
        assert left is not None
        assert 24 * HOUR - 60 < left < 24 * HOUR - 1
        assert size is not None
        assert 3000 < size < 6000

        await call(queue.connection, "$JS.API.STREAM.PURGE.BAAS_DEAD_counted", seconds=20)
        await becomes("", 0, stream="counted")
        assert value("_expire_seconds", stream="counted") is None


async def test_nothing_is_told_of_a_stream_that_is_not_there_or_not_declared_any_more(queue: Queue) -> None:
    await queue.stream("leaves")
    async with counting(queue, "leaves", "never-there") as census:
        await becomes("", 0, stream="leaves")
        assert value("", stream="never-there") is None
        assert value("_buried_total", stream="never-there", reason="Swept") == 0, "the first one is an increase"

        await call(queue.connection, "$JS.API.STREAM.DELETE.BAAS_DEAD_leaves", seconds=20)
        await becomes("", None, stream="leaves")
        assert value("_buried_total", stream="leaves", reason="Swept") == 0

        census.apply(["never-there"], advisories=False)
        assert value("_buried_total", stream="leaves", reason="Swept") is None
        assert value("_max_bytes", stream="leaves") is None


async def test_dead_letters_without_limits_of_their_own_have_none_to_tell(queue: Queue) -> None:
    await queue.stream("endless")
    await age(queue, "endless", 0)
    await queue.publish("endless.a", b"x")
    await queue.bury("endless", "c", 1)
    async with counting(queue, "endless"):
        await becomes("", 1, stream="endless")
        assert value("_expire_seconds", stream="endless") is None
        assert value("_max_bytes", stream="endless") is None


async def test_each_is_counted_once_by_its_reason_however_often_it_is_told(queue: Queue) -> None:
    """A `limits` stream keeps the message, so each of those who are told of it buries it: what listens, and what reads the stream."""
    await queue.advisories()
    await queue.stream("tallied", "limits")
    await queue.consumer("tallied", "worker", max_deliver=1)
    await queue.consumer("tallied", "picky")
    for number in range(3):
        await queue.publish("tallied.a", str(number).encode())
    async with counting(queue, "tallied"), queue.service({"tallied": "limits"}), queue.service({"tallied": "limits"}):
        await queue.exhaust("tallied", "worker", 3, max_deliver=1)
        (message, *_) = await queue.read("tallied", "picky", 3)
        await queue.connection.publish(message.reply, b"+TERM no")
        await queue.wait_for_letters("tallied", 4)
        await asyncio.sleep(6)  # until what was heard beside the stream of advisories was seen to as well
        assert buried("tallied") == {"MaxDeliveries": 3, "Terminated": 1}


async def test_what_is_swept_is_counted_as_such(queue: Queue) -> None:
    with suppress(JetStreamError):  # where no other test has made it
        await call(queue.connection, f"$JS.API.STREAM.DELETE.{ADVISORIES}", seconds=20)
    await queue.stream("silent")
    await queue.consumer("silent", "worker", max_deliver=1)
    await queue.publish("silent.a", b"x")
    await queue.exhaust("silent", "worker", 1, max_deliver=1)
    async with counting(queue, "silent"), queue.service({"silent": "workqueue"}, sweep_seconds=1):
        await queue.wait_for_letters("silent", 1)
        await becomes("_buried_total", 1, stream="silent", reason="Swept")
    assert buried("silent") == dict.fromkeys(Reason), "nothing is told of it any more"


async def test_what_no_dispatcher_has_seen_to_is_told(queue: Queue) -> None:
    await queue.advisories()
    body = {"stream_name": ADVISORIES, "config": advisories_consumer_config()}
    await call(queue.connection, f"$JS.API.CONSUMER.CREATE.{ADVISORIES}.{ADVISORIES_CONSUMER}", body, seconds=20)
    await call(queue.connection, f"$JS.API.STREAM.PURGE.{ADVISORIES}", seconds=20)
    async with counting(queue, advisories=True):
        await becomes("_advisories", 0)
        for _ in range(5):
            await queue.publish(f"{MAX_DELIVERIES}.other.c", b"{}")
        await becomes("_advisories", 5)
        (told,) = await queue.read(ADVISORIES, ADVISORIES_CONSUMER, 1)
        await becomes("_advisories", 5)  # it is in somebody's hands, and not seen to
        await told.ack_sync(timeout=10)
        await becomes("_advisories", 4)
        async with queue.service({"elsewhere": "limits"}):
            await becomes("_advisories", 0)
