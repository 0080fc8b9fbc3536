"""Secrets of signing keys, and what is signed with them.

`keys.json` of a Secret is the set, private parts and all. Everything else follows from it: the current key as PEM and the set as GoTrue
takes it, which are written with it, and in another Secret the API keys and the public set.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import jwt

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
from baas_operator.engine.key_material import (
    KINDS,
    PrivateKey,
    algorithm,
    draw,
    from_jwk,
    from_pem,
    key_id,
    private_jwk,
    public_jwk,
    to_pem,
)
from baas_operator.observe.keys import read_key_set
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import secret_text

API_KEY_YEARS = 10
_CLOCKS_APART = 3600
"""Seconds by which an API key says that it is older than it is: who verifies may refuse what its own clock calls of the future, as
PostgREST does after 30 s (`allowedSkewSeconds` of its source)."""


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
        key = draw() if each.kid == NEW else held.get(each.kid)
        if key is None:
            raise _unusable(live, f"it has no key {each.kid}")
        drawn.append((each, key_id(key), key))
    _, kid, signer = drawn[0]
    data = {
        "keys.json": _compact({
            "keys": [
                {"kid": kid, "state": each.state.value, "since": each.since, "jwk": private_jwk(key)}
                | ({"proven": each.proven} if each.proven else {})
                for each, kid, key in drawn
            ],
            "gone": [{"kid": each.kid, "at": each.at, "revoked": each.revoked} for each in wanted.keys.gone],
        }),
        "private.pem": to_pem(signer),
        # GoTrue takes an array of JWKs, of which just one may sign (supabase/auth, internal/conf/jwk.go): of the others it needs, and is
        # given, no private part.
        "gotrue-keys.json": _compact([
            (private_jwk(key) | {"key_ops": ["sign", "verify"]} if key is signer else public_jwk(key) | {"key_ops": ["verify"]})
            | {"kid": kid, "alg": algorithm(key), "use": "sig"}
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
    kid = key_id(signer)

    def issued(name: str, role: str) -> str:
        have = secret_text(live, name)
        if have is not None and _good(have, signer, kid, {"role": role, "iss": issuer, "ref": ref}):
            return have
        claims = {"role": role, "iss": issuer, "iat": now - _CLOCKS_APART, "exp": now + API_KEY_YEARS * 365 * 86400, "ref": ref}
        return jwt.encode(claims, signer, algorithm=algorithm(signer), headers={"kid": kid})

    public = [public_jwk(held[each]) | {"kid": key_id(held[each]), "alg": algorithm(held[each]), "use": "sig"} for each in kids]
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
            return {ADOPTED: from_pem(pem or "")}
        loaded = [from_jwk(each["jwk"]) for each in json.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError, RecursionError, jwt.PyJWTError) as error:
        raise _unusable(secret, f"it does not hold {KINDS}, private part and all and without a passphrase") from error
    return {key_id(each): each for each in loaded}


def _unusable(secret: Manifest | None, why: str) -> Refused:
    name = secret["metadata"]["name"] if secret else "?"
    return Refused(
        "SecretIncomplete",
        f"Secret {name!r} can not sign tokens: {why}. Put back what it held; or put such a key, as PEM, into private.pem, and take "
        "keys.json out.",
    )


def _good(token: str, signer: PrivateKey, kid: str, claims: dict[str, str]) -> bool:
    try:
        if jwt.get_unverified_header(token).get("kid") != kid:
            return False
        # Whoever gets it judges its times by a clock of their own.
        found = jwt.decode(token, signer.public_key(), algorithms=[algorithm(signer)], options={"verify_exp": False, "verify_iat": False})
    except jwt.PyJWTError:
        return False
    return all(found.get(key) == value for key, value in claims.items())


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
