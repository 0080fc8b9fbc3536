"""What the cluster's objects say about a backend's keys: which there are, who knows them, and who signs with them.

Private parts are in the same text as the states, and are passed over: nothing that is made here has any.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from baas_operator.api.kinds import CONFIG_MAP, DEPLOYMENT, SECRET
from baas_operator.desired.instance import names
from baas_operator.desired.instance.keys import API_KEYS
from baas_operator.desired.instance.manifests import KEY_IDS_ANNOTATION
from baas_operator.desired.key_set import SIGNER_ANNOTATION, WRITTEN_ANNOTATION, GoneKey, KeySet, KeyState, SigningKey, key_ids
from baas_operator.desired.meta import DIGEST, Manifest, checksum
from baas_operator.desired.needs import Ref
from baas_operator.observe.instance import rolled_out
from baas_operator.observe.moments import read_time
from baas_operator.observe.view import View, secret_text

_SET = "jwks.json"


@dataclass(frozen=True)
class Published:
    """What clients and who verifies are given: the ids in the public set, and of the keys that signed the API keys, in `API_KEYS`' order
    (None: it is none)."""

    kids: tuple[str, ...] = ()
    signers: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Signing:
    """What who signs is given: the ids of the keys in `gotrue-keys.json`, which it verifies with, too, and of the one that signs."""

    kids: tuple[str, ...] = ()
    signer: str | None = None


def read_key_set(secret: Manifest | None) -> KeySet | None:
    """The set in a Secret of signing keys; None where there is none.

    Raises:
        ValueError: it is not as the operator writes it.
    """
    text = secret_text(secret, "keys.json")
    if text is None:
        data = (secret or {}).get("data") or {}
        if "keys.json" in data:
            raise ValueError("it is no text")
        if DIGEST in data:
            raise ValueError("the Secret has more than the operator looks at, and it may be among that")
        return None
    try:
        found = json.loads(text)
        keys = tuple(
            SigningKey(
                _text(each["kid"]), KeyState(each["state"]), _moment(each["since"]), _moment(each["proven"]) if "proven" in each else None
            )
            for each in found["keys"]
        )  # fmt: skip
        gone = tuple(GoneKey(_text(each["kid"]), _moment(each["at"]), each["revoked"] is True) for each in found["gone"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it has other fields") from error
    return KeySet(keys, gone)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _moment(value: object) -> str:
    if read_time(_text(value)) is None:
        raise ValueError(f"{value!r} is no time")
    return str(value)


def read_published(secret: Manifest | None) -> Published:
    """What a Secret of API keys says."""
    return Published(key_ids(secret_text(secret, _SET)), tuple(signer_of(secret_text(secret, each)) for each in API_KEYS))


def signer_of(token: str | None) -> str | None:
    """The id of the key that a token says it is signed with."""
    head = (token or "").partition(".")[0]
    try:
        found: Any = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        return _text(found["kid"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def untouched(secret: Manifest, keys: tuple[str, ...]) -> bool:
    """Whether these values of a Secret are as the operator wrote them."""
    data = secret.get("data") or {}
    annotations = secret["metadata"].get("annotations") or {}
    return bool(annotations.get(WRITTEN_ANNOTATION) == checksum({key: data.get(key) for key in keys}))


def read_signing(secret: Manifest | None) -> Signing:
    """What the pods of who signs would be given now by a Secret of signing keys."""
    annotations = ((secret or {}).get("metadata") or {}).get("annotations") or {}
    text = secret_text(secret, "gotrue-keys.json")
    return Signing(key_ids(f'{{"keys": {text}}}') if text else (), annotations.get(SIGNER_ANNOTATION))


def ignorant(view: View, kid: str) -> list[str]:
    """Who may not know a key yet, in words: who verifies tokens, and what they are given the set by."""
    made = []
    if kid not in read_published(view.child(SECRET, names.api_keys_secret(view.owner.name))).kids:
        made.append("the public set")
    files = {each["metadata"]["name"]: known for each in view.all(CONFIG_MAP) if (known := _ids_in(each)) is not None}
    if view.child(DEPLOYMENT, gateway := f"{view.owner.name}-gateway") is not None:
        files.setdefault(gateway, ())  # it was taken away, or is of an operator whose files did not say it
    made += [f"ConfigMap {name}" for name, known in sorted(files.items()) if kid not in known]
    for each in view.all(DEPLOYMENT):
        known = _template_annotation(each, KEY_IDS_ANNOTATION)
        if known is not None and not (kid in known.split(",") and rolled_out(each)):
            made.append(str(each["metadata"]["name"]))
    return made


def _ids_in(config_map: Manifest) -> Collection[str] | None:
    """The ids of the keys that who mounts a ConfigMap is given; None for one that is not about keys."""
    said = (config_map["metadata"].get("annotations") or {}).get(KEY_IDS_ANNOTATION)
    if said is not None:
        return str(said).split(",")
    data = config_map.get("data") or {}
    return key_ids(data[_SET]) if _SET in data else None


def verifiers_know(view: View, kid: str) -> bool:
    """Whether everybody who verifies tokens knows a key, but for the time that a kubelet takes to bring it where it is a mounted file."""
    return not ignorant(view, kid)


def signers_use(view: View, kid: str) -> bool:
    """Whether everybody who signs tokens uses a key: all pods of the Deployments that say which they use."""
    signers = [(each, _template_annotation(each, SIGNER_ANNOTATION)) for each in view.all(DEPLOYMENT)]
    return all(used == kid and rolled_out(each) for each, used in signers if used is not None)


def keys_given(deployment: Manifest) -> frozenset[str]:
    """The ids of the keys that a Deployment's pods are given to verify with, and to sign."""
    verify, sign = (_template_annotation(deployment, each) or "" for each in (KEY_IDS_ANNOTATION, SIGNER_ANNOTATION))
    return frozenset({*verify.split(","), sign} - {""})


def withdrawn(view: View, kids: Collection[str]) -> frozenset[str]:
    """Those of them that left the set before their time: that were revoked, or taken out by hand. None while the set can not be read."""
    try:
        held = read_key_set(view.child(SECRET, names.signing_key_secret(view.owner.name)))
    except ValueError:
        return frozenset()
    if held is None:
        return frozenset()
    revoked = (view.spec.get("keys") or {}).get("revoked") or []
    retired = {each.kid for each in held.gone if not each.revoked} - set(revoked)
    return frozenset(set(kids) - set(held.kids) - retired)


def still_given(view: View) -> dict[Ref, frozenset[str]]:
    """The objects that go on giving somebody keys which left the set before their time, and the ids of these."""
    public = read_published(view.child(SECRET, names.api_keys_secret(view.owner.name)))
    given = {(SECRET.name, names.api_keys_secret(view.owner.name)): frozenset({*public.kids, *(each for each in public.signers if each)})}
    given |= {(CONFIG_MAP.name, each["metadata"]["name"]): frozenset(_ids_in(each) or ()) for each in view.all(CONFIG_MAP)}
    given |= {(DEPLOYMENT.name, each["metadata"]["name"]): keys_given(each) for each in view.all(DEPLOYMENT)}
    leaked = withdrawn(view, frozenset[str]().union(*given.values()) - {""})
    return {ref: kids & leaked for ref, kids in given.items() if kids & leaked}


def _template_annotation(deployment: Manifest, key: str) -> str | None:
    template = (deployment.get("spec") or {}).get("template") or {}
    found = ((template.get("metadata") or {}).get("annotations") or {}).get(key)
    return None if found is None else str(found)
