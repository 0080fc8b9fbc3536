"""A stand-in for PgBouncer's console, and for a primary: what the agent sees of either, as it was seen on the real ones
(docs/decisions/pooler.md). The real PgBouncer is what tests/e2e/test_pooler.py has."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from pathlib import Path

from baas_operator.desired.database import names


class Bouncer:
    """PgBouncer: it reads `databases.ini` on RELOAD, and is paused as a whole. `stuck` are clients whose query an old server holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paused = False
        self.busy = False
        """A transaction runs: PAUSE gets no answer, and the server stays."""
        self.loaded = "127.0.0.1"
        self.servers: list[tuple[str, str, str]] = []
        """(address, client's pointer or nothing, database)"""
        self.clients: dict[str, str] = {}
        """Pointer -> id."""
        self.killed: list[str] = []
        self.said: list[str] = []
        """Commands but for SHOW."""
        self.refuses: str | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> Bouncer:
        """Serve; loads what is there."""
        self._reload()
        self._server = await asyncio.start_unix_server(self._serve, self.folder / f".s.PGSQL.{names.POSTGRES_PORT}")
        return self

    async def stop(self) -> None:
        """Serve no more."""
        assert self._server
        self._server.close()
        (self.folder / f".s.PGSQL.{names.POSTGRES_PORT}").unlink(missing_ok=True)

    def _reload(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (found,) = re.findall(rf"^{names.AUTH_DATABASE} = host=(\S+)", (self.folder / "databases.ini").read_text(), re.M)
            self.loaded = found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            hello = await reader.readexactly(size - 4)
            assert b"user\0pgbouncer\0database\0pgbouncer\0" in hello
            writer.write(_message(b"R", b"\0\0\0\0") + _message(b"S", b"server_version\x001.24.1/bouncer\0") + _message(b"Z", b"I"))
            while True:
                kind, size = struct.unpack("!ci", await reader.readexactly(5))
                command = (await reader.readexactly(size - 4)).rstrip(b"\0").decode()
                assert kind == b"Q"
                writer.write(await self._answer(command) + _message(b"Z", b"I"))
        writer.close()

    async def _answer(self, command: str) -> bytes:
        if not command.startswith("SHOW "):
            self.said.append(command)
        if self.refuses:
            return _error(self.refuses)
        match command.split():
            case ["SHOW", "STATE"]:
                return _table(["key", "value"], [["active", "no" if self.paused else "yes"], ["paused", "yes" if self.paused else "no"]])
            case ["SHOW", "DATABASES"]:
                return _table(["name", "host", "paused"], [["pgbouncer", None, "0"], [names.AUTH_DATABASE, self.loaded, "0"]])
            case ["SHOW", "SERVERS"]:
                return _table(["addr", "link", "database"], [list(each) for each in self.servers])
            case ["SHOW", "CLIENTS"]:
                return _table(["ptr", "id"], [list(each) for each in self.clients.items()])
            case ["PAUSE"]:
                if self.paused:
                    return _error("already suspended/paused")
                self.paused = True
                while self.busy:  # noqa: ASYNC110 - a test sets it
                    await asyncio.sleep(0.01)
                self.servers = [each for each in self.servers if each[1]]
            case ["RESUME"]:
                if not self.paused:
                    return _error("pooler is not paused/suspended")
                self.paused = False
            case ["RELOAD"]:
                self._reload()
            case ["KILL_CLIENT", number]:
                self.killed.append(number)
                pointer = next(key for key, value in self.clients.items() if value == number)
                self.servers = [each for each in self.servers if each[1] != pointer]
            case ["KILL", _] if self.paused:
                return _error("already suspended/paused")
            case ["KILL", _]:
                self.servers = [each for each in self.servers if each[2] != names.AUTH_DATABASE]
            case ["RESUME", _]:
                pass
            case _:
                return _error(f"invalid command '{command}'")
        return _message(b"C", b"DONE\0")


class Primary:
    """A member's PostgreSQL port, on an address of loopback. `answer` is what a login hears first."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.answer = b"R"
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> Primary:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        return self

    async def stop(self) -> None:
        """As when PostgreSQL is killed: connections end, and new ones are refused."""
        if self._server:
            self._server.close()
            self._server = None
        for each in self._open:
            each.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was accepted in the moment of the end
            writer.close()
            return
        self._open.add(writer)
        with contextlib.suppress(EOFError, OSError):
            await reader.readexactly(8)
            writer.write(_message(b"R", b"\0\0\0\x0a") if self.answer == b"R" else _error("the database system is starting up", "57P03"))
        self._open.discard(writer)
        writer.close()


def free_port() -> int:
    """A port that is free on all of loopback."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _error(text: str, state: str = "08P01") -> bytes:
    return _message(b"E", b"SERROR\0C" + state.encode() + b"\0M" + text.encode() + b"\0\0")


def _table(columns: list[str], rows: list[list[str | None]]) -> bytes:
    head = struct.pack("!h", len(columns)) + b"".join(each.encode() + b"\0" + bytes(18) for each in columns)
    made = _message(b"T", head)
    for row in rows:
        body = struct.pack("!h", len(row))
        for value in row:
            body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value.encode())) + value.encode()
        made += _message(b"D", body)
    return made + _message(b"C", b"SHOW\0")
