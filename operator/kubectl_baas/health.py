"""Whether an object is well, from its conditions, and what else is to be said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from baas_operator.observe.conditions import COPY_STALLED, DEAD_LETTERS_EXPIRING, READY, RECONCILING, STALLED, STORAGE_PRESSURE, find

_ABNORMAL_TRUE = (RECONCILING, STALLED, STORAGE_PRESSURE, DEAD_LETTERS_EXPIRING, COPY_STALLED)
"""Conditions that are bad while they are true (those of kstatus, and as a node has them); all others are bad while they are not."""


class ConditionLike(Protocol):
    """What a condition of the API has."""

    @property
    def type(self) -> str:
        """What it is about."""

    @property
    def status(self) -> str:
        """`True`, `False` or `Unknown`."""


def verdict(resource: Mapping[str, Any]) -> tuple[bool, str | None, str | None]:
    """(ready, reason, message) of an object; the latter two are None when it is ready.

    kstatus' rules: a status that speaks of an older generation says nothing about this one, and what is being deleted is not
    ready.
    """
    metadata = resource["metadata"]
    if metadata.get("deletionTimestamp"):
        return False, "Deleting", "It is being deleted."
    condition = find(resource, READY)
    if condition is None:
        return False, "NotObserved", "The operator has not said anything about it yet."
    if condition.get("status") != "True":
        return False, condition.get("reason"), condition.get("message")
    seen = condition.get("observedGeneration") or (resource.get("status") or {}).get("observedGeneration")
    generation = metadata.get("generation")
    if seen is not None and generation is not None and seen < generation:
        return False, "NotObserved", "The operator has not looked at the latest change of its spec yet."
    return True, None, None


_C = TypeVar("_C", bound=ConditionLike)


def complaints(conditions: Iterable[_C]) -> list[_C]:
    """The conditions besides Ready that say that something is not as it should be."""
    return [each for each in conditions if each.type != READY and each.status != _good(each.type)]


def _good(kind: str) -> str:
    return "False" if kind in _ABNORMAL_TRUE else "True"
