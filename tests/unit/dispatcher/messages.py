"""A message, as tests need one."""

from __future__ import annotations

from datetime import UTC, datetime

from baas_operator.dispatcher.request import Message


def message(*, payload: bytes = b'{"a":1}', subject: str = "orders.new", **headers: str) -> Message:
    """A message; headers by their names in small letters, `_` for `-`."""
    return Message(
        "orders", 7, subject, payload, {name.replace("_", "-"): value for name, value in headers.items()}, datetime(2026, 1, 2, tzinfo=UTC)
    )
