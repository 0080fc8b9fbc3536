"""Dead letters a page at a time, in order: one request a page, from any copy of their stream (NATS ADR-31, "Direct Get", batches)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import nats.errors
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.dead_letters.letter import DeadLetter, Source, read_letter, to_nanoseconds
from baas_operator.desired.queue.dead_letters import dead_letter_stream, letters_of
from baas_operator.jetstream.requests import REQUEST_SECONDS, JetStreamError, call

_PAGE = 256
_PAGE_BYTES = 4 * 2**20
"""A page ends early where messages are large."""


async def pages(
    connection: Nats, stream: str, *, consumer: str | None = None, first: int = 1, payloads: bool = True
) -> AsyncIterator[list[DeadLetter]]:
    """The dead letters of a stream, or of one of its consumers, from a sequence on.

    Raises:
        JetStreamError: there is no stream of dead letters. One of Unreachable: there was no answer.
    """
    while True:
        found, last = await _page(connection, stream, letters_of(stream, consumer), first, payloads)
        yield found
        if last is None:
            return
        first = last + 1


async def _page(connection: Nats, stream: str, subject: str, first: int, payloads: bool) -> tuple[list[DeadLetter], int | None]:
    """One page, and the sequence that it ends with; None where nothing is behind it."""
    inbox = connection.new_inbox()
    answers = await connection.subscribe(inbox)
    asked = {"seq": first, "next_by_subj": subject, "batch": _PAGE, "max_bytes": _PAGE_BYTES}
    found: list[DeadLetter] = []
    last = first - 1
    try:
        await connection.publish(f"$JS.API.DIRECT.GET.{dead_letter_stream(stream)}", json.dumps(asked).encode(), reply=inbox)
        while True:
            try:
                message = await answers.next_msg(timeout=REQUEST_SECONDS)
            except (TimeoutError, nats.errors.TimeoutError) as silence:
                raise NatsError(f"{dead_letter_stream(stream)} did not answer within {REQUEST_SECONDS:.0f} s") from silence
            headers = message.headers or {}
            if "Nats-Sequence" in headers:  # a message, which may have a header `Status` of its own
                last = int(headers["Nats-Sequence"])
                stored = Source(
                    last, headers["Nats-Subject"], to_nanoseconds(headers["Nats-Time-Stamp"]), tuple(headers.items()), message.data
                )
                if letter := read_letter(stored, payload=payloads):
                    found.append(letter)
                continue
            match headers.get("Status"):
                case "404":
                    return found, None
                case "503":
                    await call(connection, f"$JS.API.STREAM.INFO.{dead_letter_stream(stream)}")  # says so where there is none
                    raise NatsError(f"nobody answers for {dead_letter_stream(stream)}")
                case "204":
                    return found, last if int(headers.get("Nats-Num-Pending", "0")) else None
                case status:
                    raise JetStreamError(f"{status} {headers.get('Description', '')}")
    except (KeyError, ValueError) as garbage:
        raise NatsError(f"{dead_letter_stream(stream)} was told of by something that is no JetStream") from garbage
    finally:
        await answers.unsubscribe()
