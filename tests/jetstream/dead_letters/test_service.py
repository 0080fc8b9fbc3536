"""What runs in each dispatcher: what the servers tell of is buried, and what nobody told of is found."""

from __future__ import annotations

import asyncio
import json

import pytest

from baas_operator.dead_letters import service
from baas_operator.dead_letters.sweep import Sweeper
from baas_operator.desired.queue.dead_letters import ADVISORIES, MAX_DELIVERIES
from baas_operator.jetstream.requests import call
from tests.jetstream.dead_letters.conftest import ACK_WAIT_SECONDS, Queue, until


@pytest.mark.parametrize(("retention", "left"), [("workqueue", 0), ("limits", 3)])
async def test_what_was_delivered_in_vain_is_buried(queue: Queue, retention: str, left: int) -> None:
    name = f"vain-{retention}"
    await queue.advisories()
    await queue.stream(name, retention)
    await queue.consumer(name, "worker")
    for number in range(3):
        await queue.publish(f"{name}.a", str(number).encode())
    async with queue.service({name: retention}):
        for _ in range(2):
            await queue.read(name, "worker", 3)  # and never a word about them
        await queue.exhaust(name, "worker", 0, max_deliver=0)
        letters = await queue.wait_for_letters(name, 3)

        assert sorted(each.payload or b"" for each in letters) == [b"0", b"1", b"2"]
        assert {(each.reason, each.deliveries) for each in letters} == {("MaxDeliveries", 2)}

        async def settled() -> bool:
            return bool((await queue.state(name))["messages"] == left)

        await until(settled)


async def test_several_dispatchers_keep_each_message_once(queue: Queue) -> None:
    await queue.advisories()
    await queue.stream("several")
    await queue.consumer("several", "worker", max_deliver=1)
    for number in range(60):
        await queue.publish("several.a", str(number).encode())
    async with queue.service({"several": "workqueue"}), queue.service({"several": "workqueue"}), queue.service({"several": "workqueue"}):
        await queue.exhaust("several", "worker", 60, max_deliver=1)
        await queue.wait_for_letters("several", 60)
        await asyncio.sleep(6)  # until what was heard beside the stream of advisories was seen to as well

    letters = await queue.letters("several")
    assert sorted(int(each.payload or b"-1") for each in letters) == list(range(60))


async def test_what_a_consumer_terminates_is_kept_with_its_reason(queue: Queue) -> None:
    await queue.advisories()
    await queue.stream("term", "limits")
    await queue.consumer("term", "worker")
    await queue.publish("term.a", b"poison")
    async with queue.service({"term": "limits"}):
        (message,) = await queue.read("term", "worker", 1)
        await queue.connection.publish(message.reply, b"+TERM can not be parsed")
        (letter,) = await queue.wait_for_letters("term", 1)

    assert (letter.reason, letter.detail, letter.payload) == ("Terminated", "can not be parsed", b"poison")


async def test_what_is_terminated_in_a_workqueue_is_noted_even_where_it_is_gone(queue: Queue) -> None:
    """The server deletes it at once. Nobody is there to hurry, so all that is left is the word of it."""
    await queue.advisories()
    await queue.stream("term-wq")
    await queue.consumer("term-wq", "worker")
    await queue.publish("term-wq.a", b"poison")
    (message,) = await queue.read("term-wq", "worker", 1)
    await queue.connection.publish(message.reply, b"+TERM can not be parsed")

    async def deleted() -> bool:
        return bool((await queue.state("term-wq"))["messages"] == 0)

    await until(deleted)
    async with queue.service({"term-wq": "workqueue"}):
        (letter,) = await queue.wait_for_letters("term-wq", 1)

    assert (letter.reason, letter.detail, letter.complete, letter.source_sequence) == ("Terminated", "can not be parsed", False, 1)


async def test_each_that_is_terminated_in_a_workqueue_is_one_letter_whole_or_not(queue: Queue) -> None:
    """Whoever listens may be faster than the server that deletes; whether it is, is luck, but the word is kept in any case."""
    await queue.advisories()
    await queue.stream("hurry")
    await queue.consumer("hurry", "worker")
    for number in range(40):
        await queue.publish("hurry.a", str(number).encode())
    async with queue.service({"hurry": "workqueue"}), queue.service({"hurry": "workqueue"}):
        await asyncio.sleep(0.5)
        for each in await queue.read("hurry", "worker", 40):
            await queue.connection.publish(each.reply, b"+TERM poison")
        await queue.wait_for_letters("hurry", 40)
        await asyncio.sleep(6)

    letters = await queue.letters("hurry")
    print(f"{sum(each.complete for each in letters)} of 40 were copied before they were deleted")
    assert sorted(each.source_sequence for each in letters) == list(range(1, 41))


async def test_what_a_limit_or_a_purge_deletes_is_no_dead_letter(queue: Queue) -> None:
    await queue.advisories()
    await queue.stream("purged")
    await queue.consumer("purged", "worker")
    await queue.publish("purged.a", b"x")
    async with queue.service({"purged": "workqueue"}):
        await queue.read("purged", "worker", 1)
        await call(queue.connection, "$JS.API.STREAM.PURGE.purged", seconds=20)
        await asyncio.sleep(7)

    assert await queue.letters("purged") == []


@pytest.mark.parametrize("kept", [True, False])
async def test_what_is_told_before_its_stream_is_known_waits(queue: Queue, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that has `deadLetter` since a moment: the servers tell of it before this dispatcher has read of it, be it by the stream of
    advisories or, while that is away, to who listens."""
    monkeypatch.setattr(service, "_FULL_SECONDS", (1.0, 1.0))
    monkeypatch.setattr(service, "_UNKNOWN_AGAIN_SECONDS", 1.0)
    name = f"early-{kept}"
    await queue.advisories()
    await queue.stream(name, "limits")
    await queue.consumer(name, "worker", max_deliver=1)
    await queue.publish(f"{name}.a", b"x")
    if not kept:
        await call(queue.connection, f"$JS.API.STREAM.DELETE.{ADVISORIES}", seconds=20)
    known = {"other": "limits"}
    async with queue.service(known):
        await asyncio.sleep(0.5)
        await queue.exhaust(name, "worker", 1, max_deliver=1)
        await asyncio.sleep(3)
        assert await queue.letters(name) == []
        known[name] = "limits"
        (letter,) = await queue.wait_for_letters(name, 1)
    assert (letter.reason, letter.payload) == ("MaxDeliveries", b"x")


async def test_streams_without_dead_letters_and_forged_words_are_left_alone(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_UNKNOWN_SECONDS", 0.0)
    await queue.advisories()
    await queue.stream("plain")
    await queue.publish("plain.a", b"x")
    told = {"type": "io.nats.jetstream.advisory.v1.max_deliver", "timestamp": "2026-05-01T12:00:00Z", "consumer": "c", "deliveries": 1}
    for forged in (
        json.dumps(told | {"stream": "plain", "stream_seq": 1}), json.dumps(told | {"stream": "other.>", "stream_seq": 1}),
        json.dumps(told | {"stream": ["other"]}), "[" * 5000, "{}",
    ):  # fmt: skip
        await queue.publish(f"{MAX_DELIVERIES}.plain.c", forged.encode())
    async with queue.service({"other": "workqueue"}):

        async def read() -> bool:
            return bool((await queue.state(ADVISORIES))["messages"] == 0)

        await until(read)
    assert (await queue.state("plain"))["messages"] == 1


async def test_while_they_are_full_messages_stay_and_are_buried_once_there_is_room(queue: Queue) -> None:
    await queue.advisories()
    await queue.stream("fills", max_size="1Ki")
    await queue.consumer("fills", "worker", max_deliver=1)
    for _ in range(2):
        await queue.publish("fills.a", b"x" * 500)
    async with queue.service({"fills": "workqueue"}, sweep_seconds=1.5):
        await queue.exhaust("fills", "worker", 2, max_deliver=1)
        await queue.wait_for_letters("fills", 1)
        await asyncio.sleep(3)
        assert (await queue.state("fills"))["messages"] == 1

        await call(queue.connection, "$JS.API.STREAM.PURGE.BAAS_DEAD_fills", seconds=20)

        async def buried() -> bool:
            return bool((await queue.state("fills"))["messages"] == 0)

        await until(buried)
    assert len(await queue.letters("fills")) == 1


async def test_a_stream_whose_dead_letters_are_full_keeps_no_other_waiting(queue: Queue) -> None:
    """More of it was told than the consumer of advisories once had at a time, and each is put off again and again."""
    await queue.advisories()
    await queue.stream("crowd", max_size="1Ki")
    await queue.stream("patient", "limits")
    for stream in ("crowd", "patient"):
        await queue.consumer(stream, "worker", max_deliver=1, max_ack_pending=2000)
    for _ in range(12):
        await asyncio.gather(*(queue.publish("crowd.a", b"x" * 600) for _ in range(100)))
    await queue.publish("patient.a", b"last")
    await queue.exhaust("crowd", "worker", 1200, max_deliver=1)
    await queue.exhaust("patient", "worker", 1, max_deliver=1)

    async def told() -> bool:
        return bool((await queue.state(ADVISORIES))["messages"] >= 1201)

    await until(told)
    async with queue.service({"crowd": "workqueue", "patient": "limits"}):
        (letter,) = await asyncio.wait_for(queue.wait_for_letters("patient", 1), 20)
    assert letter.payload == b"last"


async def test_what_is_heard_while_the_stream_of_advisories_is_away_is_buried(queue: Queue) -> None:
    await queue.stream("heard", "limits")
    await queue.consumer("heard", "worker", max_deliver=1)
    await queue.publish("heard.a", b"x")
    await call(queue.connection, f"$JS.API.STREAM.DELETE.{ADVISORIES}", seconds=20)
    async with queue.service({"heard": "limits"}):
        await asyncio.sleep(0.5)
        await queue.exhaust("heard", "worker", 1, max_deliver=1)
        (letter,) = await queue.wait_for_letters("heard", 1)
    assert letter.reason == "MaxDeliveries"


# --- what nobody told of ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_deliver", [1, 2])
@pytest.mark.parametrize("retention", ["workqueue", "interest"])
async def test_what_nobody_told_of_is_swept(queue: Queue, retention: str, max_deliver: int) -> None:
    name = f"swept-{retention}-{max_deliver}"
    await queue.stream(name, retention)
    await queue.consumer(name, "worker", max_deliver=max_deliver)
    if retention == "interest":
        await queue.consumer(name, "other", max_deliver=-1)
    for number in range(3):
        await queue.publish(f"{name}.a", str(number).encode())
    (first, *_) = await queue.read(name, "worker", 3)
    await first.ack_sync(timeout=10)
    await asyncio.sleep(ACK_WAIT_SECONDS)
    await queue.exhaust(name, "worker", 2, max_deliver=max_deliver - 1)
    sweeper = Sweeper(queue.connection)
    if retention == "interest":
        assert [await sweeper.sweep(name, retention) for _ in range(3)] == [0, 0, 0], "another consumer still wants them"
        for each in await queue.read(name, "other", 3):
            await each.ack_sync(timeout=10)
        await asyncio.sleep(0.5)

    assert [await sweeper.sweep(name, retention) for _ in range(3)] == [0, 2, 0]
    assert [(each.payload, each.reason) for each in await queue.letters(name)] == [(b"1", "Swept"), (b"2", "Swept")]

    async def gone() -> bool:
        return bool((await queue.state(name))["messages"] == 0)

    await until(gone)


async def test_what_is_still_to_be_delivered_is_never_swept(queue: Queue) -> None:
    """Waited for, put back for later, asked for again, not delivered yet: two given up lie between them."""
    await queue.stream("mixed")
    await queue.consumer("mixed", "worker", max_deliver=2, ack_wait=60_000_000_000)
    for number in range(6):
        await queue.publish("mixed.a", str(number).encode())
    held, later, doomed, also, _ = await queue.read("mixed", "worker", 5)
    assert (held.data, later.data) == (b"0", b"1")
    await later.nak(delay=60)
    for each in (doomed, also):
        await each.nak()
    again = await queue.read("mixed", "worker", 2)
    for each in again:
        await each.nak()
    await queue.read("mixed", "worker", 1)  # the last one, and on its way the server gives up the two
    sweeper = Sweeper(queue.connection)

    assert [await sweeper.sweep("mixed", "workqueue") for _ in range(3)] == [0, 0, 0], "something before them is waited for"
    await held.ack_sync(timeout=10)

    async def gone() -> bool:
        return bool((await queue.state("mixed"))["messages"] == 5)

    await until(gone)  # a sweep follows the one before it after seconds, and by then an acknowledged message is not there any more
    assert [await sweeper.sweep("mixed", "workqueue") for _ in range(3)] == [0, 0, 0]
    assert (await queue.state("mixed"))["messages"] == 5


async def test_what_a_consumer_passed_by_is_not_swept(queue: Queue) -> None:
    """Its filter was widened over messages that it had passed. Nobody failed at them."""
    await queue.stream("passed")
    await queue.consumer("passed", "worker", filter_subject="passed.a")
    await queue.publish("passed.b", b"not for it")
    await queue.publish("passed.a", b"doomed")
    await queue.exhaust("passed", "worker", 1)
    await queue.consumer("passed", "worker", filter_subject="passed.*")
    sweeper = Sweeper(queue.connection)

    assert [await sweeper.sweep("passed", "workqueue") for _ in range(3)] == [0, 0, 0]
    assert (await queue.state("passed"))["messages"] == 2


async def test_without_anything_in_it_a_stream_is_asked_one_thing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue.stream("idle")
    await queue.consumer("idle", "worker")
    asked: list[str] = []
    request = queue.connection.request

    async def counted(subject: str, *args: object, **more: object) -> object:
        asked.append(subject)
        return await request(subject, *args, **more)

    monkeypatch.setattr(queue.connection, "request", counted)
    await Sweeper(queue.connection).sweep("idle", "workqueue")
    assert asked == ["$JS.API.STREAM.INFO.idle"]
