"""Signing keys at a real API server: immutable Secrets from before there were sets, a rotation that is asked for, and a key that leaked."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.desired.meta import Owner
from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.cluster import ControlPlane
from .harness.operator import OperatorProcess

SIGNING, PUBLIC = "shop-signing-key", "shop-api-keys"
SECONDS = 30.0


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[OperatorProcess]:
    with cp.operator() as running:
        yield running


def text(secret: Object | None, key: str) -> str:
    return base64.b64decode(((secret or {}).get("data") or {}).get(key, "")).decode()


def kids(cp: ControlPlane, namespace: str) -> list[str]:
    return [each["kid"] for each in json.loads(text(cp.get("Secret", namespace, PUBLIC), "jwks.json") or '{"keys": []}')["keys"]]


def keys_of(cp: ControlPlane, namespace: str) -> Any:
    found = cp.get("BaasInstance", namespace, "shop") or {}
    return (found.get("status") or {}).get("keys")


def immutable(namespace: str, name: str, **values: str) -> Object:
    data = {key.replace("__", "."): base64.b64encode(each.encode()).decode() for key, each in values.items()}
    return Owner(BAAS_INSTANCE.name, namespace, "shop").child("v1", "Secret", name, "instance", data=data, immutable=True)


def serving(cp: ControlPlane, namespace: str, **spec: Any) -> str:
    """An instance with its keys; the id of the one that signs."""
    cp.must_apply(own("BaasInstance", "shop", spec), namespace)
    cp.wait(lambda: keys_of(cp, namespace), SECONDS, "the status tells of keys")
    return str(keys_of(cp, namespace)["set"][0]["kid"])


def test_immutable_secrets_from_before_are_taken_over_with_their_key(cp: ControlPlane, namespace: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    for each in (
        immutable(namespace, SIGNING, private__pem=pem),
        immutable(namespace, PUBLIC, anon="old", service_role="old", jwks__json='{"keys":[]}'),
    ):
        cp.must_apply(each, namespace)

    kid = serving(cp, namespace)

    cp.wait(lambda: kids(cp, namespace) == [kid], SECONDS, "the public set is of that key")
    assert text(cp.get("Secret", namespace, SIGNING), "private.pem") == pem
    anon = text(cp.get("Secret", namespace, PUBLIC), "anon")
    assert jwt.decode(anon, key.public_key(), algorithms=["ES256"])["role"] == "anon"
    cp.wait(
        lambda: {each["metadata"]["name"] for each in cp.list("Secret", namespace)} >= {SIGNING, PUBLIC}
        and not any(each["metadata"]["name"].endswith("-copy") or each.get("immutable")
                    for each in cp.list("Secret", namespace) if each["metadata"]["name"].startswith((SIGNING, PUBLIC))),
        SECONDS, "no copy is left, and nothing is immutable",
    )  # fmt: skip


def rotation(**spec: Any) -> Object:
    made: Object = own("Operation", "rotate", {"action": "rotate-keys", "target": {"kind": "BaasInstance", "name": "shop"}} | spec)
    return made


def test_a_rotation_that_is_asked_for_is_begun_once(cp: ControlPlane, namespace: str) -> None:
    first = serving(cp, namespace)

    cp.must_apply(rotation(timeoutSeconds=600), namespace)

    cp.wait(lambda: len(kids(cp, namespace)) == 2, SECONDS, "both keys are public")
    assert kids(cp, namespace)[0] == first
    cp.wait(lambda: (keys_of(cp, namespace) or {}).get("phase") == "Publishing", SECONDS, "that is told")
    (each,) = cp.list("Operation", namespace)
    assert each["status"]["phase"] == "Running"
    assert [step["name"] for step in each["status"]["steps"]] == ["Publish"]
    assert each["status"]["result"] == {"previousKey": first}
    assert "baas-operator.io/expires" not in cp.get("Secret", namespace, SIGNING)["metadata"]["annotations"]  # type: ignore[index]


def test_a_key_that_leaked_goes_at_once_and_what_is_none_is_told(cp: ControlPlane, namespace: str) -> None:
    first = serving(cp, namespace)
    anon = text(cp.get("Secret", namespace, PUBLIC), "anon")

    cp.must_apply(own("BaasInstance", "shop", {"keys": {"revoked": [first, "A" * 43]}}), namespace)

    cp.wait(lambda: kids(cp, namespace) and first not in kids(cp, namespace), SECONDS, "it is not public any more")
    cp.wait(lambda: (keys_of(cp, namespace) or {}).get("revoked") == [first], SECONDS, "that is told")
    assert first not in text(cp.get("Secret", namespace, SIGNING), "gotrue-keys.json")
    assert text(cp.get("Secret", namespace, PUBLIC), "anon") != anon


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (rotation(), "set timeoutSeconds to 600 or more"),
        (
            rotation(target={"kind": "EventQueue", "name": "shop"}, timeoutSeconds=600),
            "rotate-keys and rotate-passwords are done to a BaasInstance",
        ),
        (own("BaasInstance", "other", {"keys": {"rotationDays": 7}}), "keys.rotationDays is not longer than keys.overlapHours"),
        (own("BaasInstance", "other", {"keys": {"revoked": ["leaked"]}}), "spec.keys.revoked[0]"),
        (own("BaasInstance", "other", {"keys": {"revoked": ["A" * 43, "A" * 43]}}), "Duplicate value"),
    ],
)
def test_nonsense_is_refused(cp: ControlPlane, namespace: str, manifest: Object, sentence: str) -> None:
    answer = cp.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(manifest), check=False)
    assert answer.returncode != 0
    assert sentence in answer.stderr
