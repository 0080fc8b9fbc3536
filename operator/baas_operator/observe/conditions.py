"""Conditions: how a status speaks, to people and to kstatus (Argo CD, Flux, `kubectl wait`).

`Ready` is always written. `Reconciling` and `Stalled` are "abnormal-true": they are there only while they are true (kstatus
documentation). A condition's `lastTransitionTime` changes with its status alone (Kubernetes API conventions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from baas_operator.observe.text import shorten

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
ZONE_TOLERANT = "ZoneTolerant"
STORAGE_PRESSURE = "StoragePressure"
"""As a node's `DiskPressure`: only while it is true."""
DEAD_LETTERS_EXPIRING = "DeadLettersExpiring"
"""Only while it is true."""
COPY_STALLED = "CopyStalled"
"""Only while it is true."""
WEBHOOKS_DELIVERING = "WebhooksDelivering"
OUTBOXES_RELAYING = "OutboxesRelaying"
"""Both only where there are some. What is not delivered or relayed is no fault of the queue: `Ready` knows nothing of it."""
ANSWERS = "Answers"
"""Whether a backend does what its clients ask for; only where somebody finds out."""
PROGRAMS_HEALTHY = "ProgramsHealthy"
"""Of a backend, only where it has workers or jobs. They are the user's, and it serves without them: `Ready` knows nothing of it."""
SUSPENDED = "Suspended"
"""As a Job's (batch/v1 JobSuspended): only while it is true."""

_MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Condition:
    """A condition as it should be now; `status=None` means Unknown."""

    type: str
    status: bool | None
    reason: str
    message: str


def merge(previous: Iterable[Mapping[str, Any]], wanted: Iterable[Condition], *, generation: int, now: str) -> list[dict[str, Any]]:
    """The `status.conditions` for `wanted`, keeping the transition time of those whose status did not change.

    `now` is an RFC 3339 time in UTC.
    """
    before = {each["type"]: each for each in previous}
    made = []
    for each in wanted:
        status = {True: "True", False: "False", None: "Unknown"}[each.status]
        old = before.get(each.type)
        same = old is not None and old["status"] == status
        made.append(
            {
                "type": each.type,
                "status": status,
                "reason": each.reason,
                "message": shorten(each.message, _MAX_MESSAGE),
                "lastTransitionTime": old["lastTransitionTime"] if same and old else now,
                "observedGeneration": generation,
            }
        )
    return made


def find(resource: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of that type in a resource's status, or None."""
    for each in (resource.get("status") or {}).get("conditions") or []:
        if each.get("type") == kind:
            return dict(each)
    return None


def is_true(resource: Mapping[str, Any], kind: str) -> bool:
    """Whether a resource has that condition, true, as it was last judged.

    That may have been an older generation: what served does not stop to because its spec was edited, and will be judged in a moment.
    """
    condition = find(resource, kind)
    return condition is not None and condition.get("status") == "True"


def transitions(previous: Iterable[Mapping[str, Any]], current: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The conditions whose status or reason changed: those that deserve an Event."""
    before = {each["type"]: (each["status"], each["reason"]) for each in previous}
    return [each for each in current if before.get(each["type"]) != (each["status"], each["reason"])]
