"""What came of one fault, as far as it is the same whatever was written to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.chaos.ledger import verdict

OVER_SECONDS = 180.0
"""A fault after which writes did not go on for so long is over: it is taken back."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`gap`: the longest while the fault lasted; `gap_after`: the longest from when it was taken back until the system was whole.
    `over`: writes did not go on before it was taken back. `lost`, `damaged`: by member. `before`, `after`: acknowledgements in the window
    before the longest gap of all, and in the one after it."""

    fault: str
    gap: verdict.Gap
    gap_after: verdict.Gap
    over: bool
    acked: int
    client_errors: int
    errors: tuple[str, ...]
    before: int
    after: int
    lost: dict[str, list[Any]]
    damaged: dict[str, list[int]]
    servers: list[str] = field(default_factory=list)

    @property
    def worst_seconds(self) -> float:
        return max(self.gap.seconds, self.gap_after.seconds)

    @property
    def lost_ids(self) -> set[int]:
        return {ack.id for acks in self.lost.values() for ack in acks}

    @property
    def undetectable(self) -> str:
        """Why this run could not have shown a loss; empty where it could."""
        if min(self.before, self.after) >= verdict.LEAST_ACKS:
            return ""
        return (
            f"{self.before} {self.things} were acknowledged in the {verdict.WINDOW_SECONDS:.0f} s before the gap and {self.after} in those "
            f"after it; with less than {verdict.LEAST_ACKS} a loss may have gone unseen. Errors: {self.errors[-3:]}"
        )

    @property
    def things(self) -> str:
        """What is written, in the plural."""
        raise NotImplementedError

    def told(self) -> str:
        """One line, for people."""
        seconds = f"over {OVER_SECONDS:.0f} s" if self.over else f"{self.gap.seconds:.2f} s"
        return (
            f"{seconds} without writes ({self.gap_after.seconds:.2f} s after it was taken back), {self.acked} acknowledged, "
            f"{len(self.lost_ids)} lost, {self.client_errors} client errors"
        )

    def unsafe(self) -> list[str]:
        """What may never be, whatever the fault, a sentence each."""
        found = [
            f"{member} lacks {len(acks)} of {self.acked} acknowledged {self.things}, such as {acks[:3]}"
            for member, acks in self.lost.items()
            if acks
        ]
        found += [f"{member} has damaged {self.things}: {ids[:10]}" for member, ids in self.damaged.items() if ids]
        return found
