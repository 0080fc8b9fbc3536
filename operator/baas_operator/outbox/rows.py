"""Rows of an outbox, and which of them can not be messages whatever one does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A header's name as RFC 9110 (5.6.2) has it: nats-py sends no other."""
_OWN_HEADERS = len("NATS/1.0\r\nNats-Msg-Id: \r\nNats-Expected-Stream: \r\nNats-Expected-Last-Sequence: \r\n\r\n") + 20
"""Bytes that the relay's own headers take at the most, beside the id and the stream's name; the longest sequence has 20 digits."""
_MOST_ID = 512
MOST_SUBJECT = 2048
"""Bytes: the server ends the connection of who sends a line of more than 4,096 (its `max_control_line`), and all that goes over it."""
MOST_TEXT = 160 * 1024
"""Characters of the headers' JSON that are looked at: more are too many bytes even where every second one is a backslash."""
_MOST_HEADERS = 64 * 1024 - 1
"""The server keeps a message's headers in a field of 16 bits (nats-server, `checkMsgHeadersPreClusteredProposal`)."""


@dataclass(frozen=True)
class Row:
    """A row whose payload is still in the database. `size`: the payload's bytes."""

    id: str
    subject: str
    headers: dict[str, str]
    size: int


@dataclass(frozen=True)
class Message:
    """A row with its payload."""

    row: Row
    payload: bytes


@dataclass(frozen=True)
class Refusal:
    """A row that can not be published, and why: a sentence."""

    id: str
    reason: str


@dataclass(frozen=True)
class Limits:
    """What the stream takes: subjects that it has, bytes of a message, -1 for no limit of its own; and what a connection takes."""

    stream: str
    subjects: tuple[str, ...]
    max_message: int
    max_payload: int


def check(id_: str, subject: str, headers: str | None, size: int, limits: Limits) -> Row | Refusal:
    """The row, or why it can not become a message of this stream. `headers` is the column's JSON as text. Of what is too long for any
    message, the first part is enough."""
    try:
        found = _headers(headers)
    except ValueError as error:
        return Refusal(id_, str(error))
    if not id_ or len(id_) > _MOST_ID or not id_.isprintable() or id_ != id_.strip():
        return Refusal(id_, f"The id has to be 1 to {_MOST_ID} printable characters without spaces around it.")
    if not _is_subject(subject):
        return Refusal(id_, f"{subject[:200]!r} is no subject to publish to: words with dots between, without spaces and wildcards.")
    if len(subject.encode()) > MOST_SUBJECT:
        return Refusal(id_, f"The subject has more than {MOST_SUBJECT} bytes.")
    if not any(_covers(each, subject) for each in limits.subjects):
        return Refusal(id_, f"Stream {limits.stream} has no subject {subject[:200]}: it has {', '.join(limits.subjects)[:500]}.")
    extra = sum(len(key.encode()) + len(value.encode()) + 4 for key, value in found.items())
    extra += len(id_.encode()) + len(limits.stream) + _OWN_HEADERS
    if extra > _MOST_HEADERS:
        return Refusal(id_, f"The headers have more than {_MOST_HEADERS} bytes.")
    if size + extra > limits.max_payload:
        return Refusal(id_, f"The message has {size} bytes; the servers take {limits.max_payload}, headers included.")
    if 0 < limits.max_message < size + extra:
        return Refusal(id_, f"The message has {size} bytes; stream {limits.stream} takes {limits.max_message}, headers included.")
    return Row(id_, subject, found, size)


def first_of(rows: Iterable[Row], most_bytes: int) -> list[Row]:
    """The first rows that have no more than so many bytes together; one at the least."""
    chosen: list[Row] = []
    total = 0
    for row in rows:
        total += row.size
        if chosen and total > most_bytes:
            break
        chosen.append(row)
    return chosen


def _headers(text: str | None) -> dict[str, str]:
    if text and len(text) > MOST_TEXT:
        raise ValueError(f"The headers have more than {_MOST_HEADERS} bytes.")
    try:
        found: Any = json.loads(text) if text else {}
    except RecursionError:
        raise ValueError("The headers have to be an object of texts.") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("The headers have to be an object of texts.")
    for key, value in found.items():
        if not _NAME.fullmatch(key) or "\r" in value or "\n" in value or value != value.strip():
            raise ValueError(
                f"The header {key[:100]!r} can not be sent: no line breaks, no spaces around, and in its name only letters, digits and the "
                "signs that HTTP has in names."
            )
        if key.lower().startswith("nats-"):
            raise ValueError(f"The header {key[:100]!r} is NATS's own: what begins with Nats- is set by the relay.")
    return found


def _is_subject(subject: str) -> bool:
    return bool(subject) and subject.isprintable() and " " not in subject and not any(
        word in ("", "*", ">") for word in subject.split(".")
    )  # fmt: skip


def _covers(pattern: str, subject: str) -> bool:
    """Whether a stream's subject, perhaps with wildcards, has this one (NATS documentation, "Subject-Based Messaging")."""
    wanted, have = pattern.split("."), subject.split(".")
    for index, word in enumerate(wanted):
        if word == ">":
            return len(have) > index
        if index >= len(have) or word not in ("*", have[index]):
            return False
    return len(wanted) == len(have)
