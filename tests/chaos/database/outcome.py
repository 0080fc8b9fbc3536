"""What came of a fault of a database: from the client's log, and what each member has. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.ledger import verdict
from tests.chaos.ledger.log import Ack, Log
from tests.chaos.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class DatabaseOutcome(Outcome):
    """`former`: rows that a former primary acknowledged; `at_once`: two servers that did by turns on one timeline."""

    former: list[tuple[Ack, Ack]]
    at_once: list[tuple[int, str, str]]
    stale: int
    stale_seconds: float

    @property
    def things(self) -> str:
        return "rows"

    def told(self) -> str:
        return f"{super().told()}, {self.stale} stale reads in {self.stale_seconds:.1f} s"

    def unsafe(self) -> list[str]:
        found = super().unsafe()
        if self.former:
            late, newer = self.former[0]
            found.append(f"A former primary acknowledged {len(self.former)} rows: {late}, begun after {newer}")
        found += [f"{one} and {other} both acknowledged on timeline {timeline}" for timeline, one, other in self.at_once]
        if self.undetectable:
            found.append(self.undetectable)
        return found


def judge(name: str, log: Log, rows: dict[str, dict[int, str]], *, began: float, healed: float, over: bool) -> DatabaseOutcome:
    """The outcome, from the client's log and what each member has; times of CLOCK_MONOTONIC."""
    during, afterwards = verdict.longest_gap(log, began, healed), verdict.longest_gap(log, healed)
    before, after = verdict.acks_around(log, max(during, afterwards, key=lambda gap: gap.seconds))
    failures = [each for each in log.failures if each.ended >= began]
    servers = list(dict.fromkeys(f"{ack.server}/{ack.timeline}" for ack in log.acks))
    return DatabaseOutcome(
        fault=name, gap=during, gap_after=afterwards, over=over, acked=len(log.acks), client_errors=len(failures),
        errors=tuple(dict.fromkeys(each.error for each in failures)), before=before, after=after,
        lost={member: verdict.lost(log, each) for member, each in rows.items()},
        damaged={member: verdict.damaged(each) for member, each in rows.items()},
        former=verdict.acks_of_a_former_primary(log), at_once=verdict.primaries_at_once(log),
        stale=len(verdict.stale_reads(log)), stale_seconds=verdict.stale_seconds(log), servers=servers,
    )  # fmt: skip
