"""Bury: copy a message to the dead letters, and only once the copy is acknowledged let the stream go of it.

Each step may be cut off and taken again: the copy's subject exists once (desired/queue/dead_letters.py), a message that is gone was buried
or processed, and what is let go of twice is gone after the first time. A stream of dead letters that is full refuses the copy, and the
message stays where it was.
"""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from typing import Any

import nats.errors
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.dead_letters.letter import Headers, Source, letter_headers, stored_message
from baas_operator.desired.queue.dead_letters import dead_letter_stream, letter_subject, letters_of
from baas_operator.jetstream.requests import CHANGE_SECONDS, JetStreamError, call

NO_MESSAGE, STREAM_NOT_FOUND, STORE_FAILED, IN_PROCESS = 10037, 10059, 10077, 10158
"""`err_code`s of JetStream (nats-server, server/errors.json). STORE_FAILED is a subject that is taken as well as a stream that is full."""
_TRIES, _IN_PROCESS_SECONDS = 20, 0.25
"""A copy that another dispatcher sends at the same moment is stored, or given up, within seconds."""


class Unburied(Exception):  # noqa: N818 - it is a state, no error
    """A message could not be copied, and is where it was. The sentence says why and what helps."""


class Buried(StrEnum):
    """What came of a message."""

    BURIED = "buried"
    KNOWN = "known"
    """As before, but its copy was there already: somebody else's, or one's own from before a crash."""
    GONE = "gone"
    """It is not in the stream any more: processed or deleted meanwhile, or buried by somebody else."""


async def bury(
    connection: Nats, *, stream: str, consumer: str, sequence: int, deliveries: int, reason: str, detail: str = "",
    message: Source | None = None, retention: str | None = None,
) -> Buried:  # fmt: skip
    """Copy a message with the reason, and then let the stream go of it: of a `workqueue` stream it is deleted; for an `interest` stream it
    is acknowledged in the consumer's name, as others may still need it; in a `limits` stream it stays.

    `message` and `retention` are asked for where they are not given.

    Raises:
        Unburied: there is no room for the copy, or it can not be made. JetStreamError, or one of Unreachable: there was no answer of use.
    """
    if message is None:
        message = await fetch(connection, stream, sequence)
        if message is None:
            return Buried.GONE
    new = await keep(connection, message, stream=stream, consumer=consumer, deliveries=deliveries, reason=reason, detail=detail)
    await let_go(connection, stream, consumer, sequence, retention=retention or await retention_of(connection, stream))
    return Buried.BURIED if new else Buried.KNOWN


async def fetch(connection: Nats, stream: str, sequence: int) -> Source | None:
    """A message of a stream, from its leader; None if there is none.

    Raises:
        JetStreamError, or one of Unreachable: there was no answer of use.
    """
    try:
        answer = await call(connection, f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": sequence})
        return stored_message(answer["message"])
    except JetStreamError as error:
        if error.code in (NO_MESSAGE, STREAM_NOT_FOUND):
            return None
        raise
    except (KeyError, TypeError, ValueError) as garbage:
        raise NatsError(f"message {sequence} of {stream} was told of by something that is no JetStream") from garbage


async def retention_of(connection: Nats, stream: str) -> str:
    """When a stream lets go of a message.

    Raises:
        JetStreamError, or one of Unreachable: there was no answer of use.
    """
    info = await call(connection, f"$JS.API.STREAM.INFO.{stream}")
    return str(info["config"]["retention"])


async def keep(connection: Nats, message: Source, *, stream: str, consumer: str, deliveries: int, reason: str, detail: str = "") -> bool:
    """Copy a message to the dead letters of its stream, once; the stream itself still has it. For who acknowledges it by itself. False: the
    copy was there already.

    Raises:
        Unburied, JetStreamError, or one of Unreachable: it is not there.
    """
    headers = letter_headers(
        message, stream=stream, consumer=consumer, sequence=message.sequence, deliveries=deliveries, reason=reason, detail=detail
    )
    subject = letter_subject(stream, consumer, message.sequence, message.nanoseconds)
    return await _publish(connection, stream, subject, message.payload, headers)


async def note_gone(
    connection: Nats, *, stream: str, consumer: str, sequence: int, nanoseconds: int, deliveries: int, reason: str, detail: str
) -> bool:
    """Keep the word about a message that was given up and is gone: a `workqueue` stream deletes at once what its consumer terminates. Not
    where the message itself is among the dead letters. `nanoseconds`: when it was told. False: one of both was there already.

    Raises:
        Unburied, JetStreamError, or one of Unreachable: it is not there.
    """
    if await _is_there(connection, stream, letters_of(stream, consumer, sequence)):
        return False
    headers = letter_headers(None, stream=stream, consumer=consumer, sequence=sequence, deliveries=deliveries, reason=reason, detail=detail)
    return await _publish(connection, stream, letter_subject(stream, consumer, sequence, nanoseconds), b"", headers)


async def let_go(connection: Nats, stream: str, consumer: str, sequence: int, *, retention: str) -> None:
    """Let a stream go of a message that was copied, as its retention has it.

    Raises:
        JetStreamError, or one of Unreachable: it is still there.
    """
    if retention == "workqueue":
        await delete(connection, stream, sequence)
    elif retention == "interest":
        # What was delivered for the last time is kept as wanted until somebody acknowledges it, which may be anybody (measured with
        # nats-server 2.14.10). It goes once no other consumer wants it. The zeros stand for what the server only counts with.
        await connection.request(f"$JS.ACK.{stream}.{consumer}.1.{sequence}.0.0.0", b"+ACK", timeout=CHANGE_SECONDS)


async def delete(connection: Nats, stream: str, sequence: int) -> None:
    """Delete a message of a stream, if it is there.

    Raises:
        JetStreamError, or one of Unreachable: it is still there.
    """
    try:
        body = {"seq": sequence, "no_erase": True}  # overwritten with random bytes otherwise, which takes disk writes and helps nobody here
        await call(connection, f"$JS.API.STREAM.MSG.DELETE.{stream}", body, seconds=CHANGE_SECONDS)
    except JetStreamError:
        if await fetch(connection, stream, sequence) is not None:
            raise


async def _publish(connection: Nats, stream: str, subject: str, payload: bytes, headers: list[tuple[str, str]]) -> bool:
    """False: the stream had it."""
    letters = dead_letter_stream(stream)
    made = Headers([*headers, ("Nats-Msg-Id", subject), ("Nats-Expected-Stream", letters)])
    if made.size + len(payload) > connection.max_payload:  # the server ends the connection of who sends it, and the client does not look
        raise Unburied(
            f"A message of {stream} is too large for the headers that a dead letter has beside it: let the servers take larger messages "
            "than the stream does."
        )
    for _ in range(_TRIES):
        answer = await _ask(connection, letters, subject, payload, made)
        refused: dict[str, Any] | None = answer.get("error")
        if refused is None:
            return not answer.get("duplicate")
        code, said = int(refused.get("err_code", 0)), str(refused.get("description", "unknown error"))
        if code in (STORE_FAILED, IN_PROCESS) and await _is_there(connection, stream, subject):
            return False
        if code == STORE_FAILED:
            raise Unburied(
                f"There is no room in {letters} ({said}): messages stay in {stream} until dead letters are replayed, purged or expire, or "
                "deadLetter.maxSize is raised."
            )
        if code != IN_PROCESS:
            raise JetStreamError(said, code)
        await asyncio.sleep(_IN_PROCESS_SECONDS)  # somebody buries it at this moment, and may fail
    raise Unburied(f"{letters} has not taken a message of {stream} yet that somebody else sent, too.")


async def _ask(connection: Nats, letters: str, subject: str, payload: bytes, headers: Headers) -> dict[str, Any]:
    """The stream's answer; `error` in it is its refusal."""
    try:
        answer: dict[str, Any] = json.loads((await connection.request(subject, payload, headers=headers, timeout=CHANGE_SECONDS)).data)
    except nats.errors.NoRespondersError as error:
        raise Unburied(f"The stream of dead letters {letters} is not there or has no leader: messages stay where they are.") from error
    except ValueError as garbage:
        raise NatsError(f"{subject} was answered by something that is no JetStream") from garbage
    return answer


async def _is_there(connection: Nats, stream: str, subject: str) -> bool:
    try:
        await call(connection, f"$JS.API.STREAM.MSG.GET.{dead_letter_stream(stream)}", {"last_by_subj": subject})
    except JetStreamError as error:
        if error.code in (NO_MESSAGE, STREAM_NOT_FOUND):
            return False
        raise
    return True
