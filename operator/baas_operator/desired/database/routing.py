"""Services and the hand-written EndpointSlice of `-rw`.

A Service that selects on a role label goes on sending clients to a dead primary until its node is declared lost (measured: half
of all connections, for 50 s). So `-rw` has no selector; the new leader's own agent writes its EndpointSlice on promotion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from baas_operator.desired.database import names
from baas_operator.desired.meta import ROLE_LABEL, Manifest, Owner
from baas_operator.desired.pods import scrape, service


@dataclass(frozen=True)
class Endpoint:
    """Where a member can be reached."""

    pod: str
    ip: str
    node: str | None = None
    zone: str | None = None


def endpoints(target: Endpoint | None, namespace: str) -> list[dict[str, Any]]:
    """The `endpoints` of the `-rw` slice: one, or none while there is no primary."""
    if target is None:
        return []
    made: dict[str, Any] = {
        "addresses": [target.ip],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "name": target.pod, "namespace": namespace},
    }
    if target.node:
        made["nodeName"] = target.node
    if target.zone:
        made["zone"] = target.zone
    return [made]


def build_routing(owner: Owner, *, current: Manifest | None, leader: Endpoint | None, gone: frozenset[str] = frozenset()) -> list[Manifest]:
    """The Services and the `-rw` slice.

    `current` is the slice as it is: its endpoints belong to the leader's agent and are kept, unless there are none and the leader
    is known, or they lead to an address that no member has (`gone`): the network may give it to anybody's pod, which clients would tell
    their passwords. A precondition on its version keeps a late write of ours from undoing a newer one of an agent.
    """
    name = owner.name
    ports = {"postgresql": names.POSTGRES_PORT}
    selector = owner.selector(names.COMPONENT)
    present = [each for each in (current or {}).get("endpoints") or [] if not gone.intersection(each.get("addresses") or [])]
    rw = owner.child(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        names.rw_service(name),
        names.COMPONENT,
        labels={
            "kubernetes.io/service-name": names.rw_service(name),
            "endpointslice.kubernetes.io/managed-by": "baas-operator.io",
        },
        addressType="IPv4",
        ports=[{"name": "postgresql", "port": names.POSTGRES_PORT, "protocol": "TCP"}],
        endpoints=present or endpoints(leader, owner.namespace),
    )
    if current is not None:
        rw["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
    return [
        service(owner, names.rw_service(name), names.COMPONENT, ports, selector=None),
        rw,
        service(owner, names.ro_service(name), names.COMPONENT, ports, selector=selector | {ROLE_LABEL: "standby"}),
        service(owner, names.any_service(name), names.COMPONENT, ports, selector=selector),
        service(
            owner, names.pods_service(name), names.COMPONENT, ports | {"patroni": names.PATRONI_PORT},
            selector=selector, headless=True, not_ready=True, annotations=scrape(names.PATRONI_PORT),
        ),
    ]  # fmt: skip
