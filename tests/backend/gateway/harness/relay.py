"""A stand-in of the network between a component and its database: a relay whose connections a test breaks in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.jetstream.harness.servers import free_ports


class Relay:
    """Passes on what comes to `port`."""

    def __init__(self, to: int) -> None:
        self.port = free_ports(1)[0]
        self._to = to
        self._pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}  # to the database → back from it
        self._cut: set[asyncio.StreamWriter] = set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if writer in self._cut:
                    self._break(writer)
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):  # broken, or the test is over
            database, to_database = await asyncio.open_connection("127.0.0.1", self._to)
            self._pairs[to_database] = writer
            try:
                await asyncio.gather(self._pass(reader, to_database), self._pass(database, writer))
            finally:
                self._break(to_database)
        writer.close()

    def _break(self, to_database: asyncio.StreamWriter) -> None:
        back = self._pairs.pop(to_database, to_database)
        self._cut.discard(to_database)
        for each in (to_database, back):
            each.transport.abort()

    def break_all(self) -> None:
        """Break off all connections, as the end of a node does: no word of farewell from the server."""
        for each in list(self._pairs):
            self._break(each)

    def cut(self) -> None:
        """Break off each connection of now as soon as the component says a word on it, which the database does not hear."""
        self._cut |= set(self._pairs)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            server.close()
            self.break_all()
