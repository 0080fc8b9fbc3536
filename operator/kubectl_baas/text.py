"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse_time(text: str) -> datetime:
    """An RFC 3339 time, as the API server writes them."""
    made = datetime.fromisoformat(text)
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def age(since: str, now: datetime) -> str:
    """How long ago, in the two largest units, as kubectl does: `3d4h`, `5m`, `12s`."""
    try:
        seconds = max(0, int((now - parse_time(since)).total_seconds()))
    except ValueError:
        return "?"
    for index, (unit, size) in enumerate(_UNITS[:-1]):
        if seconds >= size:
            more, length = _UNITS[index + 1]
            rest = seconds % size // length
            return f"{seconds // size}{unit}" + (f"{rest}{more}" if rest and seconds < 10 * size else "")
    return f"{seconds}s"


def human_bytes(amount: int) -> str:
    """Bytes with a binary unit; the API tells lag in whole MiB."""
    if amount == 0:
        return "0"
    value = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def plural(count: int, noun: str) -> str:
    """`1 zone`, `3 zones`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
