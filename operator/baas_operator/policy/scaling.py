"""What of a spec can be had now: as many members as may go, and a durability that the zones can give.

A scale-in takes the members with the highest numbers. One goes at a time, and only while those that stay make up for it: the primary is
one of them, they stream and confirm commits, and with zone-quorum they are in two zones. Volumes stay (`whenScaled: Retain`), and are
taken up again, rewound if need be, by a member of the same number. So does the member itself, while there is no primary and the others
may need what it confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baas_operator.api.database import MAX_MEMBERS, DatabaseReplicaSpec, Durability
from baas_operator.api.kinds import VOLUME_CLAIM
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.observe.database import DatabaseObservation
from baas_operator.observe.text import counted
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding
from baas_operator.policy.rollout import behind


@dataclass(frozen=True)
class Possible:
    """`spec`: what can be had now. `told`: why that is not what was asked for; `stuck`: and somebody has to change that; `soon`: and it is
    what this very plan puts right."""

    spec: DatabaseReplicaSpec
    told: Finding | None = None
    stuck: bool = False
    soon: bool = False


def zones_missing(spec: DatabaseReplicaSpec, view: View) -> Finding | None:
    """Why the zones can not give the durability."""
    zones = view.zones(spec.placement)
    if spec.durability is Durability.ZONE_QUORUM and len(zones) < 2:
        return Finding(
            "ZonesInsufficient",
            f"durability zone-quorum needs nodes in two zones at least and there are {len(zones)}{_chosen(spec)}: label the nodes with "
            "topology.kubernetes.io/zone, or set spec.durability to quorum.",
        )
    return None


def _chosen(spec: DatabaseReplicaSpec) -> str:
    return " with those that spec.placement.nodeSelector leaves" if spec.placement.node_selector else ""


def possible(spec: DatabaseReplicaSpec, view: View, workload: Manifest | None, seen: DatabaseObservation, *, busy: bool) -> Possible:
    """What can be had of a spec for a database that exists. `busy`: an Operation is under way."""
    now = _durability_now(seen)
    if now is not None and spec.durability is not now and (refused := zones_missing(spec, view) or _members_in_one_zone(spec, seen)):
        # Commits would wait for ever. What runs keeps what it has, and all else of the spec is brought about.
        kept = spec.model_copy(update={"durability": now})
        return Possible(_sized(kept, view, workload, seen, busy=busy).spec, refused, stuck=True)
    return _sized(spec, view, workload, seen, busy=busy)


def _members_in_one_zone(spec: DatabaseReplicaSpec, seen: DatabaseObservation) -> Finding | None:
    """Members stay where their volumes are, whatever zones there are by now."""
    zones = {each.zone for each in seen.members}
    if spec.durability is not Durability.ZONE_QUORUM or None in zones or len(zones) != 1:
        return None
    return Finding(
        "ZonesInsufficient",
        f"durability zone-quorum needs members in two zones at least, and all are in {zones.pop()}: set spec.replicas higher first, for a "
        "member in another zone, or spec.durability to quorum.",
    )


def _durability_now(seen: DatabaseObservation) -> Durability | None:
    """What commits wait for now; None while there is nothing that they could."""
    if seen.strict:
        return Durability.ZONE_QUORUM
    mode = (seen.dynamic_config or {}).get("synchronous_mode")
    return {"off": Durability.ASYNC, "quorum": Durability.QUORUM}.get(mode) if isinstance(mode, str) else None


def _sized(spec: DatabaseReplicaSpec, view: View, workload: Manifest | None, seen: DatabaseObservation, *, busy: bool) -> Possible:
    have = ((workload or {}).get("spec") or {}).get("replicas")
    if not isinstance(have, int):
        return Possible(spec)
    kept = spec.model_copy(update={"replicas": have})
    if back := _voters_gone(max(have, spec.replicas), view, seen):
        what = f"{_listed(back)} {'comes' if len(back) == 1 else 'come'} back: there is no primary, and without what was confirmed there"
        return Possible(
            spec.model_copy(update={"replicas": names.ordinal(back[-1]) + 1}), Finding("ScalingIn", f"{what} nobody may become one.")
        )
    if spec.replicas > have and (count := _confirmations_first(spec, view, seen)):
        what = f"{have} members become {spec.replicas} once commits wait for {counted(count, 'standby')}, as some will share a zone."
        return Possible(kept, Finding("ScalingOut", what), soon=True)
    if spec.replicas >= have:
        return Possible(spec)
    if refused := _too_close(spec, seen):
        return Possible(kept, refused, stuck=True)
    what = f"{have} members become {spec.replicas}, one at a time."
    if why := _hindrance(spec, have, seen, busy=busy):
        return Possible(kept, Finding("ScalingIn", f"{what} It goes on once {why}."))
    return Possible(spec.model_copy(update={"replicas": have - 1}), Finding("ScalingIn", f"{what} {_member(workload, have - 1)} goes now."))


def _voters_gone(replicas: int, view: View, seen: DatabaseObservation) -> list[str]:
    """Members that a scale-in took before Patroni had struck them off, while there is no primary that could: the others may be waiting
    for them for ever. Where the volume is gone as well there is nothing to come back with."""
    if seen.leader is not None:
        return []
    numbers = [number for each in seen.sync_standbys if (number := names.ordinal(each)) >= replicas]
    members = [f"{view.owner.name}-{number}" for number in sorted(numbers) if number < MAX_MEMBERS]
    return [each for each in members if each in seen.sync_standbys and view.child(VOLUME_CLAIM, f"data-{each}")]


def _confirmations_first(spec: DatabaseReplicaSpec, view: View, seen: DatabaseObservation) -> int:
    """How many standbys commits have to wait for before there are more members; 0 if they do. A new one may be beside the primary, and
    confirm commits, before anybody sees where it is."""
    if spec.durability is not Durability.ZONE_QUORUM or not seen.dynamic_config:
        return 0
    wanted, now = seen.members_per_zone(spec.replicas, len(view.zones(spec.placement))), seen.dynamic_config.get("synchronous_node_count")
    return 0 if isinstance(now, int) and now >= wanted else wanted


def _member(workload: Manifest | None, number: int) -> str:
    assert workload is not None
    return f"{workload['metadata']['name']}-{number}"


def _too_close(spec: DatabaseReplicaSpec, seen: DatabaseObservation) -> Finding | None:
    staying = [each for each in seen.members if names.ordinal(each.name) < spec.replicas]
    zones = {each.zone for each in staying}
    if spec.durability is not Durability.ZONE_QUORUM or len(staying) < spec.replicas or None in zones or len(zones) > 1:
        return None
    return Finding(
        "ScaleInRefused",
        f"The members that would stay, {_listed([each.name for each in staying])}, are all in {staying[0].zone}, and durability "
        "zone-quorum needs two zones: set spec.replicas higher again, or spec.durability to quorum.",
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _hindrance(spec: DatabaseReplicaSpec, have: int, seen: DatabaseObservation, *, busy: bool) -> str:
    """Why the member with the highest number may not go now; empty if it may."""
    if busy:
        return "the Operation that is under way is over"
    if going := [each.name for each in seen.members if names.ordinal(each.name) >= have]:
        return f"{going[-1]} is gone"
    if seen.primary is None or not seen.routed_to_leader:
        return "there is a primary"
    if names.ordinal(seen.primary.name) >= spec.replicas:
        return f"the primary has moved away from {seen.primary.name}"
    staying = {names.ordinal(each.name): each for each in seen.members if names.ordinal(each.name) < spec.replicas}
    if len(staying) < spec.replicas:
        return f"all {spec.replicas} that stay are there"
    for each in staying.values():
        if not each.ready:
            return f"{each.name} is ready"
        if each is not seen.primary and (why := behind(spec, each, seen)):
            return why
    return ""
