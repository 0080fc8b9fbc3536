"""Maintenance windows: whether one is open, since when, and when the next one opens.

The schedule is cron's, as CronSim reads it (Debian's cron, its way with daylight saving included); time zones are the IANA's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from baas_operator.api.placement import MaintenanceWindow
from baas_operator.policy.plan import Finding

_MIDNIGHT = "0 0 * * *"


class _UnusableError(Exception):
    """A window that never opens; the message is a sentence."""


@dataclass(frozen=True)
class Windows:
    """`since`: when the one that is open now was opened; `following`: when one opens next (where none is open). Both in UTC.
    `wrong`: the first that can not be what was meant."""

    since: datetime | None = None
    following: datetime | None = None
    wrong: Finding | None = None


def look(windows: Sequence[MaintenanceWindow], now: datetime) -> Windows:
    """How it stands with these windows. One that is wrong never opens, and takes nothing from the others."""
    opened, following, wrong = [], [], None
    for number, window in enumerate(windows):
        try:
            last, coming = _openings(window, now)
        except _UnusableError as error:
            wrong = wrong or Finding("WindowInvalid", f"spec.maintenanceWindows[{number}] never opens: {error}")
            continue
        if now < last + timedelta(minutes=window.duration_minutes):
            opened.append(last)
        following.append(coming)
    return Windows(max(opened, default=None), None if opened else min(following, default=None), wrong)


def never_due(schedule: str, time_zone: str, now: datetime) -> str | None:
    """Why what runs by this cron line, or by `@daily` and the like, never would, as a sentence; None if it will."""
    try:
        _moments(_MIDNIGHT if schedule.startswith("@") else schedule, time_zone, now)
    except _UnusableError as error:
        return str(error)
    return None


def _openings(window: MaintenanceWindow, now: datetime) -> tuple[datetime, datetime]:
    """The last opening up to `now`, and the next one after it."""
    return _moments(window.schedule, window.time_zone, now)


def _moments(schedule: str, time_zone: str, now: datetime) -> tuple[datetime, datetime]:
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise _UnusableError(f"{time_zone!r} is no IANA time zone, such as Europe/Berlin or Etc/UTC.") from error
    # What opens within this very second is open; CronSim's own comparison leaves its start out.
    local = now.astimezone(zone).replace(microsecond=0)
    try:
        last = next(CronSim(schedule, local + timedelta(seconds=1), reverse=True))
        following = next(CronSim(schedule, local))
    except CronSimError as error:
        raise _UnusableError(f"{schedule!r} is no cron line of five fields ({error}), such as '0 2 * * SUN'.") from error
    except StopIteration as error:
        raise _UnusableError(f"there is no such day as {schedule!r} asks for.") from error
    return last.astimezone(UTC), following.astimezone(UTC)
