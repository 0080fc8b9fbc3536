"""An event: its number, and as much beside it as events have. Pure."""

from __future__ import annotations

import json

_REST = {"type": "order.created", "data": {"customer": "c" * 36, "lines": [{"article": number, "count": 1} for number in range(5)]}}


def body(event: int) -> bytes:
    """Its payload, of some 250 bytes."""
    return json.dumps({"event": event, **_REST}).encode()


def number(payload: bytes) -> int:
    """The event of a payload. Raises ValueError, or KeyError."""
    return int(json.loads(payload)["event"])
