"""For how long nobody has asked a consumer for messages, as its leader tells of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from baas_operator.observe.moments import read_time


def micro(text: Any) -> str:
    """A time of Go's without the nanoseconds, which Python's own reader does not take."""
    return re.sub(r"(\.\d{1,6})\d*", r"\1", str(text or ""))


def idle_seconds(info: Mapping[str, Any]) -> float | None:
    """Of what `CONSUMER.INFO` answers; None while somebody asks. Who pulls has a request waiting, but for moments after something was
    delivered."""
    if info.get("num_waiting"):
        return None
    times = [read_time(micro(each)) for each in (info.get("created"), (info.get("delivered") or {}).get("last_active"))]
    now, active = read_time(micro(info.get("ts"))), max(filter(None, times), default=None)
    return (now - active).total_seconds() if now and active else None
