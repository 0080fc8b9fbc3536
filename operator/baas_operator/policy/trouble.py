"""What is the matter with standbys: what they do not get over by themselves, and since when.

It is noted in `status.members[].trouble`, and each look goes on from what the last one noted: an operator that starts forgets no time, and
a member that gets a step further begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from baas_operator.api.common import ApiModel
from baas_operator.api.database import Repaired, Trouble
from baas_operator.observe.database import DatabaseObservation
from baas_operator.observe.moments import to_text, to_time
from baas_operator.observe.vitals import Vitals

NOT_STARTING, NOT_FOLLOWING, NODE_GONE = "NotStarting", "NotFollowing", "NodeGone"
SEGMENT_BYTES = 16 * 2**20
"""The log is thrown away by the segment (PostgreSQL's default wal_segment_size): who is not one behind lacks none that is gone."""
_FAILED = frozenset({"crashed", "start failed", "restart failed", "stopped"})
"""Patroni's words (its source, postgresql/misc.py) for a PostgreSQL that is down."""


def find_troubles(members: Sequence[Vitals], seen: DatabaseObservation, before: Mapping[str, Any], now: datetime) -> dict[str, Trouble]:
    """What the members do not get over, by name. `before`: what the last look noted."""
    found = {}
    for each in members:
        old = read_noted(Trouble, before.get(each.name))
        reason = _reason(each, seen)
        if reason is None:
            if old and _goes_on(old, each, seen):
                found[each.name] = old
            continue
        position = each.position if reason == NOT_FOLLOWING else None
        same = old is not None and (old.reason, old.position) == (reason, position)
        found[each.name] = old if same and old else Trouble(reason=reason, since=to_text(now), position=position)
    return found


def _goes_on(trouble: Trouble, member: Vitals, seen: DatabaseObservation) -> bool:
    """Whether what looks better for a moment is no better: between two failures it starts, and between two refusals it seems to stream
    (seen with PostgreSQL: at 15 of 1000 looks, while the primary refused what it asked for four times a second)."""
    if trouble.reason == NOT_STARTING:
        return member.state == "starting"
    return trouble.reason == NOT_FOLLOWING and member.streams and member.position == trouble.position and _is_behind(member, seen)


def _is_behind(member: Vitals, seen: DatabaseObservation) -> bool:
    return member.position is not None and (seen.position or 0) - member.position >= SEGMENT_BYTES


def _reason(member: Vitals, seen: DatabaseObservation) -> str | None:
    if member.goes or member.name == seen.leader:
        return None
    if member.lost_node:
        return NODE_GONE
    if not member.runs or member.streams:
        return None
    if member.state in _FAILED:
        return NOT_STARTING
    return NOT_FOLLOWING if member.state == "running" and _is_behind(member, seen) else None


_M = TypeVar("_M", bound=ApiModel)


def read_noted(model: type[_M], found: object) -> _M | None:
    """A part of the status as an earlier look wrote it; none where another version, or a hand, wrote something else."""
    try:
        made = model.stored(found)
        if isinstance(made, (Trouble, Repaired)):
            to_time(made.since if isinstance(made, Trouble) else made.at)
    except (ValidationError, ValueError):
        return None
    return made
