"""Keys that users bring, and sets that somebody edited: what is of use is taken, and nothing else is, at no great cost."""

from __future__ import annotations

import base64
import itertools
import math
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from baas_operator.engine import key_material
from baas_operator.engine.key_material import PrivateKey, algorithm, from_jwk, from_pem, key_id, private_jwk, to_pem

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
P256_OID = bytes.fromhex("06082a8648ce3d030107")
PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
"""As `openssl ecparam -genkey` writes them."""


def written(key: Any, form: PrivateFormat, encryption: serialization.KeySerializationEncryption | None = None) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())
    return text.decode()


def with_exponent(least: int) -> rsa.RSAPrivateKey:
    """The same primes with another public exponent: the first from there on that they can have."""
    numbers = RSA.private_numbers()
    fitting = (each for each in itertools.count(least) if math.gcd(each, (numbers.p - 1) * (numbers.q - 1)) == 1)
    return made_of(numbers.p, numbers.q, next(fitting))


def made_of(p: int, q: int, e: int = 65537) -> rsa.RSAPrivateKey:
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def on_an_unknown_curve() -> str:
    der = EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).replace(P256_OID, P256_OID[:-1] + b"\x7f")
    return f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END PRIVATE KEY-----\n"


GOOD: dict[str, tuple[PrivateKey, str]] = {
    "PKCS #8": (RSA, written(RSA, PrivateFormat.PKCS8)), "PKCS #1": (RSA, written(RSA, PrivateFormat.TraditionalOpenSSL)),
    "EC": (EC, written(EC, PrivateFormat.PKCS8)), "SEC 1": (EC, written(EC, PrivateFormat.TraditionalOpenSSL)),
    "SEC 1, with its parameters before it": (EC, PARAMETERS + written(EC, PrivateFormat.TraditionalOpenSSL)),
    "with words before it": (RSA, "Bag Attributes\n    friendlyName: mine\n" + written(RSA, PrivateFormat.PKCS8)),
    "two": (EC, written(EC, PrivateFormat.PKCS8) + written(RSA, PrivateFormat.PKCS8)),
}  # fmt: skip


@pytest.mark.parametrize(("key", "text"), GOOD.values(), ids=GOOD)
def test_a_key_is_taken_as_any_tool_writes_it(key: PrivateKey, text: str) -> None:
    found = from_pem(text)

    assert key_id(found) == key_id(key)
    assert to_pem(found) == written(key, PrivateFormat.PKCS8)
    assert private_jwk(from_jwk(private_jwk(found))) == private_jwk(key)


BAD = {
    "nothing": "", "with a passphrase": written(RSA, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
    "its public part": RSA.public_key().public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
    "small": written(rsa.generate_private_key(65537, 1024), PrivateFormat.PKCS8),  # noqa: S505 - it is refused
    "of another kind": written(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8),
    "on an unknown curve": on_an_unknown_curve(),
    "with an exponent that Envoy does not take": written(with_exponent(257), PrivateFormat.PKCS8),
    "with one that GoTrue does not take": written(with_exponent(2**64 + 13), PrivateFormat.PKCS8),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_somebody_who_verifies_does_not_take_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_pem(text)


def test_a_larger_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_material, "_MOST_BITS", 2048)
    with pytest.raises(ValueError, match="not an RSA key of 2048 to 4096 bits"):
        from_pem(to_pem(rsa.generate_private_key(65537, 2056)))


def test_a_key_without_end_costs_nothing() -> None:
    """Anybody who may write a Secret beside their backend can bring one, and the operator is everybody's. These are primes, so that nothing
    but looking at them for minutes tells."""
    key = made_of(2**9689 - 1, 2**9941 - 1)
    text, jwk = written(key, PrivateFormat.PKCS8), jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    began = time.process_time()

    for read in (lambda: from_pem(text), lambda: from_jwk(jwk)):
        with pytest.raises(ValueError, match="not an RSA key"):
            read()

    assert time.process_time() - began < 1


def test_a_set_of_many_keys_costs_little() -> None:
    """A set is read at each step of a rotation; OpenSSL would look for a tenth of a second whether the numbers of each are primes."""
    jwk = private_jwk(RSA)
    began = time.process_time()

    for _ in range(100):
        from_jwk(jwk)

    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", ["n", "e", "d", "p", "q", "dp", "dq", "qi"])
@pytest.mark.parametrize("value", ["", "AQ", "Ag", "AQAC", "nonsense", None, 7, [], "_" * 342, "A" * 100_000])
def test_numbers_that_do_not_belong_together_are_refused(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError, jwt.PyJWTError)):
        from_jwk(private_jwk(RSA) | {name: value})


@pytest.mark.parametrize("jwk", [{}, {"kty": "oct", "k": "x"}, {"kty": None}, {"kty": "RSA"}, {"kty": "EC"}, [], "RSA", None, 7])
def test_what_is_no_key_is_refused(jwk: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, jwt.PyJWTError)):
        from_jwk(jwk)


@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_a_key_has_no_algorithm_but_its_own(key: PrivateKey) -> None:
    token = jwt.encode({}, from_jwk(private_jwk(key)), algorithm=algorithm(key))

    assert jwt.decode(token, key.public_key(), algorithms=[algorithm(key)]) == {}
