"""The two Secrets of a backend's keys: the private ones, and what clients and who verifies need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from baas_operator.desired.instance import names, probes
from baas_operator.desired.meta import Owner
from baas_operator.desired.secrets import SecretRequest

SIGNING: Final = "signing-key"
PUBLIC: Final = "api-keys"
SIGNING_KEYS = ("keys.json", "private.pem", "gotrue-keys.json")
API_KEYS: Mapping[str, str] = {"anon": "anon", "service_role": "service_role", probes.KEY: probes.ROLE}
"""API key -> the database role that it is for."""
PUBLIC_KEYS = (*API_KEYS, "jwks.json")


def key_secrets(owner: Owner, component: str, *, issuer: str, owned: bool) -> list[SecretRequest]:
    """The set of signing keys (`keys.json`), with the current one for who reads PEM (`private.pem`) and all as GoTrue takes them
    (`gotrue-keys.json`); and, made from that, the API keys (see `API_KEYS`) and the public set (`jwks.json`). `issuer` is who API
    keys say has made them."""
    signing = names.signing_key_secret(owner.name)
    return [
        SecretRequest(owner, signing, component, recipe=SIGNING, owned=owned, rotates=True),
        SecretRequest(
            owner, names.api_keys_secret(owner.name), component, recipe=PUBLIC, source=signing, owned=owned, rotates=True,
            fixed={"issuer": issuer},
        ),
    ]  # fmt: skip
