"""A LimitRange that would keep pods from being made: the API server gives its `default` to containers without a limit, and refuses those
that request more (Kubernetes documentation, "Limit Ranges"). It looks at pods that are made anew alone, so such a one would be found out by
the next drain, which a database's member would not come back from. It is told, and what was there before stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from baas_operator.api.group import API_VERSION
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE, LIMIT_RANGE
from baas_operator.desired.instance import names
from baas_operator.desired.meta import Manifest
from baas_operator.desired.quantity import parse
from baas_operator.desired.render import render
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding


@dataclass(frozen=True)
class _Request:
    """What a container asks for; `whose`: what people call it."""

    whose: str
    amount: str


def limits_too_low(spec: BaasInstanceSpec, view: View, made: Iterable[Manifest]) -> Finding | None:
    """Why the LimitRange of a spec is not made. `made`: all of the backend's own manifests, also those that may not be there yet."""
    default = spec.isolation.limit_range and spec.isolation.limit_range.default
    if not default:
        return None
    workloads = [*made, *_of_others(spec, view)]
    for key, limit in default.model_dump(exclude_none=True).items():
        largest = max(_requests(workloads, key), key=lambda each: parse(each.amount), default=None)
        if largest is not None and parse(largest.amount) > parse(limit):
            return Finding(
                "LimitsTooLow",
                f"spec.isolation.limitRange.default.{key} is {limit}, and {largest.whose} requests {largest.amount} and has no limit of "
                f"its own, so the API server would refuse its next pod: set it to {largest.amount} at least. Until then the LimitRange is "
                "left as it was.",
            )
    return None


def without_low_limits(manifests: Iterable[Manifest], view: View) -> tuple[Manifest, ...]:
    """The manifests with the LimitRange that is there, or none."""
    found = (_as_it_is(each, view) if each["kind"] == LIMIT_RANGE.name else each for each in manifests)
    return tuple(each for each in found if each is not None)


def _as_it_is(manifest: Manifest, view: View) -> Manifest | None:
    live = view.child(LIMIT_RANGE, manifest["metadata"]["name"])
    return {**manifest, "spec": live["spec"]} if live else None


def _of_others(spec: BaasInstanceSpec, view: View) -> Iterator[Manifest]:
    """What the database and the queue are made of by their specs, as they are in the same namespace; before they are there, by defaults."""
    owner = view.owner
    for kind, name in ((DATABASE_REPLICA, names.database_name(owner.name, spec)), (EVENT_QUEUE, names.queue_name(owner.name, spec))):
        new: Manifest = {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": name, "namespace": owner.namespace}}
        try:
            yield from render(view.others.get((kind.name, name), new), view.images)
        except ValueError:  # it is told where that object is seen to
            continue


def _requests(workloads: Iterable[Manifest], key: str) -> Iterator[_Request]:
    """What containers request that have no limit."""
    for each in workloads:
        pod = _pod(each)
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            said = container.get("resources") or {}
            amount = (said.get("requests") or {}).get(key)
            if amount is not None and key not in (said.get("limits") or {}):
                yield _Request(f"container {container['name']} of {each['kind']} {each['metadata']['name']}", str(amount))


def _pod(workload: Manifest) -> dict[str, Any]:
    spec = workload.get("spec") or {}
    spec = (spec.get("jobTemplate") or {}).get("spec") or spec
    found: dict[str, Any] = (spec.get("template") or {}).get("spec") or {}
    return found
