"""JSON Web Tokens: a set of keys that verifies them, and the one of them that signs."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt

_ALGORITHMS = {"EC": "ES256", "RSA": "RS256", "oct": "HS256"}
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")


class BadTokenError(Exception):
    """A token that is none of ours, or not any more."""


class Keys:
    """Keys by their id. `secret` verifies what is signed with HS256 and names no key of ours, where that is allowed."""

    def __init__(self, keys: list[dict[str, Any]], secret: str | None = None) -> None:
        self._keys = {each.get("kid", ""): each for each in keys}
        self._secret = secret

    @property
    def public(self) -> dict[str, Any]:
        """The set as it is published (RFC 7517): no private part, and no symmetric key."""
        shown = [_public(each) | {"key_ops": ["verify"], "use": "sig"} for each in self._keys.values() if each["kty"] != "oct"]
        return {"keys": shown}

    @property
    def signer(self) -> dict[str, Any] | None:
        """The key whose `key_ops` says `sign`."""
        return next((each for each in self._keys.values() if "sign" in each.get("key_ops", [])), None)

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims, by the signer; without one, by the secret."""
        if (key := self.signer) is not None:
            return jwt.encode(claims, jwt.PyJWK(key).key, algorithm=_algorithm(key), headers={"kid": key["kid"]})
        assert self._secret
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token.

        Raises:
            BadTokenError: it is not signed by any of the keys, or has expired.
        """
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(header.get("kid", ""))
            if key is not None:
                return dict(jwt.decode(token, jwt.PyJWK(_public(key)).key, algorithms=[_algorithm(key)], options={"verify_aud": False}))
            if self._secret and header.get("alg") == "HS256":
                return dict(jwt.decode(token, self._secret, algorithms=["HS256"], options={"verify_aud": False}))
        except jwt.PyJWTError as error:
            raise BadTokenError(str(error)) from error
        raise BadTokenError("invalid kid or algorithm")


def parse(text: str | None) -> list[dict[str, Any]]:
    """Keys from a JSON array of them, or from an object that has them under `keys`."""
    found = json.loads(text or "[]")
    return list(found["keys"] if isinstance(found, dict) else found)


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization` header."""
    kind, _, token = (header or "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def _public(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in _PRIVATE} if key["kty"] != "oct" else key


def _algorithm(key: dict[str, Any]) -> str:
    return str(key.get("alg") or _ALGORITHMS[key["kty"]])
