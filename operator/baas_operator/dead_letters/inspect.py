"""Dead letters as people work with them: how many there are, which, one whole; replayed or deleted.

Replaying and deleting come in steps of a few seconds, from which they go on: first it is decided which letters are meant, then they are
worked on, in order. A letter is deleted only once its message was acknowledged by the stream again, and that has an id of the Operation
and the letter: cut off in between and taken again, it is in the stream once, within the stream's duplicate window.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

import nats.errors
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.api.operation import LetterFilter
from baas_operator.dead_letters.bury import delete, fetch
from baas_operator.dead_letters.letter import ORIGINAL_ID, DeadLetter, Headers, read_letter
from baas_operator.dead_letters.match import matches
from baas_operator.dead_letters.pages import pages
from baas_operator.desired.queue.dead_letters import dead_letter_stream, letters_of
from baas_operator.desired.queue.streams import NANOSECONDS
from baas_operator.jetstream.requests import CHANGE_SECONDS, call
from baas_operator.policy.plan import LetterWork

STEP_SECONDS = 2.0
_AT_ONCE = 32
"""Messages that are on their way to the stream at a time."""


class Refused(Exception):  # noqa: N818 - it is a state, no error
    """The stream does not take a message again; its dead letter is where it was. The sentence says why."""


@dataclass(frozen=True)
class Inventory:
    """How many dead letters a stream has, and when the oldest was buried; `oldest` in RFC 3339. `max_bytes`: None for no limit of their
    own; `max_age_seconds`: how long each is kept, None for ever."""

    count: int
    oldest: str | None
    last_sequence: int
    bytes: int = 0
    max_bytes: int | None = None
    max_age_seconds: float | None = None


async def inventory(connection: Nats, stream: str) -> Inventory:
    """Count the dead letters of a stream: one request, however many there are.

    Raises:
        JetStreamError: there is no stream of dead letters. One of Unreachable: there was no answer.
    """
    info = await call(connection, f"$JS.API.STREAM.INFO.{dead_letter_stream(stream)}")
    try:
        state, config = info["state"], info["config"]
        count, most, age = int(state["messages"]), int(config.get("max_bytes", -1)), int(config.get("max_age", 0))
        return Inventory(
            count, str(state["first_ts"]) if count else None, int(state["last_seq"]), bytes=int(state["bytes"]),
            max_bytes=most if most > 0 else None, max_age_seconds=age / NANOSECONDS if age > 0 else None,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as garbage:
        raise NatsError(f"{dead_letter_stream(stream)} was told of by something that is no JetStream") from garbage


async def list_letters(connection: Nats, stream: str, wanted: LetterFilter, *, payloads: bool = False) -> AsyncGenerator[DeadLetter, None]:
    """The dead letters that are meant, the oldest first.

    Raises:
        JetStreamError: there is no stream of dead letters. One of Unreachable: there was no answer. ValueError: a time is none.
    """
    async for page in pages(connection, stream, consumer=wanted.consumer, first=wanted.first_sequence or 1, payloads=payloads):
        for letter in page:
            if matches(letter, wanted):
                yield letter
            if wanted.last_sequence is not None and letter.sequence > wanted.last_sequence:
                return


async def show(connection: Nats, stream: str, sequence: int) -> DeadLetter | None:
    """One dead letter, whole; None if there is none of that sequence.

    Raises:
        JetStreamError, or one of Unreachable: there was no answer of use.
    """
    found = await fetch(connection, dead_letter_stream(stream), sequence)
    return read_letter(found) if found else None


async def replay(
    connection: Nats, stream: str, wanted: LetterFilter, *, operation_id: str, rate: int | None = None, limit: int | None = None
) -> AsyncIterator[LetterWork]:
    """Publish dead letters again until none is left that was meant at the beginning; how far it is after each step.

    Raises:
        JetStreamError, or one of Unreachable: there was no answer of use. ValueError: a time is none.
    """
    work = LetterWork()
    while not work.finished:
        work = await replay_step(connection, stream, wanted, work, operation_id=operation_id, rate=rate, limit=limit)
        yield work
        if work.problem:
            return


async def purge(connection: Nats, stream: str, wanted: LetterFilter, *, limit: int | None = None) -> AsyncIterator[LetterWork]:
    """Delete dead letters, as `replay` publishes them again."""
    work = LetterWork()
    while not work.finished:
        work = await purge_step(connection, stream, wanted, work, limit=limit)
        yield work


async def replay_step(
    connection: Nats, stream: str, wanted: LetterFilter, work: LetterWork, *, operation_id: str, rate: int | None, limit: int | None,
    seconds: float = STEP_SECONDS,
) -> LetterWork:  # fmt: skip
    """Go on for some seconds. One step decides which letters are meant, those that follow replay them.

    Raises: as `replay`.
    """
    if work.last is None:
        return await _select(connection, stream, wanted, work, limit=limit, whole=True, seconds=seconds)
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    most = min(_AT_ONCE, max(1, rate // 10)) if rate else _AT_ONCE
    done = work.done
    work = replace(work, problem="")
    async with aclosing(_chunks(connection, stream, wanted, work, most, whole=True)) as chunks:
        async for letters, work in chunks:
            begun = clock()
            came = await asyncio.gather(*(_replay(connection, stream, each, operation_id) for each in letters), return_exceptions=True)
            refused = {each.sequence: why for each, why in zip(letters, came, strict=True) if isinstance(why, BaseException)}
            done += len(letters) - len(refused)
            if refused:
                first = min(refused)
                stuck = replace(work, looked_at=first - 1, done=done, finished=False, problem=_sentence(refused[first]))
                return await _left(connection, stream, stuck)
            if clock() >= deadline:
                break
            if rate and not work.finished:
                await asyncio.sleep(max(0.0, len(letters) / rate - (clock() - begun)))
    return await _left(connection, stream, replace(work, done=done))


async def purge_step(
    connection: Nats, stream: str, wanted: LetterFilter, work: LetterWork, *, limit: int | None, seconds: float = STEP_SECONDS
) -> LetterWork:
    """Go on for some seconds: decide which letters are meant, then delete them.

    Raises: as `replay`.
    """
    if work.last is None:
        return await _select(connection, stream, wanted, work, limit=limit, whole=False, seconds=seconds)
    letters_stream = dead_letter_stream(stream)
    if not wanted.model_copy(update={"consumer": None}).model_dump(
        exclude_defaults=True
    ):  # nothing but the consumer, which is in the subject
        body = {"filter": letters_of(stream, wanted.consumer), "seq": work.last + 1}
        await call(connection, f"$JS.API.STREAM.PURGE.{letters_stream}", body, seconds=CHANGE_SECONDS)
        return await _left(connection, stream, replace(work, done=work.selected, looked_at=work.last, finished=True))
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    done = work.done
    async with aclosing(_chunks(connection, stream, wanted, work, _AT_ONCE, whole=False)) as chunks:
        async for letters, work in chunks:  # noqa: B007 - where it goes on
            await asyncio.gather(*(delete(connection, letters_stream, each.sequence) for each in letters))
            done += len(letters)
            if clock() >= deadline:
                break
    return await _left(connection, stream, replace(work, done=done))


async def _select(
    connection: Nats, stream: str, wanted: LetterFilter, work: LetterWork, *, limit: int | None, whole: bool, seconds: float
) -> LetterWork:
    """Decide which letters are meant: those up to `last`. `whole`: only those that have their payload."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    end = (await inventory(connection, stream)).last_sequence
    last = work.looked_at
    selected = work.selected
    first = max(work.looked_at + 1, wanted.first_sequence or 1)
    async for page in pages(connection, stream, consumer=wanted.consumer, first=first, payloads=False):
        for letter in page:
            if letter.sequence > min(end, wanted.last_sequence or end):
                return await _left(connection, stream, replace(work, looked_at=0, selected=selected, last=last, finished=selected == 0))
            if matches(letter, wanted) and (letter.complete or not whole):
                selected, last = selected + 1, letter.sequence
                if selected == limit:
                    return await _left(connection, stream, replace(work, looked_at=0, selected=selected, last=last))
        if page and clock() >= deadline:
            return replace(work, looked_at=page[-1].sequence, selected=selected)
    return await _left(connection, stream, replace(work, looked_at=0, selected=selected, last=last, finished=selected == 0))


async def _chunks(
    connection: Nats, stream: str, wanted: LetterFilter, work: LetterWork, most: int, *, whole: bool
) -> AsyncGenerator[tuple[list[DeadLetter], LetterWork], None]:
    """The letters that are meant, `most` at a time, and where it goes on behind them."""
    assert work.last is not None
    found: list[DeadLetter] = []
    first = max(work.looked_at + 1, wanted.first_sequence or 1)
    async for page in pages(connection, stream, consumer=wanted.consumer, first=first, payloads=False):
        for letter in page:
            if letter.sequence > work.last:
                yield found, replace(work, looked_at=work.last, finished=True)
                return
            if matches(letter, wanted) and (letter.complete or not whole):
                found.append(letter)
                if len(found) == most and letter.sequence != work.last:
                    yield found, replace(work, looked_at=letter.sequence)
                    found = []
    yield found, replace(work, looked_at=work.last, finished=True)


async def _left(connection: Nats, stream: str, work: LetterWork) -> LetterWork:
    return replace(work, left=(await inventory(connection, stream)).count)


async def _replay(connection: Nats, stream: str, letter: DeadLetter, operation_id: str) -> None:
    """Publish one message again, whole as the leader has it, and delete its letter once the stream has acknowledged it."""
    letters_stream = dead_letter_stream(stream)
    stored = await fetch(connection, letters_stream, letter.sequence)
    whole = read_letter(stored) if stored else None
    if whole is None or whole.payload is None:
        return  # done before a crash, or deleted by somebody
    known = any(name.lower() == ORIGINAL_ID.lower() for name, _ in whole.headers)
    headers = Headers([
        *whole.headers, *(() if known else ((ORIGINAL_ID, f"{stream}:{whole.source_sequence}"),)),
        ("Nats-Msg-Id", f"replay:{operation_id}:{letter.sequence}"), ("Nats-Expected-Stream", stream),
    ])  # fmt: skip
    if headers.size + len(whole.payload) > connection.max_payload:
        raise Refused(f"dead letter {letter.sequence} is larger than the servers take messages now")
    try:
        answer = json.loads((await connection.request(whole.subject, whole.payload, headers=headers, timeout=CHANGE_SECONDS)).data)
    except nats.errors.NoRespondersError as error:
        raise Refused(f"no stream takes messages of {whole.subject} now") from error
    except ValueError as garbage:
        raise NatsError(f"{whole.subject} was answered by something that is no JetStream") from garbage
    if refused := answer.get("error"):
        raise Refused(
            f"{stream} does not take dead letter {letter.sequence} ({whole.subject}): {refused.get('description', 'unknown error')}"
        )
    await delete(connection, letters_stream, letter.sequence)


def _sentence(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        raise error
    return str(error) or type(error).__name__
