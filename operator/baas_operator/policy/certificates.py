"""When certificates are renewed: after two thirds of their life, and when what they should say, or who signed them, has changed.

It is decided from annotations and from the authority's certificate as text, so nothing here reads certificates. What is due names the
version that it was judged by; the write fails on any other, so of two leaders one renews, and after a crash the next look tells whether
it was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from baas_operator.api.kinds import SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import CONTENT_ANNOTATION, EXPIRES_ANNOTATION, Certificate, SecretRequest
from baas_operator.observe.view import View, secret_text


def with_due(view: View, requests: Iterable[SecretRequest]) -> tuple[SecretRequest, ...]:
    """The requests; those whose Secret is due say which version of it."""
    return tuple(_judged(view, each) for each in requests)


def _judged(view: View, request: SecretRequest) -> SecretRequest:
    live = view.child(SECRET, request.name)
    if request.certificate is None or live is None or live.get("immutable"):
        return request
    if not (_is_due(request.certificate, live, view.now) or _other_authority(view, request, live)):
        return request
    return replace(request, replaces=live["metadata"]["resourceVersion"])


def _is_due(certificate: Certificate, live: Manifest, now: datetime) -> bool:
    annotations = live["metadata"].get("annotations") or {}
    if EXPIRES_ANNOTATION not in annotations:
        return False
    if annotations.get(CONTENT_ANNOTATION) != certificate.content:
        return True
    try:
        expires = datetime.fromisoformat(annotations[EXPIRES_ANNOTATION])
    except ValueError:
        return True  # a hand made it something else
    if expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return now + timedelta(days=certificate.days / 3) >= expires


def _other_authority(view: View, request: SecretRequest, live: Manifest) -> bool:
    """Whether the authority has another certificate by now, which who trusts only that would not find at the end of ours."""
    if request.source is None or EXPIRES_ANNOTATION not in (live["metadata"].get("annotations") or {}):
        return False
    authority = secret_text(view.child(SECRET, request.source), "ca.crt")
    return authority is not None and secret_text(live, "ca.crt") != authority
