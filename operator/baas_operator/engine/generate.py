"""Drawing secrets. The random part of the operator is all in here."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import CONTENT_ANNOTATION, EXPIRES_ANNOTATION, PREVIOUS, SecretRequest
from baas_operator.engine.certificates import draw
from baas_operator.observe.view import secret_text

_PASSWORD_BYTES = 24
API_KEY_YEARS = 10


def outline(request: SecretRequest) -> Manifest:
    """The secret with its keys, and with nothing in the place of what is drawn: to hold one that is there against, at no cost."""
    match request.recipe:
        case "password":
            blank = dict.fromkeys(request.random, "")
            data = blank | {key: text.format_map(blank | request.fixed) for key, text in request.fixed.items()}
        case "signing-key":
            data = {"private.pem": ""}
        case "api-keys":
            data = dict.fromkeys(("anon", "service_role", "jwks.json"), "")
        case "certificate":
            assert request.certificate is not None
            data = dict.fromkeys(request.certificate.keys, "")
    return _manifest(request, data)


def build_secret(request: SecretRequest, *, source: Manifest | None, now: int) -> Manifest:
    """Draw the content of a secret. `source` is the secret that the request names, or its own one that is replaced; `now` is a Unix
    time in seconds.

    Raises:
        ValueError: a certificate is to be signed with something that can not sign.
    """
    expires = None
    match request.recipe:
        case "password":
            data = complete(request, {key: secrets.token_urlsafe(_PASSWORD_BYTES) for key in request.random})
            if request.remembers and (before := secret_text(source, "password")):
                data[PREVIOUS] = before
        case "signing-key":
            data = _signing_key()
        case "api-keys":
            pem = secret_text(source, "private.pem")
            assert pem is not None  # `outline` asks for it
            data = _api_keys(pem, request, now)
        case "certificate":
            assert request.certificate is not None
            authority = (secret_text(source, "ca.crt") or "", secret_text(source, "ca.key") or "") if source else None
            data, expires = draw(request.certificate, authority, now)
    return _manifest(request, data, expires)


def complete(request: SecretRequest, drawn: dict[str, str]) -> dict[str, str]:
    """All keys, from those that are drawn. A password that was written by hand may need quoting where it becomes part of a URI."""
    values = {key: quote(text, safe="") for key, text in (drawn | request.fixed).items()}
    return drawn | {key: text.format_map(values) for key, text in (request.fixed | request.extra).items()}


def _manifest(request: SecretRequest, data: dict[str, str], expires: datetime | None = None) -> Manifest:
    """A secret is immutable, unless what it holds may be replaced."""
    annotations = None
    if request.certificate and expires:
        annotations = {EXPIRES_ANNOTATION: expires.isoformat(), CONTENT_ANNOTATION: request.certificate.content}
    made = request.owner.child(
        "v1", "Secret", request.name, request.component, owned=request.owned, annotations=annotations, type=request.type,
        data={key: base64.b64encode(text.encode()).decode() for key, text in sorted(data.items())},
    )  # fmt: skip
    return made if request.certificate or request.rotates else made | {"immutable": True}


def _signing_key() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"private.pem": pem.decode()}


def _api_keys(pem: str, request: SecretRequest, now: int) -> dict[str, str]:
    """The anon and service_role keys: JWTs that say which database role a request has (Supabase documentation, "API keys")."""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    thumbprint = _thumbprint(public)
    issuer = request.fixed["issuer"]

    def issue(role: str) -> str:
        claims = {"role": role, "iss": issuer, "iat": now, "exp": now + API_KEY_YEARS * 365 * 86400, "ref": request.owner.name}
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": thumbprint})

    jwks = {"keys": [public | {"kid": thumbprint, "alg": "ES256", "use": "sig"}]}
    return {
        "anon": issue("anon"),
        "service_role": issue("service_role"),
        "jwks.json": json.dumps(jwks, sort_keys=True, separators=(",", ":")),
    }


def _thumbprint(public: dict[str, Any]) -> str:
    """A key id that follows from the key itself (RFC 7638)."""
    text = json.dumps({name: public[name] for name in ("crv", "kty", "x", "y")}, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
