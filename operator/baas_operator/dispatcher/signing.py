"""Signatures of Standard Webhooks 1.0. The library `standardwebhooks` signs text alone, and payloads are bytes; it verifies ours in the
tests."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
"""Standard Webhooks 1.0, "Signature scheme"."""


class SecretError(ValueError):
    """What should be a secret is none. The text says why, without a part of it."""


def keys_of(text: str) -> tuple[bytes, ...]:
    """Keys of one or more secrets with white space between.

    Raises:
        SecretError: there is none, or one is none.
    """
    keys = tuple(_key(each) for each in text.split())
    if not keys:
        raise SecretError(f"the secret is empty: it has to be {PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes in base64")
    return keys


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        raise SecretError(f"the secret does not begin with {PREFIX}")
    encoded = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SecretError(f"what follows {PREFIX} in the secret is no base64") from None
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise SecretError(f"the secret has {len(key)} bytes: it needs {_LEAST_BYTES} to {_MOST_BYTES}")
    return key


def signature(keys: Sequence[bytes], identity: str, timestamp: int, payload: bytes) -> str:
    """Value of `webhook-signature`: one of each key, so that a receiver may know any of them."""
    content = f"{identity}.{timestamp}.".encode() + payload
    return " ".join("v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
