"""A NATS client of just what the transaction needs: one connection, one message, and the word of a stream that it has it (NATS
documentation, "Client Protocol", "JetStream wire API Reference").

nats-py would cost a prober 12 MiB more (measured). Deadlines are the caller's (asyncio.timeout), and nothing is tried again here.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from baas_operator.prober.failure import Failure, quoted

_MOST_LINE = 32 * 1024
"""The servers' INFO is longest, which has the addresses of all of them."""
_MOST_BODY = 64 * 1024


@dataclass(frozen=True)
class Queue:
    """Where messages are published. `host` is also whose certificate a server has to show; `inbox`: where this user may hear answers."""

    host: str
    port: int
    subject: str
    inbox: str


@dataclass(frozen=True)
class Login:
    """Who publishes, and whom it believes: `ca` is the certificate of the queue's authority."""

    username: str
    password: str
    ca: str


@asynccontextmanager
async def connected(queue: Queue, login: Login) -> AsyncIterator[Connection]:
    """A connection over TLS, whose login was taken.

    Raises:
        Failure: there is none.
    """
    doing = f"connection to {queue.host}"
    try:
        trusted = ssl.create_default_context(cadata=login.ca)
        reader, writer = await asyncio.open_connection(queue.host, queue.port, limit=_MOST_LINE)
        try:
            made = Connection(reader, writer)
            await made.begin(queue, login, trusted)
            doing = f"publish to {queue.subject}"
            yield made
        finally:
            writer.transport.abort()
    except ssl.SSLError as error:
        raise Failure("tls", f"{doing}: {quoted(error.reason or str(error))}") from error
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise Failure("broken", f"{doing}: the connection ended, or what came was not NATS") from error
    except OSError as error:
        raise Failure("unreachable", f"{doing}: {error.strerror or type(error).__name__}") from error


class Connection:
    """One to a server. `address`: this side's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.address = str(writer.get_extra_info("sockname")[0])
        self._inbox = ""

    async def begin(self, queue: Queue, login: Login, trusted: ssl.SSLContext) -> None:
        """Log in. The server speaks first, in clear; without TLS it is told nothing.

        Raises:
            Failure: it does not take the login. ValueError, OSError: it is none, or went.
        """
        kind, _, rest = (await self._line()).partition(b" ")
        if kind != b"INFO" or not json.loads(rest).get("tls_required"):
            raise ValueError("no NATS server that asks for TLS")
        await self._writer.start_tls(trusted, server_hostname=queue.host)
        self._inbox = f"{queue.inbox}.{secrets.token_hex(8)}"
        told = {
            "verbose": False, "pedantic": False, "tls_required": True, "lang": "python", "version": "1", "protocol": 1,
            "name": "baas-operator-prober", "user": login.username, "pass": login.password, "headers": True, "no_responders": True,
        }  # fmt: skip
        self._writer.write(f"CONNECT {json.dumps(told)}\r\nPING\r\n".encode())
        await self._until("PONG", f"connection to {queue.host}")

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publish a message, and wait until a stream says that it has it.

        Raises:
            Failure: none does. ValueError, OSError: what came is no answer, or the connection ended.
        """
        self._writer.write(f"SUB {self._inbox} 1\r\nPUB {subject} {self._inbox} {len(payload)}\r\n".encode() + payload + b"\r\n")
        head, body = await self._until("MSG", f"publish to {subject}")
        if head.startswith(b"NATS/1.0 503"):
            raise Failure("no-stream", f"publish to {subject}: no stream takes it")
        said: Any = json.loads(body)
        if error := said.get("error"):
            raise Failure(str(error.get("err_code")), f"publish to {subject}: {quoted(str(error.get('description')))}")
        if not said.get("stream"):
            raise ValueError("no acknowledgement")

    async def _until(self, wanted: str, doing: str) -> tuple[bytes, bytes]:
        """Read until there is a PONG, or a message (MSG): its headers and its body."""
        while True:
            words = (await self._line()).split()
            match words[0].decode() if words else "":
                case "PING":
                    self._writer.write(b"PONG\r\n")
                case "-ERR":
                    said = b" ".join(words[1:]).decode(errors="replace").strip("'")
                    raise Failure("refused", f"{doing}: {quoted(said)}")
                case "MSG" | "HMSG" as kind:
                    size, head = int(words[-1]), int(words[-2]) if kind == "HMSG" else 0
                    if not 0 <= head <= size <= _MOST_BODY:
                        raise ValueError("an answer far too long")
                    body = await self._reader.readexactly(size + 2)
                    if wanted == "MSG":
                        return body[:head], body[head:-2]
                case "PONG" if wanted == "PONG":
                    return b"", b""

    async def _line(self) -> bytes:
        return (await self._reader.readuntil(b"\r\n"))[:-2]
