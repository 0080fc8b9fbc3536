"""Whether a member takes writes, asked without a password: by how its port and its Patroni answer."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import suppress

import aiohttp

from baas_operator.desired.database import names
from baas_operator.observe.addresses import authority

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 1.0
_MOST_BYTES = 65536
_RENEW_SECONDS = 20.0
"""A third of PostgreSQL's authentication_timeout, which ends a connection that says nothing, and is nobody's to set (api/database.py)."""
_HELLO = b"user\0" + names.POOLER.encode() + b"\0database\0postgres\0\0"
_NOT_NOW = (b"C57P03", b"C57P01")
"""SQLSTATEs of a server that starts, recovers or shuts down (PostgreSQL manual, appendix A)."""


async def until_gone(host: str) -> bool:
    """Hold a connection to the member that says nothing. True: the member ended or refused it, so PostgreSQL is going or gone (it closes
    all connections within the moment, and PgBouncer would see the same only with the next query). False: look again; silence alone
    proves nothing."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, names.POSTGRES_PORT)
    except TimeoutError:
        return False
    except OSError:
        return True
    try:
        async with asyncio.timeout(_RENEW_SECONDS):
            await reader.read(1)
        return True
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        writer.close()


async def takes_connections(host: str) -> bool:
    """Whether PostgreSQL takes who comes, or refuses them as one who comes in plain: while it starts or shuts down its port accepts, and
    it says that before all else."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, names.POSTGRES_PORT)
            try:
                body = struct.pack("!i", 196608) + _HELLO
                writer.write(struct.pack("!i", len(body) + 4) + body)
                kind, size = struct.unpack("!ci", await reader.readexactly(5))
                said = await reader.readexactly(min(max(size - 4, 0), 4096))
            finally:
                writer.close()
    except (OSError, EOFError, TimeoutError, struct.error):
        return False
    return kind == b"R" or (kind == b"E" and not any(part in _NOT_NOW for part in said.split(b"\0")))


async def says_primary(session: aiohttp.ClientSession, host: str) -> bool | None:
    """What the member's Patroni says; None when it says nothing. Its status alone says who holds the lock; that PostgreSQL takes writes
    is known by the role that it was last seen in (Patroni documentation, "REST API")."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError):
        async with session.get(f"http://{authority(host, names.PATRONI_PORT)}/primary", timeout=timeout, allow_redirects=False) as response:
            said = json.loads(await response.content.read(_MOST_BYTES))
            return response.status == 200 and said.get("role") == "primary"
    return None


async def is_back(session: aiohttp.ClientSession, host: str) -> bool:
    """Whether a member that was gone takes writes again. A primary that comes back as a standby takes connections, too: its Patroni
    tells them apart; where no Patroni answers, connections must do."""
    if not await takes_connections(host):
        return False
    return await says_primary(session, host) is not False
