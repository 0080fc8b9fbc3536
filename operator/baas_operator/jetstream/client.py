"""A client that nobody can bring down: no message, and no word of a server.

Servers take any bytes for a subject, and anything for headers that its publisher calls so. nats-py 2.16 takes both for text while it reads
from its connection: one message that is none ends its reading without a word, and all that the process does waits until two pings were not
answered, it connects anew, and is given the same message again. And it closes its connection for good at whatever error a server tells of,
but for two: a user that is not let in any more, as its password was changed, or a line that is too long.
"""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.protocol.parser import PERMISSIONS_ERR, STALE_CONNECTION


class Client(Nats):  # type: ignore[misc]  # nats-py has no types
    """Reads what it can of each message: bytes of a subject that are no text are written as `\\xff`, headers that are none are left out.
    Connects anew, with the password as it is then, after errors that end a connection."""

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None) -> Msg:
        return super()._build_message(sid, _text(subject), _text(reply), data, headers)

    async def _process_headers(self, headers: Any) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (ValueError, IndexError):  # UnicodeDecodeError is a ValueError
            return None
        return found

    async def _process_err(self, err_msg: str) -> None:
        if self.is_connected and STALE_CONNECTION not in err_msg and PERMISSIONS_ERR not in err_msg:
            self._err = NatsError(f"nats: {err_msg}")
            await self._error_cb(self._err)
            await self._process_op_err(self._err)
        else:
            await super()._process_err(err_msg)


def _text(subject: bytes) -> bytes:
    return subject.decode(errors="backslashreplace").encode()


async def connect(server: str, **options: Any) -> Client:
    """As `nats.connect`."""
    made = Client()
    await made.connect(server, **options)
    return made
