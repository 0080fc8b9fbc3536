"""Moments as text: as the API server writes them, as a status keeps them, and as others, or a hand, wrote them."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(moment: datetime, timespec: str = "seconds") -> str:
    """RFC 3339 in UTC, as the API server writes it."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def to_time(text: str) -> datetime:
    """A time that was written so. Raises ValueError where it is none."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def read_time(text: str | None) -> datetime | None:
    """A time that somebody else wrote, in UTC where it names no zone; None where it is no time."""
    try:
        made = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return made if made.tzinfo else made.replace(tzinfo=UTC)
