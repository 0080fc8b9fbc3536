"""The private keys that tokens are signed with, and what follows from one: its JWK, its id, its algorithm.

New ones are RSA (RS256): what is asked with every request is a signature's verification, and PostgREST 12 takes 2 ms of a processor for one
of ECDSA, ten times what it takes for RSA (docs/architecture.md). Those on P-256 that are there already, or are brought, go on (ES256).
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.utils import from_base64url_uint

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KINDS = "an RSA key of 2048 to 4096 bits (exponent 65537 or 3) or an ECDSA key on P-256"
_DRAWN_BITS, _MOST_BITS = 2048, 4096
_EXPONENT, _EXPONENTS = 65537, (65537, 3)
"""Of an RSA key, public. Envoy takes no others, nor then any key of the set (google/jwt_verify_lib, src/jwks.cc)."""
_MOST_DIGITS = 4 * -(-_MOST_BITS // 24)
"""Of a number of so many bits in base64, and without its padding."""


def draw() -> PrivateKey:
    """A new key."""
    return rsa.generate_private_key(_EXPONENT, _DRAWN_BITS)


def from_pem(text: str) -> PrivateKey:
    """A key without a passphrase. Raises ValueError or TypeError for anything that is not one of `KINDS`."""
    try:
        # At first to see how large it is: whether its numbers are primes is looked at for minutes where they are long enough.
        _checked(serialization.load_pem_private_key(text.encode(), password=None, unsafe_skip_rsa_key_validation=True))
        return _checked(serialization.load_pem_private_key(text.encode(), password=None))
    except UnsupportedAlgorithm as error:
        raise ValueError(f"not {KINDS}") from error


def from_jwk(jwk: dict[str, Any]) -> PrivateKey:
    """A key from what `private_jwk` made. Raises ValueError, TypeError, KeyError or jwt.PyJWTError for anything else.

    Of RSA, that all numbers belong together is looked at; that two of them are primes is not, which takes longer than all else: it was when
    the key was drawn, or brought.
    """
    if jwk["kty"] != "RSA":
        return _checked(ECAlgorithm.from_jwk(jwk))
    n, e, d, p, q, dp, dq, qi = (_number(jwk[name]) for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"))
    if min(p, q) < 3 or p * q != n or not n % 2 or e * d % (p - 1) != 1 or e * d % (q - 1) != 1:
        raise ValueError(f"not {KINDS}")
    if (dp, dq, qi) != (d % (p - 1), d % (q - 1), pow(q, -1, p)):
        raise ValueError(f"not {KINDS}")
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n))
    return _checked(numbers.private_key(unsafe_skip_rsa_key_validation=True))


def to_pem(key: PrivateKey) -> str:
    """It as PKCS #8."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def algorithm(key: PrivateKey) -> str:
    """What it signs with (RFC 7518, 3.1). It is the key's, and never what a token says."""
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def private_jwk(key: PrivateKey) -> dict[str, Any]:
    """All of it (RFC 7517), without what it is for."""
    return _jwk(key)


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    """Its public part."""
    return _jwk(key.public_key())


def key_id(key: PrivateKey) -> str:
    """A key id that follows from the key itself (RFC 7638)."""
    public = public_jwk(key)
    needed = ("e", "kty", "n") if public["kty"] == "RSA" else ("crv", "kty", "x", "y")
    text = json.dumps({name: public[name] for name in needed}, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _jwk(key: PrivateKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> dict[str, Any]:
    made: dict[str, Any]
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        made = RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        made = ECAlgorithm.to_jwk(key, as_dict=True)
    return {name: value for name, value in made.items() if name != "key_ops"}  # who writes it down says what it is for


def _number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"not {KINDS}")
    return int(from_base64url_uint(text))


def _checked(key: object) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey) and _DRAWN_BITS <= key.key_size <= _MOST_BITS:
        numbers = key.private_numbers()
        others = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        if numbers.public_numbers.e in _EXPONENTS and all(each.bit_length() <= _MOST_BITS for each in others):
            return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError(f"not {KINDS}")
