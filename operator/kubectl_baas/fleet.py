"""Custom resources -> Fleet: which database and queue belong to which instance, and what is well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from baas_operator.api.common import ApiModel, Condition
from baas_operator.api.database import Member
from baas_operator.api.instance.status import ComponentStatus
from baas_operator.api.operation import OperationResult
from baas_operator.api.queue import Server, StreamStatus
from kubectl_baas.health import verdict
from kubectl_baas.views import DatabaseView, Fleet, InstanceView, ObjectView, OperationView, QueueView

Manifest = Mapping[str, Any]


def build_fleet(
    instances: Iterable[Manifest],
    databases: Iterable[Manifest],
    queues: Iterable[Manifest],
    operations: Iterable[Manifest] = (),
    *,
    name: str | None = None,
) -> Fleet:
    """Put the objects together as they belong. With a `name`, only objects of that name, and what instances of it use."""
    done = _by_target(operations)
    all_databases = {_key(each): _database(each, done) for each in databases}
    all_queues = {_key(each): _queue(each) for each in queues}
    shown = [_instance(each, all_databases, all_queues) for each in sorted(instances, key=_key) if name in (None, each["metadata"]["name"])]
    used_databases = {(each.namespace, each.database.name) for each in shown}
    used_queues = {(each.namespace, each.queue.name) for each in shown}
    alone_databases = _others(all_databases, used_databases, name)
    alone_queues = _others(all_queues, used_queues, name)
    ready = [
        *(each.ready and each.database.ready and each.queue.ready for each in shown),
        *(each.ready for each in alone_databases),
        *(each.ready for each in alone_queues),
    ]
    return Fleet(ready=all(ready), instances=shown, databases=alone_databases, queues=alone_queues)


_T = TypeVar("_T", bound=ObjectView)


def _others(each: dict[tuple[str, str], _T], used: set[tuple[str, str]], name: str | None) -> list[_T]:
    return [view for key, view in sorted(each.items()) if key not in used and name in (None, view.name)]


def _key(resource: Manifest) -> tuple[str, str]:
    return resource["metadata"]["namespace"], resource["metadata"]["name"]


def _status(resource: Manifest) -> dict[str, Any]:
    return resource.get("status") or {}


def _spec(resource: Manifest) -> dict[str, Any]:
    return resource.get("spec") or {}


def _common(resource: Manifest, kind: str) -> dict[str, Any]:
    ready, reason, message = verdict(resource)
    metadata = resource["metadata"]
    return {
        "kind": kind,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "ready": ready,
        "reason": reason,
        "message": message,
        "suspended": bool(_spec(resource).get("suspend")),
        "created_at": metadata.get("creationTimestamp"),
        "conditions": _stored(Condition, _status(resource).get("conditions")),
    }


_M = TypeVar("_M", bound=ApiModel)


def _stored(model: type[_M], each: Iterable[Any] | None) -> list[_M]:
    return [model.stored(one) for one in each or []]


def _database(resource: Manifest, operations: dict[tuple[str, str], list[OperationView]]) -> DatabaseView:
    status = _status(resource)
    return DatabaseView(
        **_common(resource, "DatabaseReplica"),
        replicas=_spec(resource).get("replicas"),
        ready_replicas=status.get("readyReplicas") or 0,
        zones=status.get("zones") or 0,
        primary=status.get("primary"),
        members=_stored(Member, status.get("members")),
        operations=operations.get(_key(resource), []),
    )


def _queue(resource: Manifest) -> QueueView:
    status = _status(resource)
    return QueueView(
        **_common(resource, "EventQueue"),
        replicas=_spec(resource).get("replicas"),
        ready_replicas=status.get("readyReplicas") or 0,
        zones=status.get("zones") or 0,
        loss_window_seconds=status.get("lossWindowSeconds"),
        servers=_stored(Server, status.get("servers")),
        streams=_stored(StreamStatus, status.get("streams")),
    )


def database_of(instance: Manifest) -> str:
    """Name of the database that a BaasInstance uses, or will."""
    spec, status = _spec(instance), _status(instance)
    return status.get("database") or (spec.get("databaseRef") or {}).get("name") or f"{instance['metadata']['name']}-db"


def _instance(resource: Manifest, databases: dict[tuple[str, str], DatabaseView], queues: dict[tuple[str, str], QueueView]) -> InstanceView:
    namespace, name = _key(resource)
    spec, status = _spec(resource), _status(resource)
    database = database_of(resource)
    queue = status.get("queue") or (spec.get("queueRef") or {}).get("name") or f"{name}-events"
    return InstanceView(
        **_common(resource, "BaasInstance"),
        engine=spec.get("engine"),
        endpoint=status.get("endpoint"),
        components=_stored(ComponentStatus, status.get("components")),
        database=databases.get((namespace, database)) or DatabaseView(**_missing("DatabaseReplica", namespace, database)),
        queue=queues.get((namespace, queue)) or QueueView(**_missing("EventQueue", namespace, queue)),
    )


def _missing(kind: str, namespace: str, name: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "exists": False,
        "ready": False,
        "reason": "NotFound",
        "message": f"There is no {kind} {name} in namespace {namespace} (yet).",
    }


def _by_target(operations: Iterable[Manifest]) -> dict[tuple[str, str], list[OperationView]]:
    made: dict[tuple[str, str], list[OperationView]] = {}
    newest_first = sorted(operations, key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
    for each in newest_first:
        spec, status, metadata = _spec(each), _status(each), each["metadata"]
        target = spec.get("target") or {}
        if target.get("kind", "DatabaseReplica") != "DatabaseReplica":
            continue
        _, reason, message = verdict(each)
        view = OperationView(
            name=metadata["name"],
            action=spec.get("action", ""),
            phase=status.get("phase") or "Pending",
            reason=reason,
            message=message,
            created_at=metadata.get("creationTimestamp") or "",
            result=OperationResult.stored(status["result"]) if status.get("result") else None,
        )
        made.setdefault((metadata["namespace"], target.get("name", "")), []).append(view)
    return made
