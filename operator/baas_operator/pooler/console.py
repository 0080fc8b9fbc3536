"""PgBouncer's admin console, spoken to over its Unix socket.

A library would be more: the console knows PostgreSQL's simple query protocol alone (PostgreSQL manual, 54.2.2; PgBouncer
documentation, "Admin console"), which asyncpg does not speak where rows come back and psycopg brings libpq for. There is no password:
the user `pgbouncer` may log in over the socket from a process with PgBouncer's own Unix user, and the pod's containers share one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

Row = dict[str, str]
"""A row as text, by column; NULL is an empty text."""

_PROTOCOL = 196608
"""Version 3.0."""
_MOST_BYTES = 16 * 1024 * 1024
"""The longest message that is believed; a row of the console has some hundred bytes."""


class ConsoleError(Exception):
    """PgBouncer does not answer, or refuses."""


class Console:
    """One connection a command: PgBouncer may have been started anew between two, and a PAUSE holds its connection for as long as it
    waits."""

    def __init__(self, socket: Path, *, seconds: float = 2.0) -> None:
        self._socket = socket
        self._seconds = seconds

    async def run(self, command: str, *, seconds: float | None = None) -> list[Row]:
        """Run a command; the rows that it answers with.

        Raises:
            ConsoleError: PgBouncer refused it (the message is its own), did not answer within `seconds`, or is not there.
        """
        try:
            async with asyncio.timeout(seconds or self._seconds), self._connected() as (reader, writer):
                writer.write(_message(b"Q", command.encode() + b"\0"))
                return await _rows(reader)
        except TimeoutError as error:
            raise ConsoleError(f"{command}: no answer") from error
        except (OSError, EOFError, struct.error, ValueError) as error:
            raise ConsoleError(f"{command}: {error!r}") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            hello = struct.pack("!i", _PROTOCOL) + b"user\0pgbouncer\0database\0pgbouncer\0\0"
            writer.write(_message(b"", hello))
            async for kind, body in _messages(reader):
                if kind == b"R" and body != b"\0\0\0\0":
                    raise ConsoleError("the console asks for a password: the containers' Unix users differ")
            yield reader, writer
        finally:
            writer.close()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """Messages up to the one that says that the next command may come; an error is raised when all is read."""
    error = None
    while True:
        kind = await reader.readexactly(1)
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        if not 4 <= length <= _MOST_BYTES:
            raise ConsoleError("what answers is no PgBouncer")
        body = await reader.readexactly(length - 4)
        if kind == b"E":
            fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
            error = ConsoleError(fields.get(b"M", "refused"))
            if fields.get(b"S") == "FATAL":
                raise error
        elif kind == b"Z":
            if error:
                raise error
            return
        else:
            yield kind, body


async def _rows(reader: asyncio.StreamReader) -> list[Row]:
    columns: list[str] = []
    made: list[Row] = []
    async for kind, body in _messages(reader):
        if kind == b"T":
            columns = _columns(body)
        elif kind == b"D":
            made.append(dict(zip(columns, _values(body), strict=True)))
    return made


def _columns(body: bytes) -> list[str]:
    (count,) = struct.unpack_from("!h", body)
    names, at = [], 2
    for _ in range(count):
        end = body.index(b"\0", at)
        names.append(body[at:end].decode())
        at = end + 1 + 18  # what else is said of a column: 18 bytes
    return names


def _values(body: bytes) -> list[str]:
    (count,) = struct.unpack_from("!h", body)
    values, at = [], 2
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(body[at : at + max(length, 0)].decode(errors="replace"))
        at += max(length, 0)
    return values
