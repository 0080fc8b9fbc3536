"""Deletion. Children go by their owner references; the finalizer is for what those do not see.

An object with `deletionPolicy: Delete` has one. Owner references then lead to its data, and Kubernetes follows them whatever the object
says by the time it is deleted: where that is Retain, the data is taken out first. And Patroni keeps its state in ConfigMaps that it
makes itself, and would make again while a member still runs; left behind, they would keep a new database of that name from ever
starting.
"""

from __future__ import annotations

import logging

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.kinds import (
    CONFIG_MAP,
    DATABASE_REPLICA,
    EVENT_QUEUE,
    POD,
    SECRET,
    STATEFUL_SET,
    VOLUME_CLAIM,
    kind_of,
)
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.differ import HASH_ANNOTATION
from baas_operator.engine.errors import ApiError, Waiting
from baas_operator.engine.store import Store, key_of, owner_of
from baas_operator.observe.view import View

FINALIZER = "baas-operator.io/teardown"

_log = logging.getLogger(__name__)


async def set_finalizer(client: Client, store: Store, resource: Manifest, wanted: bool) -> Manifest:
    """Put our finalizer on an object or take it off; the object as it then is."""
    metadata = resource["metadata"]
    have = list(metadata.get("finalizers") or [])
    if (FINALIZER in have) == wanted:
        return resource
    finalizers = [*have, FINALIZER] if wanted else [each for each in have if each != FINALIZER]
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
    try:
        written = await client.merge(kind_of(resource), metadata["namespace"], metadata["name"], patch)
    except ApiError as error:
        if error.not_found:
            return resource
        raise
    store.put(written)
    return written


async def tear_down(client: Client, store: Store, view: View) -> None:
    """See to the data of an object that was deleted, as its policy says, then let go of the object.

    Raises:
        Waiting: members still run, or volumes are not yet safe.
    """
    if view.spec.get("deletionPolicy") != DeletionPolicy.DELETE:
        await let_go(client, store, view)
    elif _held(view):
        if view.owner.kind == DATABASE_REPLICA.name:
            await _end_patroni(client, view)
        await set_finalizer(client, store, view.resource, wanted=False)
        _log.info("torn down")


async def let_go(client: Client, store: Store, view: View) -> None:
    """Take our finalizer off an object that says Retain, once nothing leads from it to its data any more.

    Raises:
        Waiting: volumes are not yet safe.
    """
    if not _held(view):
        return
    await _keep(client, store, view)
    await set_finalizer(client, store, view.resource, wanted=False)
    _log.info("let go of, its data is kept")


def _held(view: View) -> bool:
    return FINALIZER in (view.resource["metadata"].get("finalizers") or [])


async def _end_patroni(client: Client, view: View) -> None:
    """Members first, then what they kept in the API server."""
    namespace, name = view.owner.namespace, view.owner.name
    workload = view.child(STATEFUL_SET, name)
    if workload is not None and not workload["metadata"].get("deletionTimestamp"):
        await client.delete(STATEFUL_SET, namespace, name, uid=workload["metadata"]["uid"], foreground=True)
    if workload is not None or any(True for _ in view.all(POD, names.COMPONENT)):
        raise Waiting("MembersGoing", "the members are being stopped", 1.0)
    for each in names.patroni_config_maps(name):
        found = await client.get(CONFIG_MAP, namespace, each)
        if found is not None and owner_of(found) == key_of(view.resource):  # such names are not Patroni's alone
            await client.delete(CONFIG_MAP, namespace, each, uid=found["metadata"]["uid"])


async def _keep(client: Client, store: Store, view: View) -> None:
    """Take volumes, passwords, and the database and queue that an instance made, with their data, out of what goes with the object.

    Raises:
        Waiting: the StatefulSet's controller, which puts volumes under it, may not know yet that it no longer should.
    """
    namespace, uid = view.owner.namespace, view.owner.uid
    for made in (DATABASE_REPLICA, EVENT_QUEUE):
        for each in view.all(made):
            if (each.get("spec") or {}).get("deletionPolicy") != DeletionPolicy.RETAIN:
                version = each["metadata"]["resourceVersion"]
                patch = {"metadata": {"resourceVersion": version}, "spec": {"deletionPolicy": DeletionPolicy.RETAIN.value}}
                store.put(await client.merge(made, namespace, each["metadata"]["name"], patch))
    workload = view.child(STATEFUL_SET, view.owner.name)
    if workload is not None:
        policy = {"whenDeleted": "Retain", "whenScaled": "Retain"}
        if (workload["spec"].get("persistentVolumeClaimRetentionPolicy") or {}) != policy:
            version = workload["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "spec": {"persistentVolumeClaimRetentionPolicy": policy}}
            store.put(await client.merge(STATEFUL_SET, namespace, view.owner.name, body))
            raise Waiting("VolumesNotKept", "the volumes are being taken out of the StatefulSet", 0.5)
        metadata = workload["metadata"]
        seen = (workload.get("status") or {}).get("observedGeneration", 0)
        if not metadata.get("deletionTimestamp") and seen < metadata.get("generation", 0):
            raise Waiting("VolumesNotKept", "the volumes are being taken out of the StatefulSet", 0.5)
        uid_of_workload = metadata["uid"]
    else:
        uid_of_workload = None
    for kind, owner in ((SECRET, uid), (VOLUME_CLAIM, uid_of_workload)):
        for child in view.all(kind):
            metadata = child["metadata"]
            if HASH_ANNOTATION in (metadata.get("annotations") or {}):
                continue  # what was applied can be made again
            references = metadata.get("ownerReferences") or []
            others = [each for each in references if owner is None or each.get("uid") != owner]
            if others != references:
                patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "ownerReferences": others}}
                store.put(await client.merge(kind, namespace, metadata["name"], patch))
