"""Secrets: drawn well, made once, and of use to whoever has to check them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.desired.instance.build import instance_secrets
from baas_operator.desired.key_set import SIGNER_ANNOTATION, WRITTEN_ANNOTATION, GoneKey, KeySet, KeySetWanted, KeyState, SigningKey
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.engine.generate import build_secret, outline
from baas_operator.engine.key_material import key_id, private_jwk
from baas_operator.engine.signing import API_KEY_YEARS, signing_secret
from tests.unit.objects import owner

NOW = 1_800_000_000
OWNER = owner(BAAS_INSTANCE, "shop")


def values(made: Manifest) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in made["data"].items()}


def role() -> SecretRequest:
    return password(OWNER, "shop-role-owner", "instance", "shop_owner", owned=False, host="db", uri="pg://{username}:{password}@db")


def keys() -> tuple[Manifest, dict[str, str]]:
    """A signing key's secret and the values of the API keys' one."""
    signing, api, *_ = instance_secrets(BaasInstanceSpec(), OWNER)
    source = build_secret(signing, source=None, now=NOW)
    return source, values(build_secret(api, source=source, now=NOW))


def test_no_two_passwords_are_the_same() -> None:
    drawn = {values(build_secret(role(), source=None, now=NOW))["password"] for _ in range(100)}

    assert len(drawn) == 100
    assert min(map(len, drawn)) >= 32


def test_a_password_needs_no_quoting_anywhere() -> None:
    """It is put into URIs, into NATS' configuration and into pgpass lines."""
    for _ in range(100):
        assert values(build_secret(role(), source=None, now=NOW))["password"].replace("-", "").replace("_", "").isalnum()


def test_other_keys_are_filled_in() -> None:
    found = values(build_secret(role(), source=None, now=NOW))

    assert found["uri"] == f"pg://shop_owner:{found['password']}@db"
    assert (found["username"], found["host"]) == ("shop_owner", "db")


def test_what_was_drawn_is_not_taken_for_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: "{username}")

    assert values(build_secret(role(), source=None, now=NOW))["password"] == "{username}"


def test_secrets_are_immutable_and_outlive_their_owner_where_data_does() -> None:
    made = build_secret(role(), source=None, now=NOW)

    assert made["immutable"] is True
    assert "ownerReferences" not in made["metadata"]


def test_with_delete_they_go_with_their_owner() -> None:
    for each in instance_secrets(BaasInstanceSpec.model_validate({"deletionPolicy": "Delete"}), OWNER)[:1]:
        assert build_secret(each, source=None, now=NOW)["metadata"]["ownerReferences"][0]["controller"] is True


@pytest.mark.parametrize("name", ["anon", "service_role"])
def test_api_keys_are_good_for_whoever_has_the_public_keys(name: str) -> None:
    _, found = keys()
    key_set = jwt.PyJWKSet.from_dict(json.loads(found["jwks.json"]))
    header = jwt.get_unverified_header(found[name])

    claims = jwt.decode(
        found[name], key_set[header["kid"]], algorithms=["RS256"], issuer="baas-operator",
        options={"require": ["exp", "iat", "iss", "role"], "verify_exp": False, "verify_iat": False},
    )  # fmt: skip

    assert claims["role"] == name
    assert claims["exp"] == NOW + API_KEY_YEARS * 365 * 86400
    assert claims["iat"] == NOW - 3600, "a clock that is behind takes it, too"


def test_another_backends_keys_are_no_good() -> None:
    _, ours = keys()
    _, theirs = keys()
    (key,) = jwt.PyJWKSet.from_dict(json.loads(theirs["jwks.json"])).keys

    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(ours["anon"], key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})


def test_what_was_written_before_there_were_rsa_keys_is_written_the_same() -> None:
    """Else each backend's keys would be written anew with an upgrade. The checksum is by the code of before."""
    at, states = "2026-05-01T12:00:00Z", (KeyState.CURRENT, KeyState.NEXT, KeyState.PREVIOUS)
    drawn = [ec.derive_private_key(10**40 + number, ec.SECP256R1()) for number in range(3)]
    proven = [None if state is KeyState.CURRENT else at for state in states]
    held = [
        {"kid": key_id(key), "state": state, "since": at, "jwk": private_jwk(key)} | ({"proven": of} if of else {})
        for key, state, of in zip(drawn, states, proven, strict=True)
    ]
    text = base64.b64encode(json.dumps({"keys": held, "gone": []}).encode()).decode()
    keys = tuple(SigningKey(key_id(key), state, at, of) for key, state, of in zip(drawn, states, proven, strict=True))

    _, told = signing_secret(
        KeySetWanted(KeySet(keys, (GoneKey("g", at, revoked=True),))),
        {"metadata": {"name": "shop-signing-key"}, "data": {"keys.json": text}}, NOW,
    )  # fmt: skip

    assert told[SIGNER_ANNOTATION] == "eya7skr8uE-PvcqxnnEIj4knFiH8zIUEl3dyDT-3qDM"
    assert told[WRITTEN_ANNOTATION] == "73e6185e5c2ea770"


def test_the_key_set_is_public_and_the_private_key_is_nowhere_else() -> None:
    source, found = keys()
    (key,) = json.loads(found["jwks.json"])["keys"]

    assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}
    assert set(values(source)) == {"keys.json", "private.pem", "gotrue-keys.json"}
    assert not any("PRIVATE" in value for value in found.values())


def test_what_was_added_later_is_in_new_secrets_and_is_asked_of_none_that_is_there() -> None:
    request = password(OWNER, "name", "instance", "shop", owned=False, extra={"pooler_uri": "pg://{username}:{password}@pooler"})

    made = values(build_secret(request, source=None, now=NOW))

    assert made["pooler_uri"] == f"pg://shop:{made['password']}@pooler"
    assert "pooler_uri" not in outline(request)["data"]


def test_a_signing_secret_is_one_that_standard_webhooks_takes_and_keeps_the_one_before_for_a_while() -> None:
    request = SecretRequest(OWNER, "events-webhook-crm", "dispatcher", recipe="webhook", rotates=True)

    first = build_secret(request, source=None, now=0)
    second = build_secret(request, source=first, now=0)
    over = build_secret(request, source=second, now=0)
    third = build_secret(request, source=over, now=0)

    def text(secret: Manifest) -> list[str]:
        return values(secret)["secret"].split()

    (one,) = text(first)
    assert Webhook(one).sign("id", datetime.now(UTC), "body").startswith("v1,")
    assert text(second)[1:] == [one]
    assert text(over) == text(second)[:1], "once the overlap is over the one before signs no more"
    assert text(third)[1:] == text(over), "two sign at the most"
    assert set(outline(request)["data"]) == set(first["data"])
