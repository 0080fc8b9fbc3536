"""Burying: copied once, and let go of only then, whatever happens between two steps."""

from __future__ import annotations

import asyncio

import pytest

from baas_operator.dead_letters import bury as module
from baas_operator.dead_letters.bury import Buried, Unburied, bury, fetch, keep
from baas_operator.dead_letters.letter import Headers, Source, delivered_message
from baas_operator.jetstream.requests import call
from tests.jetstream.dead_letters.conftest import Queue, until


async def test_the_copy_has_all_of_the_message_and_why(queue: Queue) -> None:
    await queue.stream("whole")
    headers = Headers([("Trace", "a"), ("Trace", "b"), ("Nats-Msg-Id", "id-1"), ("Nats-Expected-Stream", "whole")])
    await queue.connection.request("whole.new", b"\x00\xff", headers=headers, timeout=20)

    came = await bury(queue.connection, stream="whole", consumer="c", sequence=1, deliveries=5, reason="MaxDeliveries", detail="no\r\nway")

    assert came is Buried.BURIED
    stored = await fetch(queue.connection, "BAAS_DEAD_whole", 1)
    assert stored is not None
    kept = [pair for pair in stored.headers if not pair[0].startswith(("Baas-Dead-", "Nats-"))]
    assert kept == [("Trace", "a"), ("Trace", "b"), ("Baas-Original-Nats-Msg-Id", "id-1")], "nothing of it is acted upon again"
    (letter,) = await queue.letters("whole")
    assert (letter.consumer, letter.source_sequence, letter.subject, letter.deliveries) == ("c", 1, "whole.new", 5)
    assert (letter.reason, letter.detail, letter.payload) == ("MaxDeliveries", "no way", b"\x00\xff")
    assert (await queue.state("whole"))["messages"] == 0


@pytest.mark.parametrize(("retention", "left"), [("workqueue", 0), ("limits", 1)])
async def test_what_others_may_still_read_stays(queue: Queue, retention: str, left: int) -> None:
    name = f"left-{retention}"
    await queue.stream(name, retention)
    await queue.publish(f"{name}.a", b"x")
    await bury(queue.connection, stream=name, consumer="c", sequence=1, deliveries=1, reason="Terminated")

    assert (await queue.state(name))["messages"] == left


async def test_of_an_interest_stream_the_others_still_get_it(queue: Queue) -> None:
    await queue.stream("both", "interest")
    for each in ("fails", "other"):
        await queue.consumer("both", each)
    await queue.publish("both.a", b"x")
    await queue.exhaust("both", "fails", 1)
    await bury(queue.connection, stream="both", consumer="fails", sequence=1, deliveries=2, reason="MaxDeliveries")
    assert (await queue.state("both"))["messages"] == 1

    (message,) = await queue.read("both", "other", 1)
    await message.ack_sync(timeout=10)

    async def gone() -> bool:
        return bool((await queue.state("both"))["messages"] == 0)

    await until(gone)


async def test_twice_and_at_once_is_one_copy(queue: Queue) -> None:
    await queue.stream("once", "limits")
    await queue.publish("once.a", b"x")

    async def again() -> Buried:
        return await bury(queue.connection, stream="once", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")

    assert sorted(await asyncio.gather(*(again() for _ in range(8)))) == [Buried.BURIED, *[Buried.KNOWN] * 7], "whoever did it knows"
    assert await again() is Buried.KNOWN
    assert len(await queue.letters("once")) == 1


async def test_beyond_the_duplicate_window_too(queue: Queue) -> None:
    await queue.stream("late", "limits")
    config = (await call(queue.connection, "$JS.API.STREAM.INFO.BAAS_DEAD_late"))["config"]
    await call(queue.connection, "$JS.API.STREAM.UPDATE.BAAS_DEAD_late", config | {"duplicate_window": 200_000_000}, seconds=20)
    await queue.publish("late.a", b"x")
    for _ in range(2):
        await bury(queue.connection, stream="late", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")
        await asyncio.sleep(0.6)

    assert len(await queue.letters("late")) == 1


async def test_a_message_of_a_stream_that_was_made_anew_is_another(queue: Queue) -> None:
    """It counts from 1 again: the letter of the earlier message must not pass for that of the later one, which would be lost."""
    for payload in (b"first", b"second"):
        await (queue.stream("again") if payload == b"first" else _anew(queue))
        await queue.publish("again.a", payload)
        await bury(queue.connection, stream="again", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")

    assert [each.payload for each in await queue.letters("again")] == [b"first", b"second"]


async def _anew(queue: Queue) -> None:
    config = (await call(queue.connection, "$JS.API.STREAM.INFO.again"))["config"]
    await call(queue.connection, "$JS.API.STREAM.DELETE.again", seconds=20)
    await call(queue.connection, "$JS.API.STREAM.CREATE.again", config, seconds=20)


async def test_a_crash_between_copy_and_delete_loses_and_doubles_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue.stream("crash")
    await queue.publish("crash.a", b"x")

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "let_go", killed)
        with pytest.raises(KeyboardInterrupt):
            await bury(queue.connection, stream="crash", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")
    assert (await queue.state("crash"))["messages"] == len(await queue.letters("crash")) == 1

    again = await bury(queue.connection, stream="crash", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")
    assert again is Buried.KNOWN
    assert (await queue.state("crash"))["messages"] == 0
    assert len(await queue.letters("crash")) == 1
    again = await bury(queue.connection, stream="crash", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")
    assert again is Buried.GONE


async def test_without_room_it_stays_where_it_was(queue: Queue) -> None:
    await queue.stream("full", max_size="1Ki")
    for _ in range(3):
        await queue.publish("full.a", b"x" * 400)
    for sequence in (1, 2, 3):
        if sequence == 1:
            await bury(queue.connection, stream="full", consumer="c", sequence=sequence, deliveries=1, reason="MaxDeliveries")
            continue
        with pytest.raises(Unburied, match=r"no room in BAAS_DEAD_full .* stay in full until"):
            await bury(queue.connection, stream="full", consumer="c", sequence=sequence, deliveries=1, reason="MaxDeliveries")

    assert (await queue.state("full"))["messages"] == 2


async def test_without_a_stream_of_dead_letters_it_stays_where_it_was(queue: Queue) -> None:
    await queue.stream("nowhere")
    await call(queue.connection, "$JS.API.STREAM.DELETE.BAAS_DEAD_nowhere", seconds=20)
    await queue.publish("nowhere.a", b"x")
    with pytest.raises(Unburied, match="is not there or has no leader"):
        await bury(queue.connection, stream="nowhere", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")
    assert (await queue.state("nowhere"))["messages"] == 1


async def test_one_that_leaves_no_room_for_its_headers_says_so(queue: Queue) -> None:
    await queue.stream("large")
    await queue.publish("large.a", b"x" * (queue.connection.max_payload - 10))
    with pytest.raises(Unburied, match="larger messages than the stream does"):
        await bury(queue.connection, stream="large", consumer="c", sequence=1, deliveries=1, reason="MaxDeliveries")
    assert (await queue.state("large"))["messages"] == 1


async def test_who_has_a_message_keeps_it_as_its_stream_has_it(queue: Queue) -> None:
    """The dispatcher acknowledges by itself what it gives up; buried from the stream as well, it is the same letter."""
    await queue.stream("given", "limits")
    await queue.consumer("given", "hook")
    await queue.publish("given.a", b"x", {"Trace": "1"})
    (message,) = await queue.read("given", "hook", 1)
    source = delivered_message(message)
    assert source == await fetch(queue.connection, "given", 1)

    await keep(queue.connection, source, stream="given", consumer="hook", deliveries=1, reason="PayloadTooLarge", detail="1 MiB")
    await bury(queue.connection, stream="given", consumer="hook", sequence=1, deliveries=1, reason="MaxDeliveries")

    (letter,) = await queue.letters("given")
    assert (letter.reason, letter.detail) == ("PayloadTooLarge", "1 MiB")


async def test_headers_that_leave_no_room_are_left_out_and_it_is_told(queue: Queue) -> None:
    """The server takes 64 KiB of headers; those that say why need room, too. A message that can not be copied would stay for ever."""
    await queue.stream("headers")
    await queue.publish("headers.a", b"x", {"Trace": "a", "Long": "y" * 65_400})
    assert await bury(queue.connection, stream="headers", consumer="c", sequence=1, deliveries=2, reason="MaxDeliveries") is Buried.BURIED
    (letter,) = await queue.letters("headers")
    assert (letter.payload, letter.headers) == (b"x", (("Trace", "a"),))
    assert "left out" in letter.detail


async def test_a_name_of_a_header_that_no_client_sends_is_written_as_in_urls(queue: Queue) -> None:
    await queue.stream("names")
    source = Source(1, "names.a", 1, (("my key", "a"), ("Nats-\u00e9", "b")), b"x")
    await keep(queue.connection, source, stream="names", consumer="c", deliveries=1, reason="Terminated")
    (letter,) = await queue.letters("names")
    assert letter.headers == (("my%20key", "a"), ("Baas-Original-Nats-%C3%A9", "b"))
