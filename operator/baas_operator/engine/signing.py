"""Signing keys and what is signed with them: ECDSA on P-256 (ES256), which all who verify tokens of a backend speak.

`keys.json` of a Secret is the set, private parts and all. Everything else follows from it: the current key as PEM and the set as GoTrue
takes it, which are written with it, and in another Secret the API keys and the public set.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from baas_operator.desired.instance.keys import API_KEYS, PUBLIC_KEYS, SIGNING_KEYS
from baas_operator.desired.key_set import (
    ADOPTED,
    NEW,
    SIGNER_ANNOTATION,
    WRITTEN_ANNOTATION,
    KeySet,
    KeySetWanted,
    KeyState,
    SigningKey,
)
from baas_operator.desired.meta import Manifest, checksum
from baas_operator.desired.secrets import EXPIRES_ANNOTATION
from baas_operator.engine.errors import Refused
from baas_operator.observe.keys import read_key_set
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import secret_text

API_KEY_YEARS = 10
_ALGORITHM = "ES256"

PrivateKey = ec.EllipticCurvePrivateKey


def signing_secret(wanted: KeySetWanted | None, live: Manifest | None, now: int) -> tuple[dict[str, str], dict[str, str | None]]:
    """Content and annotations of the Secret of signing keys. Keys that are `NEW` are drawn, others are taken from the `live` one; without
    a wish it is a first key. `now` is a Unix time in seconds.

    Raises:
        Refused: `live` lacks a key, or has something else in its place.
    """
    first = KeySet((SigningKey(NEW, KeyState.CURRENT, to_text(datetime.fromtimestamp(now, UTC))),))
    wanted = wanted or KeySetWanted(first)
    held = _held(live) if live else {}
    drawn: list[tuple[SigningKey, str, PrivateKey]] = []
    for each in wanted.keys.keys:
        key = ec.generate_private_key(ec.SECP256R1()) if each.kid == NEW else held.get(each.kid)
        if key is None:
            raise _unusable(live, f"it has no key {each.kid}")
        drawn.append((each, _kid(key), key))
    _, kid, signer = drawn[0]
    pem = signer.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    data = {
        "keys.json": _compact({
            "keys": [
                {"kid": kid, "state": each.state.value, "since": each.since, "jwk": _private(key)}
                | ({"proven": each.proven} if each.proven else {})
                for each, kid, key in drawn
            ],
            "gone": [{"kid": each.kid, "at": each.at, "revoked": each.revoked} for each in wanted.keys.gone],
        }),
        "private.pem": pem.decode(),
        # GoTrue takes an array of JWKs, of which just one may sign (supabase/auth, internal/conf/jwk.go): of the others it needs, and is
        # given, no private part.
        "gotrue-keys.json": _compact([
            (_private(key) | {"key_ops": ["sign", "verify"]} if key is signer else _public(key) | {"key_ops": ["verify"]})
            | {"kid": kid, "alg": _ALGORITHM, "use": "sig"}
            for _, kid, key in drawn
        ]),
    }  # fmt: skip
    annotations: dict[str, str | None] = {SIGNER_ANNOTATION: kid, WRITTEN_ANNOTATION: written(data, SIGNING_KEYS)}
    return data, annotations | ({EXPIRES_ANNOTATION: None} if wanted.answers else {})


def public_secret(
    signing: Manifest, live: Manifest | None, *, issuer: str, ref: str, now: int
) -> tuple[dict[str, str], dict[str, str | None]]:
    """Content and annotations of the Secret with API keys and the public set. API keys of the `live` one stay as they are while the key
    that signed them is the current one: clients have copies.

    Raises:
        Refused: `signing` has no keys.
    """
    held = _held(signing)
    try:
        found = read_key_set(signing)
    except ValueError as error:
        raise _unusable(signing, f"keys.json: {error}") from error
    kids = found.kids if found else (ADOPTED,)
    if lacking := [each for each in kids if each not in held]:
        raise _unusable(signing, f"it has no key {lacking[0]}")
    signer = held[kids[0]]
    kid = _kid(signer)

    def issued(name: str, role: str) -> str:
        have = secret_text(live, name)
        if have is not None and _good(have, signer, kid, {"role": role, "iss": issuer, "ref": ref}):
            return have
        claims = {"role": role, "iss": issuer, "iat": now, "exp": now + API_KEY_YEARS * 365 * 86400, "ref": ref}
        return jwt.encode(claims, signer, algorithm=_ALGORITHM, headers={"kid": kid})

    public = [_public(held[each]) | {"kid": _kid(held[each]), "alg": _ALGORITHM, "use": "sig"} for each in kids]
    data = {
        # JWTs that say which database role a request has (Supabase documentation, "API keys").
        **{name: issued(name, role) for name, role in API_KEYS.items()},
        "jwks.json": _compact({"keys": public}),
    }
    return data, {SIGNER_ANNOTATION: kid, WRITTEN_ANNOTATION: written(data, PUBLIC_KEYS)}


def written(data: Mapping[str, str], keys: tuple[str, ...]) -> str:
    """The value of `WRITTEN_ANNOTATION`, as `observe.keys.untouched` makes it from a live Secret."""
    return checksum({key: base64.b64encode(data[key].encode()).decode() for key in keys})


def _held(secret: Manifest) -> dict[str, PrivateKey]:
    """Id -> key, of all that a Secret has; `ADOPTED` is the one in `private.pem`."""
    text = secret_text(secret, "keys.json")
    try:
        if text is None:
            pem = secret_text(secret, "private.pem")
            return {ADOPTED: _checked(serialization.load_pem_private_key((pem or "").encode(), password=None))}
        loaded = [_checked(ECAlgorithm.from_jwk(each["jwk"])) for each in json.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError, RecursionError, jwt.PyJWTError) as error:
        raise _unusable(secret, "what it holds is no private ECDSA key on P-256") from error
    return {_kid(each): each for each in loaded}


def _unusable(secret: Manifest | None, why: str) -> Refused:
    name = secret["metadata"]["name"] if secret else "?"
    return Refused(
        "SecretIncomplete",
        f"Secret {name!r} can not sign tokens: {why}. Put back what it held; or put an ECDSA key on P-256, as PEM, into private.pem, and "
        "take keys.json out.",
    )


def _checked(key: object) -> PrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("no private key on P-256")
    return key


def _good(token: str, signer: PrivateKey, kid: str, claims: dict[str, str]) -> bool:
    try:
        if jwt.get_unverified_header(token).get("kid") != kid:
            return False
        # Whoever gets it judges its times by a clock of their own.
        found = jwt.decode(token, signer.public_key(), algorithms=[_ALGORITHM], options={"verify_exp": False, "verify_iat": False})
    except jwt.PyJWTError:
        return False
    return all(found.get(key) == value for key, value in claims.items())


def _public(key: PrivateKey) -> dict[str, Any]:
    made: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return made


def _private(key: PrivateKey) -> dict[str, Any]:
    made: dict[str, Any] = ECAlgorithm.to_jwk(key, as_dict=True)
    return made


def _kid(key: PrivateKey) -> str:
    """A key id that follows from the key itself (RFC 7638)."""
    public = _public(key)
    text = _compact({name: public[name] for name in ("crv", "kty", "x", "y")})
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
