"""Secrets and ConfigMaps that an object of ours names and that may be anybody's.

Nobody watches them: they are asked for, several at a time, as each answer takes its time and a backend may name a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import ValidationError

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE, SECRET, Kind
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance.referred import references
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue.remotes import links
from baas_operator.engine.client import Client
from baas_operator.engine.several import ask_each
from baas_operator.observe.view import Named, secret_text


async def referred_secrets(client: Client, resource: Manifest) -> dict[str, Manifest]:
    """The Secrets that a queue names to copy streams of others with, of those that are of use.

    Raises:
        ApiError, or the transport's error: there was no answer.
    """
    if resource["kind"] != EVENT_QUEUE.name:
        return {}
    namespace = resource["metadata"]["namespace"]
    wanted = {each.secret for each in links(EventQueueSpec.stored(resource.get("spec")), namespace)}
    found = await _ask(client, namespace, ((SECRET, name) for name in sorted(wanted)))
    return {name: each for (_, name), each in found.items() if _has_good_authority(each)}


async def referred_by_backend(client: Client, resource: Manifest) -> dict[tuple[str, str], Named]:
    """What is known of the user's Secrets and ConfigMaps that a backend names, of those that are there, by kind and name.

    Raises:
        ApiError, or the transport's error: there was no answer.
    """
    if resource["kind"] != BAAS_INSTANCE.name:
        return {}
    try:
        spec = BaasInstanceSpec.stored(resource.get("spec"))
    except ValidationError:  # it is told where that object is seen to
        return {}
    metadata = resource["metadata"]
    found = references(spec, Owner(resource["kind"], metadata["namespace"], metadata["name"], metadata["uid"]))
    at_start = {(each.kind, each.name) for each in found if each.at_start}
    certificates = {(each.kind, each.name) for each in found if each.certificate}
    wanted = sorted({(each.kind, each.name) for each in found}, key=lambda each: (each[0] != SECRET, each[1]))
    answers = await _ask(client, metadata["namespace"], wanted)
    return {
        (kind.name, name): Named(
            str(each["metadata"]["resourceVersion"]),
            frozenset([*(each.get("data") or {}), *(each.get("binaryData") or {})]),
            (kind, name) in at_start,
            _flaw(each) if (kind, name) in certificates else None,
        )
        for (kind, name), each in answers.items()
    }


async def _ask(client: Client, namespace: str, wanted: Iterable[tuple[Kind, str]]) -> dict[tuple[Kind, str], Manifest]:
    """Those of them that are there, in that order. All have been answered, or have failed, when it ends."""
    keys = list(wanted)

    async def one(key: tuple[Kind, str]) -> Manifest | None:
        kind, name = key
        return await client.get(kind, namespace, name)

    found = zip(keys, await ask_each(one, keys), strict=True)
    return {key: each for key, each in found if each is not None}


def _has_good_authority(secret: Manifest) -> bool:
    """Whether its `ca.crt`, if it has one, is certificates. Servers take nothing of a configuration that names a file with anything else,
    and would not even start with it."""
    if "ca.crt" not in (secret.get("data") or {}):
        return True
    try:
        return bool(x509.load_pem_x509_certificates((secret_text(secret, "ca.crt") or "").encode()))
    except ValueError:
        return False


def _flaw(secret: Manifest) -> str | None:
    """Why a server can not be itself with what a Secret has; who lacks a part is told that elsewhere."""
    parts = [(secret_text(secret, key) or "").encode() for key in ("tls.crt", "tls.key")]
    try:
        certificates = x509.load_pem_x509_certificates(parts[0])
    except ValueError:
        return "its tls.crt is no certificate in PEM"
    try:
        key = load_pem_private_key(parts[1], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        return "its tls.key is no private key in PEM, or has a password"
    return None if key.public_key() == certificates[0].public_key() else "its tls.key is not the key of its tls.crt"
