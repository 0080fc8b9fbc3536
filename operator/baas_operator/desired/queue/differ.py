"""What differs between a stream or consumer and what it should be, and which of it JetStream will not change in one that exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baas_operator.desired.queue.streams import source_key

_NOTHING: tuple[Any, ...] = (None, 0, -1, "", [], {}, False)
"""Left out of an answer where it has no value; -1 is what the server makes of "no limit"."""
_SERVER_MARK = "_nats."


def _sorted(key: str, value: Any) -> Any:
    if key in ("subjects", "filter_subjects"):
        return sorted(value or [])
    if key == "sources":
        return sorted(value or [], key=source_key)
    return sorted(value or [], key=lambda each: str(each.get("src"))) if key == "subject_transforms" else value


def _same(key: str, wanted: Any, have: Any) -> bool:
    wanted, have = _sorted(key, wanted), _sorted(key, have)
    if isinstance(wanted, Mapping) and isinstance(have, Mapping):
        if key not in ("", "metadata", "external", "mirror"):
            return dict(wanted) == dict(have)
        return all(_same(each, value, have.get(each)) for each, value in wanted.items())
    if isinstance(wanted, list) and isinstance(have, list):
        return len(wanted) == len(have) and all(
            _same("", one, other) if isinstance(one, Mapping) else one == other for one, other in zip(wanted, have, strict=True)
        )
    return bool(wanted == have) or (wanted in _NOTHING and have in _NOTHING)


def differing(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> list[str]:
    """Fields that are not as wanted. What the operator does not decide is no difference."""
    return [key for key, value in wanted.items() if not _same(key, value, have.get(key))]


def merged(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration for an update: what is wanted, and all else as it is, marks of others included."""
    made = {**have, **wanted}
    metadata = {key: value for key, value in (have.get("metadata") or {}).items() if not key.startswith(_SERVER_MARK)}
    made["metadata"] = metadata | dict(wanted.get("metadata") or {})
    return {key: value for key, value in made.items() if not (key.startswith("filter_subject") and not value)}


def incompatible_stream(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> str | None:
    """Why a stream can not become what is wanted, and what to do (nats-server 2.14.10, stream.go, `configUpdateCheck`); None if it can."""
    name = wanted["name"]
    new = f"create a stream of another name, or delete {name} with its messages"
    before, after = have.get("retention", "limits"), wanted.get("retention", "limits")
    if before != after and "workqueue" in (before, after):
        return f"its retention is {before} and can not become {after}: {new}"
    if have.get("storage", "file") != wanted.get("storage", "file"):
        return f"its storage is {have.get('storage')} and can not become {wanted['storage']}: {new}"
    if (have.get("mirror") is None) != (wanted.get("mirror") is None):
        return f"it {'is a' if have.get('mirror') else 'is no'} mirror, which can not be changed: {new}"
    if wanted.get("mirror") is not None and not _same("mirror", wanted["mirror"], have["mirror"]):
        return f"mirror names another stream, queue, user or filter than it copies with now, which can not be changed: {new}"
    if have.get("sealed"):
        return f"it is sealed, and takes no change any more: {new}"
    return None


def incompatible_consumer(wanted: Mapping[str, Any], have: Mapping[str, Any]) -> str | None:
    """The same of a consumer (nats-server 2.14.10, consumer.go, `checkNewConsumerConfig`)."""
    name = wanted["name"]
    new = f"create a consumer of another name, or delete {name} with its place in the stream"
    for key, field in (("deliver_policy", "deliver"), ("ack_policy", "the way of acknowledging")):
        if wanted[key] != have.get(key, wanted[key]):
            return f"{field} is {have[key]} and can not become {wanted[key]}: {new}"
    if have.get("deliver_subject"):
        return f"it is a push consumer, and can not become one that is pulled from: {new}"
    return None
