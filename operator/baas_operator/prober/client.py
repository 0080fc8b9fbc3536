"""An HTTP/1.1 client of just what transactions need: one request, one answer, one connection.

A connection of its own for each request: it is one more that the gateway's Service has to lead somewhere, and one that was kept would hide
for how long nobody new gets in. Deadlines are the caller's (asyncio.timeout).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baas_operator.prober.failure import Failure, quoted

_MOST_HEAD = 32 * 1024
_MOST_BODY = 64 * 1024
"""What is read of an answer. Nothing that is asked for is longer, and who answers may be anybody."""


@dataclass(frozen=True)
class Gateway:
    """Where requests go. `host`: what the client calls it, in the Host header and, over TLS, as whose certificate it has to show."""

    address: str
    port: int
    host: str
    tls: ssl.SSLContext | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Answer:
    """An answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Client:
    """Asks the gateway. `doing` is what it last asked, for the sentence of a transaction that was not answered in time, and `late` the kind
    of that failure."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.doing = "nothing"
        self.late = "timeout"

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | Mapping[str, Any] = b"") -> Answer:
        """One request. A mapping as body goes as JSON.

        Raises:
            Failure: there was no answer that could be understood.
        """
        self.doing = f"{method} {path.partition('?')[0]}"
        if isinstance(body, Mapping):
            headers = {**headers, "Content-Type": "application/json"}
            body = json.dumps(body).encode()
        try:
            return await self._exchange(self._request(method, path, headers, body), method)
        except ssl.SSLError as error:
            raise self.failure("tls", error.reason or str(error)) from error
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise self.failure("broken", "the connection ended, or what came was no HTTP, before there was a whole answer") from error
        except OSError as error:
            raise self.failure("unreachable", error.strerror or type(error).__name__) from error

    async def expect(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | Mapping[str, Any] = b"", *, status: tuple[int, ...] = (200,)
    ) -> Answer:
        """One request that has to be answered so.

        Raises:
            Failure: it was not.
        """
        answer = await self.ask(method, path, headers, body)
        if answer.status not in status:
            raise self.refused(answer)
        return answer

    def refused(self, answer: Answer) -> Failure:
        """The failure that an answer is."""
        said = answer.json()
        words = next((str(said[key]) for key in ("message", "msg", "error_description", "error") if said.get(key)), "") if isinstance(
            said, dict
        ) else answer.body  # fmt: skip
        text = quoted(words)
        return self.failure(str(answer.status), f"{answer.status}{': ' + text if text else ''}")

    def failure(self, kind: str, why: str) -> Failure:
        """A failure of what is being done."""
        return Failure(kind, f"{self.doing}: {quoted(why)}")

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._gateway.host}", "Connection: close", "User-Agent: baas-operator-prober"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        if any(set(each) & {"\r", "\n"} for each in lines):
            raise ValueError("a header has a line break")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def _exchange(self, request: bytes, method: str) -> Answer:
        to = self._gateway
        reader, writer = await asyncio.open_connection(
            to.address, to.port, ssl=to.tls, server_hostname=to.host.partition(":")[0] if to.tls else None, limit=_MOST_HEAD
        )
        try:
            writer.write(request)
            await writer.drain()
            return await _read(reader, method)
        finally:
            writer.transport.abort()  # nobody waits for the other side to say goodbye


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    status = 100
    while status < 200:  # 100 Continue and 103 Early Hints come before the answer
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = head[0].partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError("no HTTP/1")
        status = int(rest.partition(" ")[0])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers, b"")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Answer(status, headers, await _chunks(reader))
    if (length := headers.get("content-length")) is not None:
        return Answer(status, headers, await reader.readexactly(_bounded(int(length))))
    body = bytearray()
    while part := await reader.read(8192):
        body += part
        _bounded(len(body))
    return Answer(status, headers, bytes(body))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        _bounded(len(body) + size)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return bytes(body)


def _bounded(length: int) -> int:
    if not 0 <= length <= _MOST_BODY:
        raise ValueError("the answer is far too long")
    return length
