"""Passwords, as they are kept: scrypt (RFC 7914) with a salt of each one's own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os

_COST = {"n": 2**14, "r": 8, "p": 1}
_PREFIX = "$scrypt$ln=14,r=8,p=1$"
NOBODY = _PREFIX + "AAAAAAAAAAAAAAAAAAAAAA==$" + base64.b64encode(bytes(32)).decode()
"""What a password is held against where there is no such user: the answer takes as long."""


async def hashed(password: str) -> str:
    """A password as it is kept."""
    salt = os.urandom(16)
    digest = await asyncio.to_thread(_scrypt, password, salt)
    return _PREFIX + "$".join(base64.b64encode(part).decode() for part in (salt, digest))


async def matches(password: str, kept: str | None) -> bool:
    """Whether a password is the one that is kept."""
    salt, digest = (base64.b64decode(part) for part in (kept or NOBODY).removeprefix(_PREFIX).split("$"))
    return hmac.compare_digest(await asyncio.to_thread(_scrypt, password, salt), digest) and kept is not None


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, maxmem=2**26, dklen=32, **_COST)
