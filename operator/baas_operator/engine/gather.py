"""Gather: everything that a decision looks at, collected once. Objects come from the store; operands are asked with a deadline."""

from __future__ import annotations

import base64
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, NODE, OPERATION, POD, SECRET
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names as queue_names
from baas_operator.engine import jetstream, monitor
from baas_operator.engine.store import Key, Store
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View, is_ready

_log = logging.getLogger(__name__)


def referred(resource: Manifest) -> list[Key]:
    """The objects of ours that this one's decisions look at."""
    metadata, spec = resource["metadata"], resource.get("spec") or {}
    namespace, name = metadata["namespace"], metadata["name"]
    if resource["kind"] == BAAS_INSTANCE.name:
        database = (spec.get("databaseRef") or {}).get("name") or f"{name}-db"
        queue = (spec.get("queueRef") or {}).get("name") or f"{name}-events"
        return [Key(DATABASE_REPLICA.name, namespace, database), Key(EVENT_QUEUE.name, namespace, queue)]
    if resource["kind"] == OPERATION.name and "target" in spec:
        return [Key(spec["target"].get("kind", DATABASE_REPLICA.name), namespace, spec["target"]["name"])]
    return []


def dependents(store: Store, key: Key) -> list[Key]:
    """The objects of ours that look at this one."""
    return [
        Key(resource["kind"], key.namespace, resource["metadata"]["name"])
        for kind in (BAAS_INSTANCE.name, OPERATION.name)
        for resource in store.of_kind(kind, key.namespace)
        if key in referred(resource)
    ]


def view_of(store: Store, resource: Manifest, images: Images) -> View:
    """The part of a view that the store has."""
    metadata = resource["metadata"]
    others, other_children = {}, {}
    for key in referred(resource):
        other = store.get(*key)
        if other is not None:
            others[(key.kind, key.name)] = other
            other_children[(key.kind, key.name)] = store.children(key)
    return View(
        resource=resource,
        children=store.children(Key(resource["kind"], metadata["namespace"], metadata["name"])),
        nodes={node["metadata"]["name"]: node for node in store.of_kind(NODE.name)},
        now=datetime.now(UTC),
        images=images,
        others=others,
        other_children=other_children,
    )


def secret_value(view: View, name: str, key: str) -> str | None:
    """A value of one of the object's secrets."""
    secret = view.child(SECRET, name)
    data: dict[str, str] = (secret or {}).get("data") or {}
    return base64.b64decode(data[key]).decode() if key in data else None


async def ask_operands(view: View) -> View:
    """Add what an operand's own API says, for the kinds that need it."""
    if view.resource["kind"] != EVENT_QUEUE.name:
        return view
    spec = EventQueueSpec.model_validate(view.spec)
    pods = [pod for pod in view.all(POD, queue_names.COMPONENT) if is_ready(pod)]
    password = secret_value(view, queue_names.user_secret(view.owner.name, "admin"), "password")
    if password is None or len(pods) < spec.replicas // 2 + 1:
        return view
    state: Any = None
    for pod in pods:
        leader = await monitor.nats_meta_leader(pod["status"]["podIP"], queue_names.MONITOR_PORT)
        if leader is None:
            continue
        try:
            async with jetstream.connect(f"{pod['status']['podIP']}:{queue_names.CLIENT_PORT}", "admin", password) as connection:
                state = await jetstream.look(connection, [each.name for each in spec.streams])
        except (*jetstream.Unreachable, jetstream.JetStreamError) as error:
            _log.info("JetStream does not answer", extra={"pod": pod["metadata"]["name"], "error": repr(error)})
            continue
        return replace(view, external=replace(state, meta_leader=leader))
    return replace(view, external=JetStreamState())
