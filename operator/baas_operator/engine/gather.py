"""Gather: everything that a decision looks at, collected once. Objects come from the store; operands are asked with a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, NODE, OPERATION, POD, SECRET
from baas_operator.api.operation import OperationPhase
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names as queue_names
from baas_operator.engine import jetstream, monitor
from baas_operator.engine.config import Config
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View, is_ready, secret_text

_OPERAND_SECONDS = 6.0
"""So long nothing is said of a queue whose servers hang; then that they do."""
_log = logging.getLogger(__name__)
_OVER = frozenset(phase.value for phase in OperationPhase if phase.over)
"""Operations that are over look at nothing any more: thousands may be kept, and each event would wake them all."""


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
        if (resource.get("status") or {}).get("phase") not in _OVER and key in referred(resource)
    ]


def view_of(store: Store, resource: Manifest, config: Config) -> View:
    """The part of a view that the store has."""
    metadata = resource["metadata"]
    others, other_children = {}, {}
    for key in referred(resource):
        other = store.get(*key)
        if other is not None:
            others[(key.kind, key.name)] = other
            other_children[(key.kind, key.name)] = store.children(key)
    others |= {(OPERATION.name, each["metadata"]["name"]): each for each in _operations(store, resource)}
    return View(
        resource=resource,
        children=store.children(Key(resource["kind"], metadata["namespace"], metadata["name"])),
        nodes={node["metadata"]["name"]: node for node in store.of_kind(NODE.name)},
        now=datetime.now(UTC),
        images=config.images,
        operator_namespace=config.namespace,
        monitoring_namespace=config.monitoring_namespace,
        others=others,
        other_children=other_children,
    )


def _operations(store: Store, resource: Manifest) -> Iterator[Manifest]:
    """The Operations on a database; the others on the object that an Operation is for, while that is not over."""
    metadata = resource["metadata"]
    target: dict[str, str] | None
    if resource["kind"] == DATABASE_REPLICA.name:
        target = {"kind": DATABASE_REPLICA.name, "name": metadata["name"]}
    elif resource["kind"] == OPERATION.name and (resource.get("status") or {}).get("phase") not in _OVER:
        target = (resource.get("spec") or {}).get("target")
    else:
        return
    for each in store.of_kind(OPERATION.name, metadata["namespace"]):
        if (each.get("spec") or {}).get("target") == target and key_of(each) != key_of(resource):
            yield each


def secret_value(view: View, name: str, key: str) -> str | None:
    """A value of one of the object's secrets."""
    return secret_text(view.child(SECRET, name), key)


async def ask_operands(view: View) -> JetStreamState | None:
    """What an operand's own API says, for the kinds that need it; None if there is nobody to ask."""
    if view.resource["kind"] != EVENT_QUEUE.name:
        return None
    spec = EventQueueSpec.model_validate(view.spec)
    pods = [pod for pod in view.all(POD, queue_names.COMPONENT) if is_ready(pod)]
    password = secret_value(view, queue_names.user_secret(view.owner.name, "admin"), "password")
    if password is None or len(pods) < spec.replicas // 2 + 1:
        return None
    try:
        async with asyncio.timeout(_OPERAND_SECONDS):
            return await _ask_jetstream(pods, password, [each.name for each in spec.streams])
    except TimeoutError:
        return JetStreamState()


async def _ask_jetstream(pods: list[Manifest], password: str, streams: list[str]) -> JetStreamState:
    """All servers are asked at the same time who leads; the first that knows, the leader itself before others, is asked for the rest."""
    addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}
    said = await asyncio.gather(*(monitor.nats_meta_leader(ip, queue_names.MONITOR_PORT) for ip in addresses.values()))
    leaders = {name: leader for name, leader in zip(addresses, said, strict=True) if leader}
    for name, leader in sorted(leaders.items(), key=lambda pair: pair[0] != pair[1]):
        try:
            async with jetstream.connect(addresses[name], queue_names.CLIENT_PORT, "admin", password) as connection:
                return replace(await jetstream.look(connection, streams), meta_leader=leader)
        except (*jetstream.Unreachable, jetstream.JetStreamError) as error:
            _log.info("JetStream does not answer", extra={"pod": name, "error": repr(error)})
    return JetStreamState()
