"""A Secret that is immutable, made into one that can be changed: nothing but deleting it does that (Kubernetes documentation, "Immutable
Secrets").

It may hold the only copy of a key that all tokens of a backend depend on. So first there is a copy, then it goes, then it comes back from
the copy, then that goes; whoever finds the copy goes on from there.
"""

from __future__ import annotations

import logging

from baas_operator.api.kinds import SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.errors import ApiError, Waiting
from baas_operator.engine.store import Store, key_of, owner_of

_SUFFIX = "-copy"
_log = logging.getLogger(__name__)


def _copy_name(name: str) -> str:
    return name + _SUFFIX


async def unlock(client: Client, store: Store, live: Manifest) -> None:
    """Make a Secret mutable, with what it holds.

    Raises:
        Waiting: somebody else is at it.
    """
    metadata = live["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    whole = await client.get(SECRET, namespace, name)  # of a large one the store has a part
    if whole is None or whole["metadata"]["uid"] != metadata["uid"]:
        raise Waiting("SecretGone", f"secret {name!r} is another by now", 0.2)
    live = whole
    copy = await client.get(SECRET, namespace, _copy_name(name))
    if copy is None:
        copy = await client.create(SECRET, _as(live, _copy_name(name)))
        store.put(copy)
    if owner_of(copy) != owner_of(live) or copy.get("data") != live.get("data"):
        raise Waiting("SecretLocked", f"Secret {name!r} is immutable and {_copy_name(name)!r} is no copy of it: delete that", 30.0)
    await client.delete(SECRET, namespace, name, uid=metadata["uid"])
    await _bring_back(client, store, copy, name)
    await end_copy(client, store, live)


async def restored(client: Client, store: Store, wanted: Manifest) -> bool:
    """Bring a Secret that is not there back from its copy; False where there is none."""
    name = wanted["metadata"]["name"]
    copy = await client.get(SECRET, wanted["metadata"]["namespace"], _copy_name(name))
    if copy is None or owner_of(copy) != owner_of(wanted) or copy["metadata"].get("deletionTimestamp"):
        return False
    store.put(copy)
    await _bring_back(client, store, copy, name)
    return True


async def end_copy(client: Client, store: Store, live: Manifest) -> None:
    """Delete the copy of a Secret that is there and can be changed."""
    metadata = live["metadata"]
    copy = store.get(SECRET.name, metadata["namespace"], _copy_name(metadata["name"]))
    back = store.get(*key_of(live))
    if copy is None or back is None or back.get("immutable") or owner_of(copy) != owner_of(live):
        return
    await client.delete(SECRET, metadata["namespace"], _copy_name(metadata["name"]), uid=copy["metadata"]["uid"])
    store.drop(copy)


async def _bring_back(client: Client, store: Store, copy: Manifest, name: str) -> None:
    try:
        store.put(await client.create(SECRET, _as(copy, name)))
    except ApiError as error:
        if not error.conflict:
            raise
        raise Waiting("SecretExists", f"secret {name!r} was made by another", 0.2) from error
    _log.info("secret can be changed from now on", extra={"secret": name})


def _as(source: Manifest, name: str) -> Manifest:
    had = source["metadata"]
    metadata = {"name": name} | {key: had[key] for key in ("namespace", "labels", "annotations", "ownerReferences") if had.get(key)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": source.get("type", "Opaque"), "data": source["data"]}
