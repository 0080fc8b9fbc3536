"""Keys as an instance has them: a key set, and tokens that its private keys sign."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "baas-operator"


class Key:
    """One signing key."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> dict[str, Any]:
        made = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        return {**made, "kid": self.kid, "alg": "ES256", "use": "sig"}

    def token(self, role: str, *, seconds: float = 600, **claims: Any) -> str:
        now = time.time()
        claims = {"iss": ISSUER, "role": role, "iat": int(now), "exp": int(now + seconds), **claims}
        return jwt.encode(claims, self.private, algorithm="ES256", headers={"kid": self.kid})


def key_set(*keys: Key) -> str:
    """The public keys, as JSON."""
    return json.dumps({"keys": [each.public for each in keys]})
