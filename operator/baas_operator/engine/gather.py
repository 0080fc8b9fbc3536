"""Gather: everything that a decision looks at, collected once. Objects come from the store; operands are asked with a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

from pydantic import ValidationError

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, NODE, OPERATION, POD, POD_MONITOR, SECRET
from baas_operator.api.operation import OperationPhase
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance.prober import PROBER
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names as queue_names
from baas_operator.desired.queue.remotes import within_cluster
from baas_operator.engine import jetstream, monitor
from baas_operator.engine.config import Config
from baas_operator.engine.several import ask_each
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.jetstream.requests import JetStreamError, Unreachable
from baas_operator.observe.dispatchers import DispatcherReport
from baas_operator.observe.probes import Probed
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import Named, View, is_ready, secret_text

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
    if resource["kind"] == EVENT_QUEUE.name:
        databases = {str(each["databaseRef"]["name"]) for each in spec.get("outboxes") or []}
        return [Key(DATABASE_REPLICA.name, namespace, each) for each in sorted(databases)]
    if resource["kind"] == OPERATION.name and "target" in spec:
        return [Key(spec["target"].get("kind", DATABASE_REPLICA.name), namespace, spec["target"]["name"])]
    return []


def supplied_by(resource: Manifest) -> list[Key]:
    """The objects of ours whose decisions look at this one's spec, and at nothing else of it: the queue that a backend's programs use."""
    return [key for key in referred(resource) if key.kind == EVENT_QUEUE.name] if resource["kind"] == BAAS_INSTANCE.name else []


def dependents(store: Store, key: Key) -> list[Key]:
    """The objects of ours that look at this one."""
    return [
        Key(resource["kind"], key.namespace, resource["metadata"]["name"])
        for kind in (BAAS_INSTANCE.name, EVENT_QUEUE.name, OPERATION.name)
        for resource in store.of_kind(kind, key.namespace)
        if (resource.get("status") or {}).get("phase") not in _OVER and key in referred(resource)
    ]


def view_of(
    store: Store, resource: Manifest, config: Config, secrets: Mapping[str, Manifest] = MappingProxyType({}),
    named: Mapping[tuple[str, str], Named] = MappingProxyType({}),
) -> View:  # fmt: skip
    """The part of a view that the store has. `secrets` and `named`: those that were asked for."""
    metadata = resource["metadata"]
    others, other_children = {}, {}
    for key in referred(resource):
        other = store.get(*key)
        if other is not None:
            others[(key.kind, key.name)] = other
            other_children[(key.kind, key.name)] = store.children(key)
    others |= {(OPERATION.name, each["metadata"]["name"]): each for each in _operations(store, resource)}
    for each in _backends(store, resource):
        others[BAAS_INSTANCE.name, each["metadata"]["name"]] = each
        other_children[BAAS_INSTANCE.name, each["metadata"]["name"]] = store.children(key_of(each))
    return View(
        resource=resource,
        children=store.children(Key(resource["kind"], metadata["namespace"], metadata["name"])),
        nodes={node["metadata"]["name"]: node for node in store.of_kind(NODE.name)},
        now=datetime.now(UTC),
        images=config.images,
        operator_namespace=config.namespace,
        monitoring_namespace=config.monitoring_namespace,
        monitoring_labels=config.monitoring_labels,
        kinds=store.served if config.pod_monitors else store.served - {POD_MONITOR.name},
        others=others,
        other_children=other_children,
        queues=_copied(store, resource),
        secrets=secrets,
        named=named,
        untaken=frozenset((each.kind, each.name) for each in store.untaken.get(key_of(resource), ())),
    )


def _copied(store: Store, resource: Manifest) -> dict[tuple[str, str], Manifest]:
    """The queues that one copies streams of, those that they copy streams of, and so on."""
    found: dict[tuple[str, str], Manifest] = {}
    todo = [resource] if resource["kind"] == EVENT_QUEUE.name else []
    while todo:
        each = todo.pop()
        namespace = each["metadata"]["namespace"]
        try:
            copied = EventQueueSpec.stored(each.get("spec")).streams
        except ValidationError:  # it is told where that object is seen to
            continue
        for key in {key for stream in copied for one in stream.others() if (key := within_cluster(one, namespace))}:
            if key not in found and (other := store.get(EVENT_QUEUE.name, *key)) is not None:
                found[key] = other
                todo.append(other)
    return found


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


def _backends(store: Store, resource: Manifest) -> Iterator[Manifest]:
    """The backends that use a queue; for one of them the others, whose programs may come before its own there."""
    key = key_of(resource)
    queue = key if resource["kind"] == EVENT_QUEUE.name else None
    if resource["kind"] == BAAS_INSTANCE.name and (resource.get("spec") or {}).get("queueRef"):
        (queue,) = supplied_by(resource)
    if queue is not None:
        yield from (each for each in store.of_kind(BAAS_INSTANCE.name, key.namespace) if queue in referred(each) and key_of(each) != key)


def queue_login(view: View, user: str) -> dict[str, str] | None:
    """What `jetstream.connect` needs beside an address; None while it is not drawn."""
    secret = view.child(SECRET, queue_names.user_secret(view.owner.name, user))
    name, password = secret_text(secret, "username"), secret_text(secret, "password")
    ca = secret_text(view.child(SECRET, queue_names.ca(view.owner.name)), "ca.crt")
    if name is None or password is None or ca is None:
        return None
    return {"user": name, "password": password, "ca": ca, "name": queue_names.host(view.owner.name, view.owner.namespace)}


async def ask_operands(view: View) -> JetStreamState | Probed | None:
    """What an operand's own API says, for the kinds that need it; None if there is nobody to ask."""
    if view.resource["kind"] == BAAS_INSTANCE.name:
        return await _ask_probers(view)
    if view.resource["kind"] != EVENT_QUEUE.name:
        return None
    spec = EventQueueSpec.stored(view.spec)
    pods = [pod for pod in view.all(POD, queue_names.COMPONENT) if is_ready(pod)]
    login = queue_login(view, queue_names.ADMIN)
    if login is None or len(pods) < spec.replicas // 2 + 1:
        return None
    try:
        async with asyncio.timeout(_OPERAND_SECONDS):
            state, said = await asyncio.gather(_ask_jetstream(pods, login), _ask_dispatchers(view))
            return replace(state, dispatchers=said)
    except TimeoutError:
        return JetStreamState()


async def _ask_dispatchers(view: View) -> tuple[DispatcherReport, ...]:
    pods = [pod for pod in view.all(POD, queue_names.DISPATCHER) if is_ready(pod)]
    said = await ask_each(lambda ip: monitor.dispatcher_report(ip, queue_names.DISPATCHER_PORT), map(_address, pods))
    return tuple(each for each in said if each)


async def _ask_probers(view: View) -> Probed:
    pods = [pod for pod in view.all(POD, PROBER) if is_ready(pod)]
    said = await ask_each(monitor.prober_report, map(_address, pods))  # few at a time: anybody may label a thousand
    return Probed({pod["metadata"]["name"]: each for pod, each in zip(pods, said, strict=True)})


def _address(pod: Manifest) -> str:
    return str(pod["status"]["podIP"])


async def _ask_jetstream(pods: list[Manifest], login: Mapping[str, str]) -> JetStreamState:
    """All servers are asked at the same time who leads; the first that knows, the leader itself before others, is asked for the rest."""
    addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}
    said = await asyncio.gather(*(monitor.nats_meta(ip, queue_names.MONITOR_PORT) for ip in addresses.values()))
    known = {name: group for name, group in zip(addresses, said, strict=True) if group}
    for name, group in sorted(known.items(), key=lambda pair: pair[0] != pair[1].leader):
        try:
            async with jetstream.connect(addresses[name], queue_names.CLIENT_PORT, **login) as connection:
                state = await jetstream.look(connection)
        except (*Unreachable, JetStreamError) as error:
            _log.info("JetStream does not answer", extra={"pod": name, "error": repr(error)})
        else:
            # How far the others are is known to the leader alone.
            return replace(state, meta_leader=group.leader, meta=group if name == group.leader else None)
    return JetStreamState()
