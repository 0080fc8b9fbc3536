"""A dead letter: the message as it was, and beside it in headers what it was and why nobody could process it.

Headers of the message that NATS itself would act upon (`Nats-…`: an id, a time to live, a roll-up that deletes what came before) are kept
under `Baas-Original-…`, where nothing acts upon them, neither here nor when the message is replayed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from nats.aio.msg import Msg

from baas_operator.observe.moments import to_text

_DEAD, _ORIGINAL, _NATS, _EXPECTED = "Baas-Dead-", "Baas-Original-", "Nats-", "Nats-Expected-"
ORIGINAL_ID = f"{_ORIGINAL}Nats-Msg-Id"
"""What a message was known by before it was replayed: who has seen it under this name can tell that it is the same."""
_GONE = "gone"
_MOST_DETAIL = 1000
"""Characters of what somebody said that a header repeats."""
_LEFT_OUT = " (its last headers are left out: there was no room for them)"
_MOST_HEADERS = 64 * 1024 - 1 - 1024
"""Bytes: the server keeps a message's headers in a field of 16 bits (nats-server, `checkMsgHeadersPreClusteredProposal`), and those that a
letter is published with come beside."""
_SIGNS = "!#$%&'*+-.^_`|~"
"""What a header's name may have beside letters and digits (RFC 9110, 5.6.2): clients send no other, however it came into the stream."""


class Reason(StrEnum):
    """Why a message is a dead letter."""

    MAX_DELIVERIES = "MaxDeliveries"
    TERMINATED = "Terminated"
    SWEPT = "Swept"
    PAYLOAD_TOO_LARGE = "PayloadTooLarge"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    ENDPOINT_GONE = "EndpointGone"


class Headers(dict[str, str]):
    """Headers for a client that takes a mapping of names to values, where a name may come more than once."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        super().__init__(self.pairs)

    @property
    def size(self) -> int:
        """Bytes that they take in a message (NATS ADR-4)."""
        return len(b"NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n".encode()) for name, value in self.pairs)

    def items(self) -> Any:
        """(name, value), in order."""
        return self.pairs


@dataclass(frozen=True)
class Source:
    """A message in its stream. `nanoseconds`: when it was stored, since 1970."""

    sequence: int
    subject: str
    nanoseconds: int
    headers: tuple[tuple[str, str], ...] = ()
    payload: bytes = b""


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter as it is kept. `sequence` is its own, among the dead letters; `source_sequence` that of the message it is a copy of.
    `payload` is None where it was gone before it could be copied, or was not asked for; `complete` is False in the first case."""

    sequence: int
    buried_at: str
    stream: str
    consumer: str
    source_sequence: int
    subject: str
    stored_at: str
    deliveries: int
    reason: str
    detail: str
    headers: tuple[tuple[str, str], ...]
    payload: bytes | None
    complete: bool = True

    def data(self) -> dict[str, Any]:
        """As plain data; the payload in base64, as it may be anything."""
        return {
            "sequence": self.sequence, "buriedAt": self.buried_at, "stream": self.stream, "consumer": self.consumer,
            "sourceSequence": self.source_sequence, "subject": self.subject, "storedAt": self.stored_at, "deliveries": self.deliveries,
            "reason": self.reason, "detail": self.detail, "complete": self.complete, "headers": [list(each) for each in self.headers],
        } | ({} if self.payload is None else {"payload": base64.b64encode(self.payload).decode()})  # fmt: skip


def to_nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of a time as NATS writes it, `2026-11-28T05:31:57.232898951Z`: nine digits, where datetime keeps six.

    Raises:
        ValueError: it is no such time.
    """
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)


def to_moment(nanoseconds: int) -> str:
    """The same as people read it, to milliseconds."""
    return to_text(datetime.fromtimestamp(nanoseconds // 1_000_000 / 1000, UTC), "milliseconds")


def stored_message(found: Mapping[str, Any]) -> Source:
    """The `message` of JetStream's answer to `STREAM.MSG.GET`.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return Source(
        sequence=int(found["seq"]),
        subject=str(found["subject"]),
        nanoseconds=to_nanoseconds(found["time"]),
        headers=tuple(parse_headers(base64.b64decode(found.get("hdrs") or ""))),
        payload=base64.b64decode(found.get("data") or ""),
    )


def delivered_message(message: Msg) -> Source:
    """A message that a consumer was given.

    Raises:
        ValueError: it did not come from JetStream.
    """
    tokens = message.reply.split(".")  # $JS.ACK.(domain.account.)stream.consumer.deliveries.sequence.consumer_sequence.nanoseconds.pending
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        raise ValueError("this message did not come from a stream")
    at = 5 if len(tokens) == 9 else 7
    pairs = tuple((message.headers or {}).items())
    return Source(int(tokens[at]), message.subject, int(tokens[at + 2]), pairs, message.data)


def parse_headers(raw: bytes) -> Iterator[tuple[str, str]]:
    """(name, value) of headers as NATS stores them (NATS ADR-4), those that come twice both times."""
    for line in raw.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            yield name.decode("utf-8", "backslashreplace").strip(), value.decode("utf-8", "backslashreplace").strip()


def letter_headers(
    message: Source | None, *, stream: str, consumer: str, sequence: int, deliveries: int, reason: str, detail: str
) -> list[tuple[str, str]]:
    """Headers of the copy of a message, or of the word about one whose payload is gone."""
    told = {"Stream": stream, "Consumer": consumer, "Sequence": str(sequence), "Deliveries": str(deliveries), "Reason": reason}
    if message:
        told |= {"Subject": message.subject, "Time": to_moment(message.nanoseconds)}
    else:
        told["Payload"] = _GONE
    own = [*_renamed(message.headers if message else ())]
    kept = _fitting(own, _MOST_HEADERS - Headers(_said(told, f"{detail[:_MOST_DETAIL]}{_LEFT_OUT}")).size)
    if len(kept) < len(own):
        detail = f"{detail[:_MOST_DETAIL]}{_LEFT_OUT}"
    return [*kept, *_said(told, detail)]


def _said(told: Mapping[str, str], detail: str) -> Iterator[tuple[str, str]]:
    words = " ".join(detail.split())[: _MOST_DETAIL + len(_LEFT_OUT)]
    yield from ((f"{_DEAD}{name}", value) for name, value in (dict(told) | ({"Detail": words} if words else {})).items())


def _fitting(headers: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    """The first headers that take no more than so many bytes together."""
    kept = []
    for each in headers:
        most -= len(f"{each[0]}: {each[1]}\r\n".encode())
        if most < 0:
            break
        kept.append(each)
    return kept


def _renamed(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """A message that was replayed before has its first id under the other name already: that is the one which is kept."""
    known = {name.lower() for name, _ in headers}
    for name, value in headers:
        if name.lower().startswith((_DEAD.lower(), _EXPECTED.lower())):
            continue
        if not name.lower().startswith(_NATS.lower()):
            yield quote(name, safe=_SIGNS), value
        elif f"{_ORIGINAL}{name}".lower() not in known:
            yield quote(f"{_ORIGINAL}{name}", safe=_SIGNS), value


def read_letter(found: Source, *, payload: bool = True) -> DeadLetter | None:
    """A message of a stream of dead letters; None where somebody else put something else there."""
    told = {name.lower(): value for name, value in found.headers if name.lower().startswith(_DEAD.lower())}

    def said(name: str, default: str = "") -> str:
        return told.get(f"{_DEAD}{name}".lower(), default)

    try:
        source, deliveries = int(said("Sequence")), int(said("Deliveries", "0"))
    except ValueError:
        return None
    complete = said("Payload") != _GONE
    return DeadLetter(
        sequence=found.sequence, buried_at=to_moment(found.nanoseconds), stream=said("Stream"), consumer=said("Consumer"),
        source_sequence=source, subject=said("Subject"), stored_at=said("Time"), deliveries=deliveries, reason=said("Reason"),
        detail=said("Detail"),
        headers=tuple(
            (name, value) for name, value in found.headers
            if not name.lower().startswith((_DEAD.lower(), _NATS.lower()))
        ),
        payload=found.payload if payload and complete else None, complete=complete,
    )  # fmt: skip
