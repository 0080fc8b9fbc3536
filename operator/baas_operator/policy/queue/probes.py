"""What the probers of a backend need of the queue that was made for it: a stream, a user and a webhook (desired/instance/publishing.py).

They are not written into the EventQueue's spec, as its lists may have somebody else's entries, and who writes a list has it whole; the
queue is kept as if its spec had them. Where its owner declares what they would need, they are left out: his count.
"""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import ValidationError

from baas_operator.api.instance.spec import Prober
from baas_operator.api.kinds import BAAS_INSTANCE, SERVICE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance import publishing
from baas_operator.desired.instance.prober import hook_url, service
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.streams import overlaps
from baas_operator.observe.view import View
from baas_operator.policy.queue.programs import uses


def with_probes(spec: EventQueueSpec, view: View) -> EventQueueSpec:
    """A queue's spec as if it declared that, where the backend that it was made for asks for it."""
    backend = next((each for each in _backends(view) if _asks(each)), None)
    if backend is None or _taken(spec):
        return spec
    name, namespace = backend["metadata"]["name"], view.owner.namespace
    more = {"streams": [*spec.streams, publishing.stream()], "users": [*spec.users, publishing.login(name)]}
    if addresses := _addresses(view, name):  # without, there is nothing yet that it could lead to
        awake = not (backend.get("spec") or {}).get("hibernate")
        hook = publishing.webhook(hook_url(name, namespace), addresses, enabled=awake)
        return spec.model_copy(update={**more, "webhooks": [*spec.webhooks, hook]})
    return spec.model_copy(update=more)


def _backends(view: View) -> list[Manifest]:
    return [
        each
        for (kind, _), each in sorted(view.others.items())
        if kind == BAAS_INSTANCE.name and not (each.get("spec") or {}).get("queueRef") and uses(each, view.resource)
    ]


def _asks(backend: Manifest) -> bool:
    try:
        said = Prober.stored((backend.get("spec") or {}).get("prober"))
    except ValidationError:  # it is told where that object is seen to
        return False
    return said.enabled and said.publish


def _taken(spec: EventQueueSpec) -> bool:
    """Whether the queue declares a stream or webhook of that name, or a stream of these subjects."""
    ours = publishing.stream()
    names = {each.name for each in spec.streams} | {each.name for each in spec.webhooks}
    return ours.name in names or any(overlaps(one, other) for each in spec.streams for one in each.subjects for other in ours.subjects)


def _addresses(view: View, backend: str) -> list[str]:
    """Of the probers' Service, as it has them."""
    there = view.other_children.get((BAAS_INSTANCE.name, backend), {}).get((SERVICE.name, service(backend))) or {}
    found = (there.get("spec") or {}).get("clusterIPs") or []
    return [each for each in found if _is_address(each)]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:  # "None", of a Service without one
        return False
    return True
