"""Summarize: the only writer of status, with server-side apply and only if it changed; Events for conditions that turned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from baas_operator.api.kinds import ALL_KINDS, BAAS_INSTANCE, DATABASE_REPLICA, EVENT, EVENT_QUEUE
from baas_operator.api.operation import OperationPhase
from baas_operator.desired.meta import Manifest, checksum
from baas_operator.engine.client import Client
from baas_operator.engine.errors import ApiError
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.observe.conditions import (
    ANSWERS,
    COPY_STALLED,
    DEAD_LETTERS_EXPIRING,
    OUTBOXES_RELAYING,
    PROGRAMS_HEALTHY,
    READY,
    RECONCILING,
    STALLED,
    STORAGE_PRESSURE,
    SUSPENDED,
    WEBHOOKS_DELIVERING,
    ZONE_TOLERANT,
    merge,
    transitions,
)
from baas_operator.observe.moments import to_text
from baas_operator.policy.plan import Plan
from baas_operator.telemetry.metrics import CONDITION, LAST_FAILOVER, LAST_FAILOVER_TIME, PROBE_OK, READY_DISPATCHERS

_CONDITIONS = (
    READY, RECONCILING, STALLED, STORAGE_PRESSURE, DEAD_LETTERS_EXPIRING, COPY_STALLED, WEBHOOKS_DELIVERING, OUTBOXES_RELAYING, SUSPENDED,
    ZONE_TOLERANT, ANSWERS, PROGRAMS_HEALTHY,
)  # fmt: skip
_AT_REST = ("Hibernated", "Suspended")
"""Reasons that say that somebody asked for it."""
_log = logging.getLogger(__name__)


async def summarize(client: Client, store: Store, resource: Manifest, plan: Plan, identity: str, *, generation: int) -> bool:
    """Write the status of a plan; True if it had changed. `generation`: of the spec that the plan was made of, which may be older than
    `resource`."""
    metadata = resource["metadata"]
    before: dict[str, Any] = dict(resource.get("status") or {})
    conditions: list[dict[str, Any]] = merge(
        before.get("conditions") or [], plan.conditions, generation=generation, now=to_text(datetime.now(UTC))
    )
    status = {**plan.status, "observedGeneration": generation, "conditions": conditions}
    kind = ALL_KINDS[resource["kind"]]
    key = key_of(resource)
    forget(key)
    phase = status.get("phase")
    over = phase is not None and OperationPhase(phase).over  # nobody has to act on an Operation of last week: no series, no alert
    for each in () if over else (*({"type": absent, "status": "False"} for absent in (RECONCILING, STALLED)), *conditions):
        if each.get("reason") in _AT_REST and each["type"] != SUSPENDED:
            continue  # nothing serves, as its owner wants it: no series, no alert
        CONDITION.labels(*key, each["type"]).set(each["status"] == "True")
    if last := status.get("lastFailover"):
        LAST_FAILOVER.labels(key.namespace, key.name, str(last["planned"]).lower()).set(last["seconds"])
        LAST_FAILOVER_TIME.labels(key.namespace, key.name).set(datetime.fromisoformat(last["at"]).timestamp())
    if (ready := status.get("readyDispatchers")) is not None:
        READY_DISPATCHERS.labels(key.namespace, key.name).set(ready)
    for each in status.get("probes") or []:
        for zone, well in ((zone, well) for field, well in (("zones", 1), ("failing", 0)) for zone in each.get(field) or []):
            PROBE_OK.labels(key.namespace, key.name, each["transaction"], zone).set(well)
    if status == before:
        return False
    written = await client.apply(
        kind,
        {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "status": status,
        },
        subresource="status",
    )
    store.put(written)
    for turned in transitions(before.get("conditions") or [], conditions):
        await _announce(client, resource, turned, identity)
    return True


def forget(key: Key) -> None:
    """Take an object out of the metrics: what was deleted would go on being alerted on."""
    for each in _CONDITIONS:
        CONDITION.remove(*key, each)
    if key.kind == DATABASE_REPLICA.name:
        LAST_FAILOVER_TIME.remove(key.namespace, key.name)
        for planned in ("true", "false"):
            LAST_FAILOVER.remove(key.namespace, key.name, planned)
    if key.kind == EVENT_QUEUE.name:
        READY_DISPATCHERS.remove(key.namespace, key.name)
    if key.kind == BAAS_INSTANCE.name:
        PROBE_OK.remove_by_labels({"namespace": key.namespace, "name": key.name})


async def _announce(client: Client, resource: Manifest, condition: Mapping[str, Any], identity: str) -> None:
    """An Event (events.k8s.io/v1). It is a courtesy: if it can not be written, the condition has still been told."""
    metadata = resource["metadata"]
    now = datetime.now(UTC)
    bad = condition["type"] in (STALLED, STORAGE_PRESSURE, DEAD_LETTERS_EXPIRING, COPY_STALLED) or condition["status"] == "False"
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{checksum(identity, to_text(now, 'microseconds'), condition['type'])}",
            "namespace": metadata["namespace"],
        },
        "eventTime": to_text(now, "microseconds"),
        "reportingController": "baas-operator.io/operator",
        "reportingInstance": identity,
        "action": "Reconcile",
        "reason": condition["reason"],
        "note": f"{condition['type']} is {condition['status']}: {condition['message']}"[:1000],
        "type": "Warning" if bad else "Normal",
        "regarding": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }
    try:
        await client.create(EVENT, event)
    except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
        _log.info("no Event was written: %s", error)
