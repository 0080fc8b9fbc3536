"""Tokens that pass where a verifier goes by the algorithm that a token names: their signature is an HMAC whose secret is what everybody
has, the public key (CVE-2015-9235 and its like; RFC 8725, 2.1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from baas_operator.desired.instance.gateway_pod import ISSUER
from baas_operator.engine.key_material import PrivateKey, public_jwk


def confused(key: PrivateKey, kid: str, role: str, jwks: str) -> dict[str, str]:
    """What was taken for the secret → the token. `jwks`: the set as those who verify have it; PostgREST takes what it can not read as a set
    for a secret as it is."""
    public, jwk = key.public_key(), public_jwk(key)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secrets = {
        "PEM": pem, "PEM without its last newline": pem.rstrip(),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "the modulus": str(jwk["n"]).encode(),
        "the JWK": json.dumps(jwk).encode(), "the set": jwks.encode(), "nothing": b"",
    }  # fmt: skip
    now = int(time.time())
    head = _part({"alg": "HS256", "typ": "JWT", "kid": kid})
    body = _part({"iss": ISSUER, "role": role, "iat": now, "exp": now + 600})
    return {
        what: f"{head}.{body}.{_text(hmac.digest(secret, f'{head}.{body}'.encode(), hashlib.sha256))}" for what, secret in secrets.items()
    }


def _part(value: dict[str, object]) -> str:
    return _text(json.dumps(value).encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
