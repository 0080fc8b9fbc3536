"""Volumes that fill: they grow where they may, then writes are held off, and in any case somebody is told.

A PostgreSQL that has no room for its log stops, and may not start again before there is some; all members hold the same data, so that they
fill together. Transactions that only read go on where writing has been held off. What does that is `default_transaction_read_only`: a
default, which any session may set otherwise, as whoever deletes rows to make room has to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baas_operator.api.database import DatabaseReplicaSpec, DatabaseStorage
from baas_operator.desired.meta import Manifest
from baas_operator.desired.quantity import parse_bytes
from baas_operator.observe.conditions import STORAGE_PRESSURE, Condition
from baas_operator.observe.database import DatabaseObservation
from baas_operator.observe.report import Room, Volume
from baas_operator.observe.vitals import Vitals
from baas_operator.policy.placement import is_bound
from baas_operator.policy.plan import Finding

READ_ONLY = "default_transaction_read_only"
_GIB = 2**30
_OF_A_CLAIM = 0.9
"""A file system has less than its volume, but not so much less: one that does has yet to take in that the volume grew."""


@dataclass(frozen=True)
class Storage:
    """What is to be done about the volumes, and to be told. `size`: what each should have. `held_off`: why writes are; `stuck`: and it does
    not pass before somebody acts."""

    size: str
    read_only: bool = False
    held_off: Finding | None = None
    stuck: bool = False
    growing: Finding | None = None
    pressure: tuple[Condition, ...] = ()


def guard(spec: DatabaseReplicaSpec, members: Sequence[Vitals], seen: DatabaseObservation) -> Storage:
    """Judge the volumes, from what is there now."""
    volumes = {each.name: each.report.volume for each in members if each.report.volume}
    bound = [each for each in members if each.claim and is_bound(each.claim)]
    claims = [each.claim for each in bound if each.claim]
    # Where all are down, as full volumes make them, all are judged: otherwise nothing would ever grow again.
    size = _size(spec.storage, [each for each in bound if each.ready] or bound)
    unfinished = [each["metadata"]["name"] for each in claims if _capacity(each) < max(_requested(each), parse_bytes(size))]
    growing = Finding("VolumesGrowing", f"{', '.join(unfinished)} {'grows' if len(unfinished) == 1 else 'grow'} to {size}.")
    read_only = _read_only(spec, volumes.get(seen.leader or ""), seen)
    held_off = _held_off(seen.leader, volumes.get(seen.leader or "")) if read_only else None
    return Storage(
        size=size,
        read_only=read_only,
        held_off=held_off,
        stuck=held_off is not None and not unfinished,
        growing=growing if unfinished else None,
        pressure=_pressure(held_off, volumes),
    )


def _size(storage: DatabaseStorage, members: Sequence[Vitals]) -> str:
    """What each volume should have: all alike, as each member may become the primary. Judged by `members` that work: one that does not
    takes in no growth, and must not keep the others from it."""
    if storage.max_size is None:
        return storage.size
    claims = [each.claim for each in members if each.claim]
    volumes = [each.report.volume for each in members if each.report.volume]
    most = parse_bytes(storage.max_size)
    now = max([parse_bytes(storage.size), *map(_requested, claims)])
    settled = all(_capacity(each) >= now for each in claims) and all(each.size >= _OF_A_CLAIM * min(now, most) for each in volumes)
    if settled and any(each.room <= Room.DUE for each in volumes):
        now = _in_gib(max(now * 6 // 5, now + _GIB))
    return _told(min(now, most), storage)


def _in_gib(size: int) -> int:
    return -(-size // _GIB) * _GIB


def _told(size: int, storage: DatabaseStorage) -> str:
    """As a quantity, in the spec's own words where it is what they say."""
    for text in (storage.size, storage.max_size):
        if text and parse_bytes(text) == size:
            return text
    return f"{size // _GIB}Gi" if size % _GIB == 0 else f"{-(-size // 2**20)}Mi"


def _requested(claim: Manifest) -> int:
    return parse_bytes(claim["spec"]["resources"]["requests"]["storage"])


def _capacity(claim: Manifest) -> int:
    """What a claim's volume has; what it asks for where nobody has said."""
    said = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    return parse_bytes(said) if said else _requested(claim)


def _read_only(spec: DatabaseReplicaSpec, volume: Volume | None, seen: DatabaseObservation) -> bool:
    """Whether writes should be held off: from when the primary's volume is full until it has twice that room. Who does not know, changes
    nothing."""
    parameters = ((seen.dynamic_config or {}).get("postgresql") or {}).get("parameters") or {}
    now = parameters.get(READ_ONLY) == "on" and READ_ONLY not in spec.parameters
    if volume is None:
        return now
    return volume.room is Room.FULL or (now and volume.room is Room.SCARCE)


def _held_off(leader: str | None, volume: Volume | None) -> Finding:
    room = f"{volume.free // 2**20} MiB of {volume.size // 2**20} MiB are left" if volume else "it is not known what is left"
    return Finding(
        "ReadOnlyStorageFull",
        f"The volume of the primary {leader} is full ({room}), so transactions only read unless they say otherwise. Make spec.storage.size "
        "larger; or make room, in transactions that begin with BEGIN READ WRITE.",
    )


def _pressure(held_off: Finding | None, volumes: dict[str, Volume]) -> tuple[Condition, ...]:
    if held_off:
        return (Condition(STORAGE_PRESSURE, True, held_off.reason, held_off.message),)
    short = [
        f"{name} ({(each.size - each.free) * 100 // each.size} % used)" for name, each in sorted(volumes.items())
        if each.room <= Room.NEARLY_FULL
    ]  # fmt: skip
    if not short:
        return ()
    message = (
        f"Nearly full: {', '.join(short)}. Make spec.storage.size larger, or set spec.storage.maxSize where volumes can grow; before the "
        "primary's is full, writes are held off."
    )
    return (Condition(STORAGE_PRESSURE, True, "StorageNearlyFull", message),)
