"""The keys that a backend signs tokens with, as a set with states: what is decided about them. Private parts are never in here.

A rotation moves a key through the states `next`, `current`, `previous`. Who verifies takes tokens of every key in the set; who signs uses
the current one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

NEW = "new"
"""In the place of a key id: a key that is to be drawn."""
ADOPTED = "private.pem"
"""In the place of a key id: the key in `private.pem` of a Secret that has no set yet, as one that was made before there were sets."""
MAX_PREVIOUS = 4
"""Keys before the current one that count at a time. Each makes the set that everybody loads longer."""
MAX_GONE = 30
"""Keys that left the set and are remembered."""
SIGNER_ANNOTATION = "baas-operator.io/signing-key"
"""On the pod template of who signs tokens, and on the Secrets: the id of the key that signs."""
WRITTEN_ANNOTATION = "baas-operator.io/keys-checksum"
"""On the Secrets of keys: a hash of what was written, so that what a hand changed is seen, and put right."""


class KeyState(StrEnum):
    """What a key is for."""

    CURRENT = "current"
    NEXT = "next"
    PREVIOUS = "previous"


@dataclass(frozen=True)
class SigningKey:
    """One key. `since`: when it came into its state (RFC 3339). `proven`: of the next key, when all who verify were seen to know it; of a
    previous one, when all who sign were seen to use another. None until then."""

    kid: str
    state: KeyState
    since: str
    proven: str | None = None


@dataclass(frozen=True)
class GoneKey:
    """A key that left the set, which is all that is left of it: retired in its time, or revoked."""

    kid: str
    at: str
    revoked: bool


@dataclass(frozen=True)
class KeySet:
    """All keys that count: the current one first, then the next, then those before, the youngest first."""

    keys: tuple[SigningKey, ...]
    gone: tuple[GoneKey, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError: it is no set that a backend could have."""
        states = [each.state for each in self.keys]
        if states.count(KeyState.CURRENT) != 1 or states.count(KeyState.NEXT) > 1:
            raise ValueError("a set has one current key, and one next key at the most")
        if len({each.kid for each in self.keys}) != len(self.keys):
            raise ValueError("a key is in the set twice")
        order = list(KeyState)
        object.__setattr__(self, "keys", tuple(sorted(self.keys, key=lambda each: order.index(each.state))))

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self.keys[0]

    @property
    def next(self) -> SigningKey | None:
        """The key that will sign, while who verifies learns it."""
        return next((each for each in self.keys if each.state is KeyState.NEXT), None)

    @property
    def previous(self) -> tuple[SigningKey, ...]:
        """The keys that signed before and still count, the youngest first."""
        return tuple(each for each in self.keys if each.state is KeyState.PREVIOUS)

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of all that count."""
        return tuple(each.kid for each in self.keys)


@dataclass(frozen=True)
class KeySetWanted:
    """What a Secret of signing keys is to be. `answers`: that is what was asked for by `EXPIRES_ANNOTATION`, which goes with the same
    write."""

    keys: KeySet
    answers: bool = False


def key_ids(jwks: str | None) -> tuple[str, ...]:
    """Ids of the keys of a set, in its order; none where it is no set."""
    try:
        return tuple(str(each["kid"]) for each in json.loads(jwks or "{}").get("keys", []))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ()
