"""Drawing secrets. The random part of the operator is all in here."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from baas_operator.desired.instance.keys import PUBLIC_KEYS
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import (
    CONTENT_ANNOTATION,
    EXPIRES_ANNOTATION,
    NEXT,
    OVERLAP_ANNOTATION,
    PREPARED_ANNOTATION,
    PREVIOUS,
    ROTATED_ANNOTATION,
    SecretRequest,
    marker,
)
from baas_operator.engine.certificates import draw
from baas_operator.engine.signing import public_secret, signing_secret
from baas_operator.observe.moments import read_time, to_text
from baas_operator.observe.view import secret_text

_PASSWORD_BYTES = 24
_WEBHOOK_BYTES = 32


def outline(request: SecretRequest) -> Manifest:
    """The secret with its keys, and with nothing in the place of what is drawn: to hold one that is there against, at no cost."""
    match request.recipe:
        case "password":
            blank = dict.fromkeys(request.random, "")
            data = blank | {key: text.format_map(blank | request.fixed) for key, text in request.fixed.items()}
        case "signing-key":
            data = {"private.pem": ""}  # who brings a key needs no more
        case "api-keys":
            data = dict.fromkeys(PUBLIC_KEYS, "")
        case "webhook":
            data = {"secret": ""}
        case "certificate":
            assert request.certificate is not None
            data = dict.fromkeys(request.certificate.keys, "")
    return _manifest(request, data)


def build_secret(request: SecretRequest, *, source: Manifest | None, now: int, live: Manifest | None = None) -> Manifest:
    """Draw the content of a secret. `source` is the secret that the request names, or its own one that is replaced; `live` is its own one
    in any case. `now` is a Unix time in seconds.

    Raises:
        CannotSignError: a certificate is to be signed with something that can not sign.
        UnusableKeyError: a Secret of signing keys holds something else.
    """
    expires = None
    told: dict[str, str | None] | None = None
    match request.recipe:
        case "password" if request.alternate and source is not None:
            return _next_slot(request, source, now)
        case "password":
            data = complete(request, {key: secrets.token_urlsafe(_PASSWORD_BYTES) for key in request.random})
            if request.remembers and (before := secret_text(source, "password")):
                data[PREVIOUS] = before
        case "signing-key":
            data, told = signing_secret(request.keys, live, now)
        case "api-keys":
            assert source is not None  # the applier waits for it
            data, told = public_secret(source, live, issuer=request.fixed["issuer"], ref=request.owner.name, now=now)
        case "webhook" if source is not None:
            return _next_signing(request, source, now)
        case "webhook":
            data = {"secret": _webhook_secret()}
        case "certificate":
            assert request.certificate is not None
            authority = (secret_text(source, "ca.crt") or "", secret_text(source, "ca.key") or "") if source else None
            data, expires = draw(request.certificate, authority, now)
    made = _manifest(request, data, expires)
    if told:
        made["metadata"]["annotations"] = told
    return made


def complete(request: SecretRequest, drawn: dict[str, str], username: str | None = None) -> dict[str, str]:
    """All keys, from those that are drawn. A password that was written by hand may need quoting where it becomes part of a URI. `username`
    is the one of two that a Secret has, where they take turns."""
    fixed = request.fixed | ({"username": username} if username and username == request.alternate else {})
    values = {key: quote(text, safe="") for key, text in (drawn | fixed).items()}
    return drawn | {key: text.format_map(values) for key, text in (fixed | request.extra).items()}


def _next_slot(request: SecretRequest, live: Manifest, now: int) -> Manifest:
    """The next step of a rotation (policy/logins.py): the next password beside the one that counts, or in its place. What is not in the
    Secret any more is there as None, and a merge takes it out. The first step takes what it was asked by: what somebody asks for between
    the two is another rotation. Of one that `retires`, the third step takes the one before out."""
    username, password, following = (secret_text(live, key) or None for key in ("username", "password", NEXT))  # a hand blanked one: none
    moment = datetime.fromtimestamp(now, UTC)
    other = request.fixed["username"] if username == request.alternate else request.alternate
    assert other is not None  # who calls this asks for it
    if following is None and request.retires and secret_text(live, PREVIOUS) is not None:
        made = _manifest(request, {})
        made["data"] = {PREVIOUS: None, marker(other): None}
        made["metadata"]["annotations"] = {OVERLAP_ANNOTATION: None}
        return made
    if following is None:
        asked = read_time((live["metadata"].get("annotations") or {}).get(EXPIRES_ANNOTATION))
        made = _manifest(request, {NEXT: secrets.token_urlsafe(_PASSWORD_BYTES)})
        made["metadata"]["annotations"] = {PREPARED_ANNOTATION: to_text(moment), OVERLAP_ANNOTATION: None}
        if asked is None or asked <= moment:  # what is asked for at a later time is another one
            made["metadata"]["annotations"][EXPIRES_ANNOTATION] = None
        return made
    data = complete(request, {"password": following}, other) | {PREVIOUS: password or ""}
    made = _manifest(request, data)
    made["data"][NEXT] = None
    until = moment + timedelta(seconds=request.overlap_seconds)
    made["metadata"]["annotations"] = {PREPARED_ANNOTATION: None, OVERLAP_ANNOTATION: to_text(until)}
    if request.retires:
        made["data"] |= {marker(other): "", marker(username or request.fixed["username"]): ""}
        made["metadata"]["annotations"][ROTATED_ANNOTATION] = to_text(moment)
    return made


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


def _webhook_secret() -> str:
    """A signing secret (Standard Webhooks 1.0, "Signature scheme": 24 to 64 bytes)."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_WEBHOOK_BYTES)).decode()


def _next_signing(request: SecretRequest, live: Manifest, now: int) -> Manifest:
    """The next step of a rotation (policy/logins.py): another secret in front of the one that signs now, which signs, too, until the
    overlap is over, as who receives takes either; then that one is dropped."""
    signing = (secret_text(live, "secret") or "").split()
    if (live["metadata"].get("annotations") or {}).get(OVERLAP_ANNOTATION) is not None:
        made = _manifest(request, {"secret": " ".join(signing[:1]) or _webhook_secret()})
        made["metadata"]["annotations"] = {OVERLAP_ANNOTATION: None}
        return made
    made = _manifest(request, {"secret": " ".join([_webhook_secret(), *signing[:1]])})
    until = datetime.fromtimestamp(now, UTC) + timedelta(seconds=request.overlap_seconds)
    made["metadata"]["annotations"] = {EXPIRES_ANNOTATION: None, OVERLAP_ANNOTATION: to_text(until)}
    return made
