"""Fleet -> tree: what `kubectl baas status` shows, still without a terminal.

A node is a row of cells; members, servers, streams and components are aligned into columns. Styles are words with a meaning
(`good`, `bad`, …) that show.py turns into colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from baas_operator.api.database import Member
from kubectl_baas.health import complaints
from kubectl_baas.text import age, human_bytes, parse_time, plural
from kubectl_baas.views import DatabaseView, Fleet, InstanceView, ObjectView, OperationView, OperatorView, QueueView

Style = Literal["plain", "name", "dim", "good", "warn", "bad"]

_OPERATIONS_WIDE = 3
"""Finished Operations that `-o wide` shows: enough to see when the last switchover was."""


@dataclass(frozen=True)
class Cell:
    """A piece of a row."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True)
class Node:
    """A row and what is below it."""

    cells: tuple[Cell, ...]
    children: tuple[Node, ...] = ()

    def text(self) -> str:
        """The row without styles."""
        return "  ".join(cell.text for cell in self.cells).rstrip()


@dataclass(frozen=True)
class _Look:
    """How much is shown. `now` is for ages."""

    wide: bool
    namespaces: bool
    now: datetime


def build_trees(fleet: Fleet, *, now: datetime, wide: bool = False, namespaces: bool = False) -> list[Node]:
    """One tree per object at the top, and before them what is to be known of all. `namespaces`: names are shown with theirs."""
    look = _Look(wide=wide, namespaces=namespaces, now=now)
    return [
        *_stale(fleet.operator, now),
        *(_instance(each, look) for each in fleet.instances),
        *(_database(each, look, top=True) for each in fleet.databases),
        *(_queue(each, look, top=True) for each in fleet.queues),
    ]


def _stale(operator: OperatorView | None, now: datetime) -> Iterator[Node]:
    """What is shown was written by the operator: without it nothing of it need be so any more."""
    if operator is None or operator.running:
        return
    since = "it has left no Lease"
    if operator.last_seen:
        since = f"this is as of {parse_time(operator.last_seen).astimezone(UTC):%H:%M:%S} UTC, {age(operator.last_seen, now)} ago"
    yield Node((Cell("! the operator is not running", "bad"), Cell(f"{since}; what runs goes on. `kubectl baas doctor` says more.")))


def _instance(view: InstanceView, look: _Look) -> Node:
    more = [Cell(view.engine or "", "dim")]
    if view.endpoint:
        more.append(Cell(view.endpoint, "dim"))
    components = [
        Node(
            (
                Cell(each.name),
                _count(each.ready, each.replicas),
                Cell(plural(each.zones, "zone")),
                Cell(each.reason or "", "bad" if each.ready == 0 else "warn"),
            ),
        )
        for each in view.components
    ]
    below = [*_remarks(view, look), *_align(components)]
    below += [_database(view.database, look, top=False), _queue(view.queue, look, top=False)]
    return Node((*_head(view, look, top=True), *more), tuple(below))


def _database(view: DatabaseView, look: _Look, *, top: bool) -> Node:
    if not view.exists:
        return _absent(view, look, top=top)
    more = [
        Cell(f"primary {view.primary}") if view.primary else Cell("no primary", "bad"),
        _counted(view.ready_replicas, view.replicas, "members"),
        Cell(plural(view.zones, "zone")),
    ]
    members = [
        Node(
            (
                Cell(each.name, "name" if each.role == "primary" else "plain"),
                Cell(each.zone or "no zone", "plain" if each.zone else "warn"),
                Cell(each.role, "warn" if each.role == "unknown" else "plain"),
                *_said(each),
                Cell(f"timeline {each.timeline}" if each.timeline is not None else "", "dim"),
                Cell(f"lag {human_bytes(each.lag_bytes)}" if each.lag_bytes is not None else "",
                     "warn" if each.lag_bytes else "dim"),
            ),
        )
        for each in view.members
    ]  # fmt: skip
    running = [each for each in view.operations if each.running]
    over = [each for each in view.operations if not each.running]
    shown = [*running, *(over[:_OPERATIONS_WIDE] if look.wide else ())]
    below = [*_remarks(view, look), *_align(members), *(_operation(each, look) for each in shown)]
    return Node((*_head(view, look, top=top), *more), tuple(below))


def _queue(view: QueueView, look: _Look, *, top: bool) -> Node:
    if not view.exists:
        return _absent(view, look, top=top)
    more = [_counted(view.ready_replicas, view.replicas, "servers"), Cell(plural(view.zones, "zone"))]
    if look.wide and view.loss_window_seconds is not None:
        more.append(Cell(f"loss window {view.loss_window_seconds} s", "dim"))
    servers = [
        Node(
            (
                Cell(each.name, "name" if each.meta_leader else "plain"),
                Cell(each.zone or "no zone", "plain" if each.zone else "warn"),
                _readiness(each.ready),
                Cell("meta leader" if each.meta_leader else ""),
            ),
        )
        for each in view.servers
    ]
    streams = [
        Node(
            (
                Cell(f"stream {each.name}"),
                _count(each.current, each.replicas, " current"),
                Cell(plural(each.zones, "zone")),
                Cell(f"leader {each.leader}") if each.leader else Cell("no leader", "bad"),
            ),
        )
        for each in view.streams
    ]
    return Node((*_head(view, look, top=top), *more), (*_remarks(view, look), *_align(servers), *_align(streams)))


_NOUN = {"DatabaseReplica": "database", "EventQueue": "queue"}


def _head(view: ObjectView, look: _Look, *, top: bool) -> list[Cell]:
    if not top:
        made = [Cell(f"{_NOUN[view.kind]} {view.name}", "name")]
    else:
        made = [Cell(f"{view.namespace}/{view.name}" if look.namespaces else view.name, "name"), Cell(view.kind)]
    made.append(Cell("Ready", "good") if view.ready else Cell("Not Ready", "bad"))
    if view.suspended:
        made.append(Cell("suspended", "warn"))
    if look.wide and view.created_at:
        made.append(Cell(f"age {age(view.created_at, look.now)}", "dim"))
    return made


def _absent(view: ObjectView, look: _Look, *, top: bool) -> Node:
    return Node((*_head(view, look, top=top), Cell(view.message or "", "bad")))


def _remarks(view: ObjectView, look: _Look) -> list[Node]:
    """Why it is not ready, and each further condition that is not good; with `wide`, all conditions."""
    made = []
    if not view.ready:
        made.append(Node((Cell(f"! {view.reason or 'Unknown'}", "bad"), Cell(view.message or ""))))
    bad = {each.type for each in complaints(view.conditions)}
    for each in view.conditions:
        if each.type in bad:
            style: Style = "bad" if each.type == "Stalled" else "warn"
            head = Cell(f"! {each.type}={each.status} {each.reason}", style)
        elif look.wide and (each.type != "Ready" or view.ready):
            head = Cell(f"{each.type}={each.status} {each.reason}", "good")
        else:
            continue
        since = Cell(f"since {age(each.last_transition_time, look.now)}", "dim")
        made.append(Node((head, *([since] if look.wide else []), Cell(each.message))))
    return made


def _operation(view: OperationView, look: _Look) -> Node:
    styles: dict[str, Style] = {"Succeeded": "good", "Refused": "warn", "Failed": "bad"}
    cells = [
        Cell(f"{view.action} {view.name}"),
        Cell(view.phase, styles.get(view.phase, "warn")),
        Cell(f"{age(view.created_at, look.now)} ago", "dim"),
    ]
    result = view.result
    if result and result.to_member:
        cells.append(Cell(f"{result.from_member or '?'} -> {result.to_member}"))
    if result and result.duration_seconds is not None:
        cells.append(Cell(f"{result.duration_seconds:.1f} s"))
    if view.phase != "Succeeded" and view.message:
        cells.append(Cell(view.message))
    return Node(tuple(cells))


def _count(there: int, wanted: int, unit: str = "") -> Cell:
    style: Style = "good" if there >= wanted else "bad" if there == 0 else "warn"
    return Cell(f"{there}/{wanted}{unit}", style)


def _counted(there: int, wanted: int | None, unit: str) -> Cell:
    return _count(there, wanted, f" {unit}") if wanted is not None else Cell(f"{there} {unit}")


def _readiness(ready: bool) -> Cell:
    return Cell("ready", "good") if ready else Cell("not ready", "bad")


def _said(member: Member) -> tuple[Cell, Cell]:
    """A member's state and readiness. Of one whose role is not known that is what was last heard: for most of a minute after its node lost
    power, its pod counts as ready."""
    if member.role == "unknown" and member.ready:
        return Cell(f"{member.state}, as last heard", "warn"), Cell("")
    return Cell(member.state), _readiness(member.ready)


def _align(rows: Iterable[Node]) -> list[Node]:
    """Pad cells so that rows of one table stand in columns; a column that is empty in every row goes."""
    rows = list(rows)
    columns = range(max((len(row.cells) for row in rows), default=0))
    widths = [max(len(row.cells[i].text) for row in rows) for i in columns]
    return [
        replace(
            row,
            cells=tuple(replace(cell, text=cell.text.ljust(width)) for cell, width in zip(row.cells, widths, strict=True) if width),
        )
        for row in rows
    ]
