"""Dead letters as people work with them: listed, shown, replayed with a rate and through a crash, purged."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats

from baas_operator.api.operation import HeaderMatch, LetterFilter
from baas_operator.dead_letters import inspect as module
from baas_operator.dead_letters.bury import keep, note_gone
from baas_operator.dead_letters.inspect import inventory, list_letters, purge, replay, replay_step, show
from baas_operator.dead_letters.letter import Source, stored_message
from baas_operator.jetstream.requests import JetStreamError, call
from baas_operator.policy.plan import LetterWork
from tests.jetstream.dead_letters.conftest import Queue
from tests.jetstream.harness.servers import Servers

REPOSITORY = Path(__file__).resolve().parents[3]
ALL = LetterFilter()


async def letters(
    queue: Queue, stream: str, count: int, *, consumer: str = "worker", first: int = 1, reason: str = "MaxDeliveries"
) -> None:
    """So many dead letters, numbered in their payload."""

    async def one(number: int) -> None:
        source = Source(
            number, f"{stream}.{'even' if number % 2 == 0 else 'odd'}", number, (("Number", str(number)),), str(number).encode()
        )
        await keep(queue.connection, source, stream=stream, consumer=consumer, deliveries=5, reason=reason)

    for start in range(first, first + count, 50):
        await asyncio.gather(*(one(number) for number in range(start, min(start + 50, first + count))))


async def numbers(connection: Nats, stream: str) -> list[int]:
    """What is in a stream, by its payload."""
    state = (await call(connection, f"$JS.API.STREAM.INFO.{stream}"))["state"]
    found, sequence = [], state["first_seq"]
    while sequence <= state["last_seq"] and state["messages"]:
        message = await _next(connection, stream, sequence)
        if message is None:
            break
        sequence, payload = message
        found.append(int(payload))
        sequence += 1
    return found


async def _next(connection: Nats, stream: str, sequence: int) -> tuple[int, bytes] | None:
    try:
        answer = await call(connection, f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": sequence, "next_by_subj": ">"})
    except JetStreamError:
        return None
    stored = stored_message(answer["message"])
    return stored.sequence, stored.payload


async def test_a_thousand_are_listed_in_order(queue: Queue) -> None:
    await queue.stream("thousand")
    await letters(queue, "thousand", 1000)

    found = await queue.letters("thousand")
    assert [each.sequence for each in found] == list(range(1, 1001))
    assert sorted(int(each.payload or b"") for each in found) == list(range(1, 1001))
    have = await inventory(queue.connection, "thousand")
    assert (have.count, have.last_sequence) == (1000, 1000)
    assert (have.oldest or "").startswith(found[0].buried_at[:20])


async def test_large_ones_come_in_more_pages(queue: Queue) -> None:
    await queue.stream("heavy", "limits")
    for number in range(1, 13):
        source = Source(number, "heavy.a", number, (), b"x" * 700_000)
        await keep(queue.connection, source, stream="heavy", consumer="c", deliveries=1, reason="MaxDeliveries")

    assert [len(each.payload or b"") for each in await queue.letters("heavy")] == [700_000] * 12


async def test_filters(queue: Queue) -> None:
    await queue.stream("filtered")
    await letters(queue, "filtered", 6)
    await letters(queue, "filtered", 2, consumer="hook", reason="PayloadTooLarge")
    middle = (await queue.letters("filtered"))[3].buried_at

    async def found(**wanted: object) -> int:
        return len(await queue.letters("filtered", **wanted))

    assert await found(consumer="hook") == 2
    assert await found(reason="MaxDeliveries") == 6
    assert await found(subject="filtered.even") == 4
    assert await found(subject="filtered.*") == await found(subject="filtered.>") == await found() == 8
    assert await found(subject="filtered") == await found(subject="filtered.even.>") == await found(consumer="nobody") == 0
    assert await found(first_sequence=3, last_sequence=4) == 2
    assert await found(headers=[HeaderMatch(name="number", value="2")]) == 2
    assert await found(since=middle) + await found(until=middle) == 8
    assert await found(since="2999-01-01T00:00:00Z") == 0
    with pytest.raises(ValueError, match="'yesterday' is no time"):
        await found(since="yesterday")


@pytest.mark.parametrize("said", ["404", "503", "204", "408"])
async def test_a_message_with_a_header_named_status_hides_none_behind_it(queue: Queue, said: str) -> None:
    name = f"status-{said}"
    await queue.stream(name)
    headers = (("Status", said), ("Description", "mine"))
    await keep(queue.connection, Source(1, f"{name}.a", 1, headers, b"1"), stream=name, consumer="c", deliveries=1, reason="Terminated")
    await letters(queue, name, 3, first=2)
    assert [each.payload for each in await queue.letters(name)] == [b"1", b"2", b"3", b"4"]
    done = [work async for work in replay(queue.connection, name, ALL, operation_id="op")]
    assert (done[-1].selected, done[-1].done, done[-1].left) == (4, 4, 0)


async def test_one_is_shown_whole(queue: Queue) -> None:
    await queue.stream("shown")
    await letters(queue, "shown", 2)
    letter = await show(queue.connection, "shown", 2)
    assert letter is not None
    assert letter.headers == (("Number", (letter.payload or b"").decode()),)
    assert await show(queue.connection, "shown", 3) is None


async def test_without_a_stream_of_dead_letters_it_is_said(queue: Queue) -> None:
    with pytest.raises(JetStreamError, match="stream not found"):
        [each async for each in list_letters(queue.connection, "nothing", ALL)]


async def test_replay_publishes_with_its_own_headers_and_deletes(queue: Queue) -> None:
    await queue.stream("back")
    headers = (("Trace", "a"), ("Trace", "b"), ("Nats-Msg-Id", "mine"), ("Nats-Rollup", "all"))
    await keep(queue.connection, Source(7, "back.a", 7, headers, b"again"), stream="back", consumer="c", deliveries=1, reason="Terminated")
    done = [work async for work in replay(queue.connection, "back", ALL, operation_id="op")]

    assert (done[-1].selected, done[-1].done, done[-1].left, done[-1].finished) == (1, 1, 0, True)
    stored = await module.fetch(queue.connection, "back", 1)
    assert stored is not None
    assert (stored.subject, stored.payload) == ("back.a", b"again")
    assert stored.headers == (
        ("Trace", "a"), ("Trace", "b"), ("Baas-Original-Nats-Msg-Id", "mine"), ("Baas-Original-Nats-Rollup", "all"),
        ("Nats-Msg-Id", "replay:op:1"), ("Nats-Expected-Stream", "back"),
    )  # fmt: skip


async def test_replay_keeps_to_filter_limit_and_rate(queue: Queue) -> None:
    await queue.stream("paced")
    await letters(queue, "paced", 60)
    wanted = LetterFilter(subject="paced.even")
    started = asyncio.get_running_loop().time()
    done = [work async for work in replay(queue.connection, "paced", wanted, operation_id="op", rate=10, limit=25)]
    took = asyncio.get_running_loop().time() - started

    assert (done[-1].selected, done[-1].done, done[-1].left) == (25, 25, 35)
    assert took >= 2.3
    assert len(done) >= 2, "in steps of two seconds"
    replayed = await numbers(queue.connection, "paced")
    assert len(replayed) == 25
    assert all(number % 2 == 0 for number in replayed)


async def test_what_fails_again_meanwhile_is_not_replayed_again(queue: Queue) -> None:
    """What is meant is decided at the beginning: otherwise a poisoned message would go round for ever."""
    await queue.stream("poison")
    await letters(queue, "poison", 3)
    work = await replay_step(queue.connection, "poison", ALL, LetterWork(), operation_id="op", rate=None, limit=None)
    await letters(queue, "poison", 2, first=100)
    while not work.finished:
        work = await replay_step(queue.connection, "poison", ALL, work, operation_id="op", rate=None, limit=None)

    assert (work.selected, work.done, work.left) == (3, 3, 2)


async def test_a_stream_that_takes_nothing_keeps_them_where_they_are(queue: Queue) -> None:
    await queue.stream("fullback", max_msgs=2, discard="new")
    await letters(queue, "fullback", 5)
    *_, last = [work async for work in replay(queue.connection, "fullback", ALL, operation_id="op")]

    assert not last.finished
    assert "fullback does not take dead letter" in last.problem
    assert "maximum messages exceeded" in last.problem
    assert (last.done, last.left) == (2, 3)
    await call(queue.connection, "$JS.API.STREAM.PURGE.fullback", seconds=20)
    await call(queue.connection, "$JS.API.STREAM.UPDATE.fullback", (await _config(queue, "fullback")) | {"max_msgs": 100}, seconds=20)
    while not last.finished:
        last = await replay_step(queue.connection, "fullback", ALL, last, operation_id="op", rate=None, limit=None)
    assert (last.done, last.left, last.problem) == (5, 0, "")


async def _config(queue: Queue, stream: str) -> dict[str, object]:
    return dict((await call(queue.connection, f"$JS.API.STREAM.INFO.{stream}"))["config"])


async def test_a_crash_between_publishing_and_deleting_replays_nothing_twice(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    await queue.stream("torn")
    await letters(queue, "torn", 10)
    work = await replay_step(queue.connection, "torn", ALL, LetterWork(), operation_id="op", rate=None, limit=None)

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(module, "delete", killed)
        with pytest.raises(asyncio.CancelledError):
            await replay_step(queue.connection, "torn", ALL, work, operation_id="op", rate=None, limit=None)
    assert (await queue.state("torn"))["messages"] == len(await queue.letters("torn")) == 10

    done = await replay_step(queue.connection, "torn", ALL, work, operation_id="op", rate=None, limit=None)
    assert (done.finished, done.left) == (True, 0)
    assert sorted(await numbers(queue.connection, "torn")) == list(range(1, 11))


async def test_a_process_that_is_killed_in_the_middle_again_and_again_replays_each_once(queue: Queue, shared: Servers) -> None:
    await queue.stream("killed")
    await letters(queue, "killed", 300)
    script = (
        "import asyncio, nats, sys\n"
        "from baas_operator.api.operation import LetterFilter\n"
        "from baas_operator.dead_letters.inspect import replay\n"
        "async def main():\n"
        "    connection = await nats.connect(sys.argv[1].split(','))\n"
        "    async for work in replay(connection, 'killed', LetterFilter(), operation_id='op', rate=100):\n"
        "        print(work.done, flush=True)\n"
        "asyncio.run(main())\n"
    )
    for _ in range(3):
        process = subprocess.Popen(  # noqa: ASYNC220 - it has to be killed for good
            [sys.executable, "-c", script, ",".join(shared.urls)], cwd=REPOSITORY, stdout=subprocess.PIPE, env=os.environ | {}
        )
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)  # it has decided what is meant, and begins
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    before = len(await queue.letters("killed"))
    assert 0 < before < 300
    async for work in replay(queue.connection, "killed", ALL, operation_id="op"):
        last = work

    assert last.left == 0
    assert sorted(await numbers(queue.connection, "killed")) == list(range(1, 301))


async def test_what_has_no_payload_is_not_replayed(queue: Queue) -> None:
    await queue.stream("hollow")
    await letters(queue, "hollow", 1)
    await module_note(queue)
    *_, last = [work async for work in replay(queue.connection, "hollow", ALL, operation_id="op")]
    assert (last.selected, last.done, last.left) == (1, 1, 1)
    *_, last = [work async for work in replay(queue.connection, "hollow", ALL, operation_id="op")]
    assert (last.selected, last.finished) == (0, True)
    *_, last = [work async for work in purge(queue.connection, "hollow", ALL)]
    assert (last.done, last.left) == (1, 0)


async def module_note(queue: Queue) -> None:
    await note_gone(
        queue.connection, stream="hollow", consumer="c", sequence=9, nanoseconds=9, deliveries=1, reason="Terminated", detail=""
    )


@pytest.mark.parametrize(
    ("wanted", "limit", "left"),
    [
        (LetterFilter(subject="gone.even"), None, 21),
        (LetterFilter(consumer="worker"), None, 1),
        (LetterFilter(consumer="worker"), 5, 36),
        (ALL, None, 0),
        (LetterFilter(first_sequence=40), None, 39),
        (LetterFilter(reason="Nothing"), None, 41),
    ],
)
async def test_purge_deletes_what_is_meant_and_nothing_else(queue: Queue, wanted: LetterFilter, limit: int | None, left: int) -> None:
    name = f"gone{abs(hash((wanted.model_dump_json(), limit))) % 10**6}"
    await queue.stream(name)
    await letters(queue, name, 40)
    await letters(queue, name, 1, consumer="hook", first=41)
    if wanted.subject:
        wanted = wanted.model_copy(update={"subject": f"{name}.even"})
    *_, last = [work async for work in purge(queue.connection, name, wanted, limit=limit)]

    assert (last.finished, last.left, last.done) == (True, left, 41 - left)
    assert all(not module.matches(each, wanted) for each in await queue.letters(name)) or limit
