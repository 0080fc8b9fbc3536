"""What came of a fault of a queue: from the client's log, and what each server has on its own disk. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.ledger import messages, verdict
from tests.chaos.ledger.messages import Log, Stored
from tests.chaos.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class QueueOutcome(Outcome):
    """`lost_seconds`: how far back from the last acknowledgement before the gap lost messages had been acknowledged.
    `loss_window_seconds`: how far they may, as the queue itself says, None where nothing is promised. `rate`: acknowledged messages a
    second before the gap. `again`: acknowledgements of what JetStream knew already.
    `duplicates`: ids that the stream has twice although it should have known them; `late_duplicates`: those that came after that. `unlike`:
    places in the stream that servers have different messages in. `redelivered`: deliveries to readers beyond the first of each message;
    `undelivered`: acknowledged messages that are kept and that no reader got. `made`: how often the stream had to be made anew.
    `stuck`: servers whose copy could not be read, with why."""

    lost_seconds: float
    loss_window_seconds: float | None
    again: int
    duplicates: dict[str, list[int]]
    late_duplicates: int
    disordered: dict[str, list[int]]
    unlike: int
    redelivered: int
    undelivered: int
    made: int
    stuck: Mapping[str, str]
    rate: float

    @property
    def things(self) -> str:
        return "messages"

    @property
    def duplicate_ids(self) -> set[int]:
        return {each for ids in self.duplicates.values() for each in ids}

    def told(self) -> str:
        back = f" (from the last {self.lost_seconds:.2f} s)" if self.lost_ids else ""
        return (
            f"{super().told()}{back}, {self.again} known already, {len(self.duplicate_ids)} duplicates, {self.late_duplicates} late ones, "
            f"{self.redelivered} redelivered, {self.undelivered} never delivered"
        )

    def unsafe(self) -> list[str]:
        found = super().unsafe()
        if self.loss_window_seconds and self.lost_seconds <= self.loss_window_seconds:
            found = [sentence for sentence in found if " lacks " not in sentence]
        found += [f"{server} has {len(ids)} messages twice, such as {ids[:5]}" for server, ids in self.duplicates.items() if ids]
        found += [f"{server} has messages out of their order: {ids[:10]}" for server, ids in self.disordered.items() if ids]
        found += [f"The copy of {server} can not be read: it {why}" for server, why in self.stuck.items()]
        if self.unlike:
            found.append(f"In {self.unlike} places of the stream the servers have not the same message")
        if self.undelivered:
            found.append(f"{self.undelivered} acknowledged messages never came to a reader")
        if self.undetectable:
            found.append(self.undetectable)
        return found


def judge(
    name: str, log: Log, copies: Mapping[str, Sequence[Stored]], *, began: float, healed: float, over: bool, duplicate_window: float,
    loss_window: float | None, stuck: Mapping[str, str] | None = None,
) -> QueueOutcome:  # fmt: skip
    """The outcome, from the client's log and what each server has; times of CLOCK_MONOTONIC, windows in seconds."""
    during, afterwards = verdict.longest_gap(log, began, healed), verdict.longest_gap(log, healed)
    worst = max(during, afterwards, key=lambda gap: gap.seconds)
    before, after = verdict.acks_around(log, worst)
    doubts = [each for each in log.doubts if each.ended >= began]
    lost = {server: messages.lost(log, copy) for server, copy in copies.items()}
    gone = {ack.id for acks in lost.values() for ack in acks}
    twice = {server: messages.duplicates(copy, duplicate_window) for server, copy in copies.items()}
    return QueueOutcome(
        fault=name, gap=during, gap_after=afterwards, over=over, acked=len(log.acks), client_errors=len(doubts),
        errors=tuple(dict.fromkeys(each.error for each in doubts)), before=before, after=after, lost=lost,
        damaged={server: messages.damaged(copy) for server, copy in copies.items()},
        servers=list(dict.fromkeys(ack.server for ack in log.probe)),
        lost_seconds=messages.lost_seconds((ack for acks in lost.values() for ack in acks), worst.begin), loss_window_seconds=loss_window,
        again=sum(ack.again for ack in log.acks), duplicates={server: within for server, (within, _) in twice.items()},
        late_duplicates=len({each for _, later in twice.values() for each in later}),
        disordered={server: messages.disordered(copy) for server, copy in copies.items()}, unlike=messages.unlike(copies),
        redelivered=log.redelivered, undelivered=sum(ack.id not in gone for ack in messages.undelivered(log)), made=log.made,
        stuck=stuck or {},
        rate=before / verdict.WINDOW_SECONDS,
    )  # fmt: skip
