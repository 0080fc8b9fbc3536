"""What a client's log says of a backend."""

from __future__ import annotations

import json

import pytest

from tests.chaos.instance.load import READS, WRITES, away, failures, parse, slowest, worst_minute
from tests.chaos.instance.scenes import judge
from tests.chaos.ledger.log import IncompleteLogError


def line(kind: str, number: int, began: float, took: float = 0.1, status: int = 200, last: int | None = None, **more: object) -> str:
    said = {
        "k": kind, "id": number, "t0": began, "t": began + took, "status": status, "error": "", "degraded": False, "tries": 1,
        "end": began + took, "last": status if last is None else last,
    }  # fmt: skip
    return json.dumps(said | more)


END = json.dumps({"e": "end", "t": 100.0, "skipped": 0})


def test_a_log_that_was_cut_off_says_nothing() -> None:
    with pytest.raises(IncompleteLogError, match="no end"):
        parse([line("read", 1, 1.0)])
    with pytest.raises(IncompleteLogError, match="none"):
        parse(["{", END])


def test_how_long_reads_and_writes_were_away() -> None:
    good = [line("read", each, 10.0 + each) for each in range(5)] + [line("read", 9, 17.5), line("read", 10, 99.0)]
    load = parse([*good, line("read", 5, 15.0, status=503), line("write", 6, 11.0), line("write", 7, 20.0, status=0), END])
    assert away(load, READS, 10.0, 30.0) == pytest.approx(99.1 - 17.6)
    assert away(load, READS, 10.0, 17.0) == pytest.approx(17.6 - 14.1)
    assert away(load, WRITES, 12.0, 30.0) == pytest.approx(100.0 - 11.1), "none came after the first"


def test_the_worst_minute_is_found() -> None:
    failed = [line("write", each, 50.0 + each / 10, status=503, last=201) for each in range(6)]
    load = parse([*(line("read", each, float(each)) for each in range(99)), *failed, END])
    result = judge("roll", load, set(), 0.0)
    assert worst_minute(load.requests, 50.0) == (6, 55)
    assert (result.failed, result.failed_for_good, result.minute_failed, result.minute_requests) == (6, 0, 6, 55)
    assert failures(load.requests) == [("write 503 ", 6)]


def test_what_was_acknowledged_in_the_end_counts_as_acknowledged() -> None:
    load = parse([line("write", 1, 1.0), line("write", 2, 2.0, status=503, last=201), line("write", 3, 3.0, status=503), END])
    assert load.acknowledged() == {1, 2}


def test_the_slow_ones() -> None:
    load = parse([*(line("read", each, 1.0 + each / 100, took=each / 100) for each in range(100)), END])
    assert slowest(load.requests, 95) == pytest.approx(0.95)


def test_failures_are_told_with_what_was_done_before_them() -> None:
    bad = [line("read", 1, 4.0, status=503), line("write", 2, 6.0, status=503), line("read", 3, 25.0, status=503)]
    load = parse([*(line("read", each, float(each)) for each in range(40, 50)), *bad, END])
    result = judge("each-pod", load, set(), 0.0, [(3.0, "main-0"), (10.0, "main-1"), (20.0, "main-2")])
    assert result.after == [("main-0", 2, 1, 3.0), ("main-2", 1, 1, 5.0)]
