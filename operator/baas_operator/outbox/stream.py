"""The stream's side of a relay: publish so that what comes late or twice is refused, and find out what is in the stream already.

`Nats-Msg-Id` alone makes "once" of "twice" for the stream's duplicate window only, and only while the servers remember (after a start
they build the list from what is still in the stream; nats-server, `rebuildDedupe`). `Nats-Expected-Last-Sequence` knows no window: a leader
takes a message only if the stream's last sequence is this one, and sequences only grow, whatever is removed. So a message that lay in a
frozen server's buffer for an hour is refused, and where a message can be is known before it is sent.

Many at once go as one atomic batch (NATS ADR-50), where the stream allows it (`allow_atomic`): all of it is stored, in its order, or
nothing. Without, each waits for the one before. Were they just sent one behind the other, each with its own expected sequence, a message of
somebody else could take the place of the first, which is refused, and the others would still fit: in another order.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import nats.errors
from nats.aio.client import Client as Nats

from baas_operator.jetstream.requests import JetStreamError, call
from baas_operator.outbox.answers import Answers
from baas_operator.outbox.rows import Limits, Message, Refusal

PUBLISH_SECONDS = 5.0
"""How long answers are waited for. A leader that is gone is followed by another after 4 to 10 s: the next round has it."""
_READS = 50
"""Messages that are asked for at a time."""
_BEYOND = 50
_NO_MESSAGE, _NO_STREAM = 10037, 10059
_WRONG_LAST = {10071, 10164}
_BUSY = {10077, 10176, 10210}
"""The stream is full; the batch is incomplete (the leader is another one by now); too many batches are under way."""
_ONE_BY_ONE = {10054, 10060, 10077, 10097, 10174, 10177, 10199, 10201}
"""What a batch is refused for that single messages may not be: there is room for some, one is refused, or is in the stream already."""
_NEVER = {10054, 10060, 10097}
"""The message is too large, another stream has its subject, its headers are too large: however often one asks."""


class StreamUnavailableError(Exception):
    """The stream can not be published to now; the message is a sentence."""


class Outcome(Enum):
    """What became of one message."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """It was in the stream already."""
    CONFLICT = "conflict"
    """Not stored: the stream's last sequence is another one."""
    REFUSED = "refused"
    """Not stored, and never will be."""
    BUSY = "busy"
    """Not stored: the stream is full, or has no leader now."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class View:
    """A stream as its leader has it. `created` is the server's text."""

    last: int
    created: str
    atomic: bool
    """Whether it takes batches."""
    limits: Limits


@dataclass
class Round:
    """What became of messages that were sent together, by id. `said` is what the servers last gave as a reason; `one_by_one`: these can not
    go as a batch."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    said: str = ""
    one_by_one: bool = False

    def of(self, *wanted: Outcome) -> list[str]:
        """Ids with one of these outcomes."""
        return [each for each, outcome in self.outcomes.items() if outcome in wanted]


class Stream:
    """One stream, over a connection that the caller has and that reconnects by itself."""

    def __init__(self, client: Nats, name: str) -> None:
        self._client = client
        self._answers = Answers(client)
        self.name = name

    async def view(self) -> View | None:
        """The stream as it is; None when there is none.

        Raises:
            One of `Unreachable`, JetStreamError.
        """
        try:
            answer = await call(self._client, f"$JS.API.STREAM.INFO.{self.name}")
        except JetStreamError as error:
            if error.code == _NO_STREAM:
                return None
            raise
        config = answer["config"]
        limits = Limits(self.name, tuple(config.get("subjects") or ()), int(config.get("max_msg_size", -1)), self._client.max_payload)
        return View(int(answer["state"]["last_seq"]), str(answer.get("created", "")), bool(config.get("allow_atomic")), limits)

    # --- publishing ---------------------------------------------------------------------------------------------------

    async def batch(self, messages: Sequence[Message], base: int) -> Round:
        """Publish all of them or none, if the stream's last sequence is `base`."""
        if len(messages) == 1:
            return await self.single(messages, base)
        made = Round()
        future = None
        batch = uuid.uuid4().hex
        try:
            for index, message in enumerate(messages, 1):
                more = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(index)}
                if index < len(messages):
                    await self._answers.send(
                        message.row.subject, message.payload, self._headers(message, base if index == 1 else None) | more
                    )
                else:
                    headers = self._headers(message, None) | more | {"Nats-Batch-Commit": "1"}
                    future = await self._answers.publish(message.row.subject, message.payload, headers)
                    await asyncio.wait((future,), timeout=PUBLISH_SECONDS)
        except (nats.errors.Error, OSError) as error:
            made.said = str(error) or type(error).__name__
        outcome = Outcome.UNKNOWN
        if future and future.done():
            outcome, made.said = _judged(future.result())
            code = int((future.result().get("error") or {}).get("err_code", 0))
            if code in _ONE_BY_ONE:
                outcome, made.one_by_one = Outcome.CONFLICT, True
        elif future:
            future.cancel()
        made.outcomes = {each.row.id: outcome for each in messages}
        return made

    async def single(self, messages: Sequence[Message], base: int | None) -> Round:
        """Publish one after another, and no more after one that was not stored now. `base` as in `batch`, or None: whatever it is."""
        made = Round()
        for index, message in enumerate(messages):
            future = None
            try:
                headers = self._headers(message, None if base is None else base + index)
                future = await self._answers.publish(message.row.subject, message.payload, headers)
                await asyncio.wait((future,), timeout=PUBLISH_SECONDS)
            except (nats.errors.Error, OSError) as error:
                made.said = str(error) or type(error).__name__
            self._note(made, message, future)
            if made.outcomes[message.row.id] is not Outcome.STORED:
                break
        for message in messages:
            made.outcomes.setdefault(message.row.id, Outcome.CONFLICT)  # was not sent
        return made

    async def close(self) -> None:
        """Give up what is under way."""
        await self._answers.close()

    def _headers(self, message: Message, last: int | None) -> dict[str, str]:
        made = message.row.headers | {"Nats-Msg-Id": message.row.id, "Nats-Expected-Stream": self.name}
        return made if last is None else made | {"Nats-Expected-Last-Sequence": str(last)}

    def _note(self, made: Round, message: Message, future: asyncio.Future[dict[str, Any]] | None) -> None:
        if future is None or not future.done():
            made.outcomes[message.row.id] = Outcome.UNKNOWN
            if future:
                future.cancel()
            return
        outcome, said = _judged(future.result())
        made.outcomes[message.row.id] = outcome
        if said and outcome is not Outcome.CONFLICT:
            made.said = said
        if outcome is Outcome.REFUSED:
            made.refused.append(Refusal(message.row.id, f"Stream {self.name} does not take it: {said}."))

    # --- what is there ------------------------------------------------------------------------------------------------

    async def positions(self, base: int, ids: Sequence[str], last: int) -> tuple[set[str], set[str]]:
        """Of messages that were published in this order after `base`: those that are in the stream, or were, as a later one is; and those
        that may have been: something was at their place and was removed.

        Raises:
            One of `Unreachable`, JetStreamError.
        """
        there: list[str | None] = []
        # A little further than their places: they may have had later ones, if an earlier round had others among them.
        upto = min(len(ids) + _BEYOND, last - base)
        for start in range(0, upto, _READS):
            there += await asyncio.gather(*(self._id_at(base + 1 + index) for index in range(start, min(upto, start + _READS))))
        found = set(ids) & {each for each in there if each}
        gone = {each for each, seen in zip(ids, there, strict=False) if seen is None}
        if found:
            found |= set(ids[: max(index for index, each in enumerate(ids) if each in found)])
        return found, gone - found

    async def _id_at(self, sequence: int) -> str | None:
        """Message id of what is there, a text that is none where it has none; None when it was removed."""
        found = await self._get({"seq": sequence})
        return None if found is None else found[1]

    async def walk(self, base: int, messages: Sequence[tuple[str, str]]) -> set[str]:
        """Of messages (subject and id) those that are in the stream after `base`, wherever.

        Raises:
            One of `Unreachable`, JetStreamError.
        """
        wanted = {id_ for _, id_ in messages}
        found: set[str] = set()
        for subject in sorted({subject for subject, _ in messages}):
            sequence = base + 1
            while (got := await self._get({"seq": sequence, "next_by_subj": subject})) is not None:
                sequence = got[0] + 1
                if got[1] in wanted:
                    found.add(got[1])
        return found

    async def _get(self, wanted: dict[str, Any]) -> tuple[int, str] | None:
        try:
            answer = await call(self._client, f"$JS.API.STREAM.MSG.GET.{self.name}", wanted)
        except JetStreamError as error:
            if error.code == _NO_MESSAGE:
                return None
            raise
        message = answer["message"]
        return int(message["seq"]), _message_id(message.get("hdrs", ""))


def _message_id(headers: str) -> str:
    try:
        lines = base64.b64decode(headers).decode(errors="replace").split("\r\n")
    except (binascii.Error, ValueError):
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("nats-msg-id:")), "")


def _judged(answer: dict[str, Any]) -> tuple[Outcome, str]:
    """What an answer says, and its words where it is an error."""
    if not answer:
        return Outcome.BUSY, "no server leads the stream"
    error = answer.get("error")
    if not error:
        return (Outcome.DUPLICATE if answer.get("duplicate") else Outcome.STORED), ""
    code, said = int(error.get("err_code", 0)), str(error.get("description", "unknown error"))
    if code in _WRONG_LAST:
        return Outcome.CONFLICT, said
    if code in _NEVER:
        return Outcome.REFUSED, said
    # All else, such as 10158 (the same id is under way), may be said after it was handed on.
    return (Outcome.BUSY if code in _BUSY else Outcome.UNKNOWN), said
