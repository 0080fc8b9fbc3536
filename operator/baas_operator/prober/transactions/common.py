"""What all engines' transactions have in common."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from baas_operator.prober.client import Client

LEFT_OVER = timedelta(hours=2)
"""What nobody has written for so long is of a prober that is gone: the longest interval is an hour."""


class Result(StrEnum):
    """How a transaction succeeded."""

    OK = "ok"
    DEGRADED = "degraded"
    """It was answered by a standby, while there was no primary."""


class Transactions(Protocol):
    """Those of one engine."""

    def all(self) -> Mapping[str, Callable[[Client], Awaitable[Result | None]]]:
        """Name -> what is done. It raises Failure, or ConfigError where a key is missing."""
        ...

    async def clean_up(self, client: Client) -> None:
        """Remove what is left of this prober. Raises as above."""
        ...


def drawn() -> str:
    """A value that nobody else writes."""
    return secrets.token_hex(16)
