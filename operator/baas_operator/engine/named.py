"""Secrets and ConfigMaps that an object of ours names and that may be anybody's.

Nobody watches them: they are asked for, several at a time, as each answer takes its time and a backend may name a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from pydantic import ValidationError

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, CONFIG_MAP, EVENT_QUEUE, SECRET, Kind
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance.referred import referred_config_maps
from baas_operator.desired.instance.referred import referred_secrets as names_of_secrets
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.remotes import links
from baas_operator.engine.client import Client
from baas_operator.engine.several import ask_each
from baas_operator.observe.view import secret_text


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


async def referred_versions(client: Client, resource: Manifest) -> dict[str, str]:
    """Versions of the user's Secrets and ConfigMaps that pods of a backend read only when they start, by name.

    Raises:
        ApiError, or the transport's error: there was no answer.
    """
    if resource["kind"] != BAAS_INSTANCE.name:
        return {}
    try:
        spec = BaasInstanceSpec.stored(resource.get("spec"))
    except ValidationError:  # it is told where that object is seen to
        return {}
    wanted = [(SECRET, name) for name in sorted(names_of_secrets(spec))]
    wanted += [(CONFIG_MAP, name) for name in sorted(referred_config_maps(spec))]
    made = dict[str, str]()
    for (_, name), found in (await _ask(client, resource["metadata"]["namespace"], wanted)).items():
        made[name] = f"{made.get(name, '')}{found['metadata']['resourceVersion']}"
    return made


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
