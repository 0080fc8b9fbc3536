"""A port that leads somewhere, as a Service does: elsewhere from one moment to the next, to nowhere, or there but not back."""

from __future__ import annotations

import asyncio
from contextlib import suppress

_CHUNK = 65536


class Door:
    """Forwards TCP on loopback to the port `to`. While `deaf`, answers are thrown away: what is sent arrives, and nobody hears of it. What
    is sent and has `hold` in it waits, with all that comes after it, for `release`, also when who sent it is long gone."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.deaf = False
        self.hold: bytes | None = None
        self.holding = False
        self.release = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset all connections that are open; new ones are let in."""
        for each in list(self._open):
            each.transport.abort()

    def lead(self, to: int) -> None:
        """Lead to another port; connections that are open are reset."""
        self.to = to
        self.cut()

    async def stop(self) -> None:
        """End it."""
        assert self._server
        self._server.close()
        self.cut()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back, answers=False), self._pump(there, writer, answers=True))
        finally:
            self._open -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not answers and self.hold and self.hold in data:
                    self.holding = True
                    await self.release.wait()
                if not (answers and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.close()
