"""Keys as an instance has them: a key set, and tokens that its private keys sign."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt

from baas_operator.engine.key_material import algorithm, draw, public_jwk

ISSUER = "baas-operator"


class Key:
    """One signing key."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = draw()

    @property
    def public(self) -> dict[str, Any]:
        return public_jwk(self.private) | {"kid": self.kid, "alg": algorithm(self.private), "use": "sig"}

    def token(self, role: str, *, seconds: float = 600, **claims: Any) -> str:
        now = time.time()
        claims = {"iss": ISSUER, "role": role, "iat": int(now), "exp": int(now + seconds), **claims}
        return jwt.encode(claims, self.private, algorithm=algorithm(self.private), headers={"kid": self.kid})


def key_set(*keys: Key) -> str:
    """The public keys, as JSON."""
    return json.dumps({"keys": [each.public for each in keys]})
