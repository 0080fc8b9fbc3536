"""What the ledger client wrote down, as data. Pure. Times are seconds of CLOCK_MONOTONIC, which all of the lab's nodes share with us."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PROBE = 0
"""The writer whose acknowledgements the gap is measured with; the others are load."""


@dataclass(frozen=True)
class Ack:
    """An acknowledged row: who wrote it, which member took it on which timeline, and when it was begun and acknowledged."""

    writer: int
    id: int
    checksum: str
    server: str
    timeline: int
    started: float
    ended: float


@dataclass(frozen=True)
class Failure:
    """An attempt that was not acknowledged. Where it was `sent` the row is in doubt; else it can not have been written."""

    writer: int
    id: int
    started: float
    ended: float
    error: str
    sent: bool


@dataclass(frozen=True)
class Read:
    """What one read of the checker lacked: `missing` ids were acknowledged before it `began`, `vanished` ones had only been read before."""

    began: float
    ended: float
    server: str
    recovery: bool
    checked: int
    missing: tuple[int, ...]
    vanished: tuple[int, ...]


@dataclass(frozen=True)
class Log:
    """A whole run, each part in the order in which it ended. `unfinished` ids were begun and never came to an end."""

    acks: tuple[Ack, ...]
    failures: tuple[Failure, ...]
    reads: tuple[Read, ...]
    unfinished: tuple[int, ...]
    ended: float

    @property
    def probe(self) -> list[Ack]:
        return [ack for ack in self.acks if ack.writer == PROBE]


class IncompleteLogError(Exception):
    """The client died, or its log was cut: nothing can be concluded from the run."""


def parse(lines: Iterable[str]) -> Log:
    """The log of a client that came to its end.

    Raises:
        IncompleteLogError: it did not, one of its threads died, or it wrote nonsense.
    """
    begun: dict[int, float] = {}
    acks, failures, reads, last = [], [], [], {}
    try:
        for line in lines:
            last = json.loads(line)
            match last["e"]:
                case "start":
                    begun[last["id"]] = last["t"]
                case "ack":
                    acks.append(_ack(last, begun.pop(last["id"])))
                case "fail":
                    failures.append(
                        Failure(last["w"], last["id"], begun.pop(last["id"]), last["t"], last["error"], last["sent"])
                    )  # fmt: skip
                case "read":
                    reads.append(_read(last))
    except (ValueError, KeyError) as error:
        raise IncompleteLogError(f"The ledger's log has a line that is none: {error!r}") from error
    if last.get("e") != "end":
        raise IncompleteLogError("The ledger's log has no end: its client died, or was cut off.")
    if last.get("died"):
        raise IncompleteLogError(f"These threads of the ledger's client died: {last['died']}")
    acks.sort(key=lambda ack: ack.ended)
    return Log(tuple(acks), tuple(failures), tuple(reads), tuple(sorted(begun)), last["t"])


def _ack(line: dict[str, Any], started: float) -> Ack:
    return Ack(line["w"], line["id"], line["sum"], line["server"], line["timeline"], started, line["t"])


def _read(line: dict[str, Any]) -> Read:
    return Read(
        line["began"], line["t"], line["server"], line["recovery"], line["checked"], tuple(line["missing"]), tuple(line["vanished"])
    )
