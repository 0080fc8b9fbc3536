"""Signing keys and API keys, as the operator writes them into its Secrets."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

import jwt

from baas_operator.desired.instance.gateway_pod import ISSUER
from baas_operator.engine.key_material import PrivateKey, algorithm, draw, private_jwk, public_jwk
from tests.backend.harness.confused import confused


class KeySet:
    """A key that signs, and those before and after it."""

    def __init__(self) -> None:
        self._keys = {self._kid(): self._key()}
        self.signer = next(iter(self._keys))

    @staticmethod
    def _kid() -> str:
        return uuid4().hex[:12]

    @staticmethod
    def _key() -> PrivateKey:
        return draw()

    def add(self) -> str:
        """Another key, which does not sign yet."""
        kid = self._kid()
        self._keys[kid] = self._key()
        return kid

    def remove(self, kid: str) -> None:
        """Forget a key."""
        del self._keys[kid]

    @property
    def kids(self) -> tuple[str, ...]:
        return tuple(self._keys)

    @property
    def public(self) -> str:
        """`jwks.json`."""
        return json.dumps({"keys": [self._public(kid) for kid in self._keys]})

    @property
    def gotrue(self) -> str:
        """`gotrue-keys.json`: an array; one signs, and of the others there is the public part alone."""
        return json.dumps([
            private_jwk(self._keys[kid]) | {"kid": kid, "alg": algorithm(self._keys[kid]), "use": "sig", "key_ops": ["sign", "verify"]}
            if kid == self.signer else self._public(kid) | {"key_ops": ["verify"]}
            for kid in self._keys
        ])  # fmt: skip

    def token(self, role: str, *, kid: str | None = None, seconds: float = 3600, **claims: Any) -> str:
        """A token, as an API key is one."""
        kid = kid or self.signer
        now = int(time.time())
        said = {"iss": ISSUER, "role": role, "iat": now, "exp": int(now + seconds), **claims}
        return jwt.encode(said, self._keys[kid], algorithm=algorithm(self._keys[kid]), headers={"kid": kid})

    def confused(self, role: str) -> dict[str, str]:
        """Tokens whose HMAC is by what is public."""
        return confused(self._keys[self.signer], self.signer, role, self.public)

    def _public(self, kid: str) -> dict[str, Any]:
        return public_jwk(self._keys[kid]) | {"kid": kid, "alg": algorithm(self._keys[kid]), "use": "sig"}
