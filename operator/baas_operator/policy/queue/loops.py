"""Copies that would bring a message back to where it came from, and so round for ever.

JetStream copies whatever a stream has, and what was copied into it is no exception. Of one message two streams that are sources of each
other made a thousand more each second (measured on 2.15.2), until their limits throw away all else. One with a `Nats-Msg-Id` is stopped
where it comes back, but only within the duplicate window, and so not after an outage. The server sees a circle within one queue alone, and
there not through filters that the subjects of its streams do not meet (nats-server 2.14.10, stream.go, "detected cycle").

So a copy that would close a circle is not begun. What is copied already goes on, as somebody else may have closed it: whoever can write
another queue's spec must not be able to stop this one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import Copy, Stream
from baas_operator.desired.queue.remotes import domain_of, within_cluster
from baas_operator.desired.queue.streams import meet
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View

Place = tuple[str, str, str]
"""Namespace, queue, stream."""
_ANY = ">"
_MOST = 1000
"""So many ways back are followed for a copy; who draws more is left to the server's own look."""


def loops(spec: EventQueueSpec, view: View, state: JetStreamState) -> dict[str, str]:
    """Stream -> why it can not be copied as asked, as a sentence without its name. What other queues copy is what their specs say."""
    namespace, queue = view.owner.namespace, view.owner.name
    upstream: dict[Place, list[tuple[Place, list[str]]]] = {}
    for (there, name), other in {**_specs(view), (namespace, queue): spec}.items():
        for stream in other.streams:
            upstream[(there, name, stream.name)] = _origins(stream, there, name)
    found = {}
    for stream in spec.streams:
        if stream.name in state.silent:
            continue
        live = state.streams.get(stream.name)
        under_way = _under_way(live.config) if live else set()
        here = (namespace, queue, stream.name)
        for copy in _copies(stream):
            origin = _origin(copy, namespace, queue)
            if origin is None or _as_told(copy, namespace) in under_way:
                continue
            way = _way_back(here, origin, copy.filters, upstream)
            if way is not None:
                named = ", which copies from ".join([_named(each, here) for each in [*way, here]])
                found[stream.name] = (
                    f"it would copy from {named}: a message would go round for ever. Give `filters` that let none all the way round, or "
                    "take one of these copies out"
                )
    return found


def _specs(view: View) -> dict[tuple[str, str], EventQueueSpec]:
    found = {}
    for key, other in view.queues.items():
        try:
            found[key] = EventQueueSpec.stored(other.get("spec"))
        except ValidationError:  # of an older version: it is told where it belongs, and has to hold up nothing here
            continue
    return found


def _copies(stream: Stream) -> list[Copy]:
    return [*([stream.mirror] if stream.mirror else []), *stream.sources]


def _origins(stream: Stream, namespace: str, queue: str) -> list[tuple[Place, list[str]]]:
    return [(origin, each.filters) for each in _copies(stream) if (origin := _origin(each, namespace, queue))]


def _origin(copy: Copy, namespace: str, queue: str) -> Place | None:
    """Where a stream is copied from; None if that is outside of this cluster."""
    if copy.queue is None:
        return (namespace, queue, copy.stream)
    other = within_cluster(copy.queue, namespace)
    return (*other, copy.stream) if other else None


def _way_back(
    here: Place, origin: Place, filters: Iterable[str], upstream: Mapping[Place, list[tuple[Place, list[str]]]]
) -> list[Place] | None:
    """From where it is copied on to what comes last before `here`, on a way on which some subject passes all filters."""
    if origin == here:
        return []
    seen: set[tuple[Place, str]] = set()
    todo = deque((origin, each, [origin]) for each in filters or [_ANY])
    while todo and len(seen) < _MOST:
        place, subject, way = todo.popleft()
        if (place, subject) in seen:
            continue
        seen.add((place, subject))
        for further, passes in upstream.get(place, []):
            for each in passes or [_ANY]:
                if (left := meet(subject, each)) is None:
                    continue
                if further == here:
                    return way
                todo.append((further, left, [*way, further]))
    return None


def _named(place: Place, here: Place) -> str:
    namespace, queue, stream = place
    return stream if (namespace, queue) == here[:2] else f"{stream} of {queue} in {namespace}"


def _as_told(copy: Copy, namespace: str) -> tuple[str, str, frozenset[str]]:
    """A copy as one that is under way is told of."""
    return copy.stream, f"$JS.{domain_of(copy.queue, namespace)}.API" if copy.queue else "", frozenset(copy.filters)


def _under_way(config: Mapping[str, Any]) -> set[tuple[str, str, frozenset[str]]]:
    told = [*([config["mirror"]] if config.get("mirror") else []), *(config.get("sources") or [])]
    return {
        (
            str(each.get("name")),
            str((each.get("external") or {}).get("api") or ""),
            frozenset([each["filter_subject"]] if each.get("filter_subject") else _transformed(each)),
        )
        for each in told
    }


def _transformed(told: Mapping[str, Any]) -> list[str]:
    return [str(each.get("src")) for each in told.get("subject_transforms") or []]
