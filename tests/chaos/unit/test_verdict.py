"""What a ledger proves, on ledgers written by hand: one writer's rows a tenth of a second apart, unless said otherwise."""

from __future__ import annotations

import json

import pytest

from tests.chaos.database.outcome import judge
from tests.chaos.ledger import verdict
from tests.chaos.ledger.log import Ack, IncompleteLogError, Log, Read, parse

A, B = "10.0.0.1", "10.0.0.2"


def acks(begin: float, end: float, *, server: str = A, timeline: int = 1, first: int = 1, writer: int = 0, every: float = 0.1) -> list[Ack]:
    """Rows acknowledged from `begin` to `end`, each begun 10 ms earlier."""
    count = round((end - begin) / every) + 1
    times = [begin + number * every for number in range(count)]
    return [Ack(writer, first + number, f"sum{first + number}", server, timeline, at - 0.01, at) for number, at in enumerate(times)]


def log(*parts: list[Ack], ended: float, reads: tuple[Read, ...] = ()) -> Log:
    return Log(tuple(sorted((ack for part in parts for ack in part), key=lambda ack: ack.ended)), (), reads, (), ended)


def rows(found: Log) -> dict[int, str]:
    return {ack.id: ack.checksum for ack in found.acks}


def test_the_gap_is_the_probes_and_not_that_of_other_writers() -> None:
    found = log(acks(0, 10), acks(13, 25, first=500), acks(0, 25, first=1000, writer=1), ended=25)

    gap = verdict.longest_gap(found, since=9)

    assert [gap.begin, gap.end] == pytest.approx([10, 13])
    assert not gap.open


def test_a_gap_before_the_fault_does_not_count() -> None:
    found = log(acks(0, 2), acks(5, 20, first=100), ended=20)

    assert verdict.longest_gap(found, since=8).seconds == pytest.approx(0.1)


def test_a_gap_belongs_to_where_it_began_when_it_spans_the_moment_of_healing() -> None:
    found = log(acks(0, 10), acks(200, 220, first=500), ended=220)

    assert verdict.longest_gap(found, 10, 190).seconds == pytest.approx(190)


def test_silence_until_the_end_is_a_gap() -> None:
    gap = verdict.longest_gap(log(acks(0, 10), ended=40), since=9)

    assert gap.seconds == pytest.approx(30)
    assert gap.open


def test_a_run_without_any_acknowledgement_is_one_gap() -> None:
    assert verdict.longest_gap(log(ended=40), since=10).seconds == 30


def test_acknowledgements_around_a_gap_are_counted_of_all_writers() -> None:
    found = log(acks(0, 10), acks(13, 25, first=500), acks(0, 10, first=1000, writer=1), ended=25)

    before, after = verdict.acks_around(found, verdict.longest_gap(found, since=9))

    assert (before, after) == (102, 51)


def test_what_comes_after_a_gap_at_the_very_end_is_the_last_window() -> None:
    found = log(acks(0, 19), acks(19.4, 20, first=500), ended=20)

    assert verdict.acks_around(found, verdict.longest_gap(found, since=9))[1] >= 45


def test_too_few_acknowledgements_before_the_gap_make_a_run_prove_nothing() -> None:
    found = log(acks(0, 10, every=1), acks(13, 25, first=500), ended=25)

    outcome = judge("pod-delete", found, {"main-0": rows(found)}, began=10, healed=20, over=False)

    assert not outcome.lost["main-0"]
    assert "6 rows were acknowledged in the 5 s before" in outcome.undetectable
    assert outcome.unsafe() == [outcome.undetectable]


def test_a_row_that_a_member_lacks_or_has_otherwise_is_lost() -> None:
    found = log(acks(0, 10), acks(13, 25, first=500), ended=25)
    less = rows(found)
    del less[7]
    less[8] = "another"

    outcome = judge("pod-delete", found, {"main-0": rows(found), "main-1": less}, began=10, healed=20, over=False)

    assert outcome.lost_ids == {7, 8}
    assert [sentence.split(" of ")[0] for sentence in outcome.unsafe()] == ["main-1 lacks 2"]


def test_rows_in_doubt_that_are_there_are_no_matter_and_damaged_ones_are() -> None:
    found = log(acks(0, 25), ended=25)
    more = rows(found) | {90_000: "never acknowledged", 90_001: verdict.DAMAGED}

    outcome = judge("pod-delete", found, {"main-0": more}, began=10, healed=20, over=False)

    assert outcome.unsafe() == ["main-0 has damaged rows: [90001]"]


def test_a_former_primary_that_acknowledges_after_its_successor_is_found() -> None:
    late = Ack(1, 900, "sum900", A, 1, started=14.0, ended=14.5)
    found = log(acks(0, 10), acks(13, 25, server=B, timeline=2, first=500), [late], ended=25)

    (pair,) = verdict.acks_of_a_former_primary(found)

    assert pair[0] == late
    assert pair[1].timeline == 2


def test_a_row_begun_before_the_successor_acknowledged_is_no_proof_of_two() -> None:
    slow = Ack(1, 900, "sum900", A, 1, started=9.9, ended=13.05)
    found = log(acks(0, 10), acks(13, 25, server=B, timeline=2, first=500), [slow], ended=25)

    assert verdict.acks_of_a_former_primary(found) == []


def test_a_primary_that_comes_back_later_on_a_newer_timeline_is_fine() -> None:
    found = log(acks(0, 5), acks(6, 10, server=B, timeline=2, first=500), acks(11, 20, server=A, timeline=3, first=900), ended=20)

    assert verdict.acks_of_a_former_primary(found) == []
    assert verdict.primaries_at_once(found) == []


def test_two_servers_by_turns_on_one_timeline_are_two_primaries() -> None:
    found = log(acks(0, 10), acks(5, 15, server=B, first=500, writer=1), ended=15)

    assert verdict.primaries_at_once(found) == [(1, A, B)]


def test_one_address_after_the_other_on_one_timeline_is_a_pod_that_was_replaced() -> None:
    assert verdict.primaries_at_once(log(acks(0, 10), acks(12, 15, server=B, first=500), ended=15)) == []


def test_stale_reads_are_counted_with_how_long_they_went_on() -> None:
    good = Read(1.0, 1.1, A, False, 20, (), ())
    stale = [Read(at, at + 0.1, A, False, 20, (5,), ()) for at in (4.0, 5.0, 6.0)]
    found = log(acks(0, 10), ended=10, reads=(good, *stale))

    assert len(verdict.stale_reads(found)) == 3
    assert verdict.stale_seconds(found) == pytest.approx(2.1)


def test_a_log_is_read_as_it_was_written() -> None:
    found = parse(
        json.dumps(line)
        for line in (
            {"e": "start", "w": 0, "id": 1, "t": 1.0},
            {"e": "start", "w": 1, "id": 2, "t": 1.1},
            {"e": "ack", "w": 0, "id": 1, "t": 1.2, "server": A, "timeline": 3, "sum": "x"},
            {"e": "start", "w": 0, "id": 3, "t": 1.3},
            {"e": "fail", "w": 1, "id": 2, "t": 3.1, "error": "TimeoutError: no answer in time: statement", "sent": True},
            {"e": "read", "began": 2, "t": 2.1, "server": A, "recovery": False, "checked": 1, "missing": [], "vanished": []},
            {"e": "read-fail", "t": 2.2, "error": "x"},
            {"e": "end", "t": 4.0, "died": []},
        )
    )

    assert found.acks == (Ack(0, 1, "x", A, 3, 1.0, 1.2),)
    assert [(failure.id, failure.started, failure.sent) for failure in found.failures] == [(2, 1.1, True)]
    assert (found.unfinished, found.ended, len(found.reads)) == ((3,), 4.0, 1)


@pytest.mark.parametrize(
    "lines",
    [[], ['{"e": "start", "w": 0, "id": 1, "t": 1.0}'], ["{"], ['{"e": "end", "t": 1, "died": ["Thread-1"]}'],
     ['{"e": "ack", "w": 0, "id": 1, "t": 1, "server": "", "timeline": 1, "sum": ""}', '{"e": "end", "t": 1, "died": []}']],
)  # fmt: skip
def test_a_log_that_is_not_whole_proves_nothing(lines: list[str]) -> None:
    with pytest.raises(IncompleteLogError):
        parse(lines)


def test_rows_that_were_read_back_end_properly() -> None:
    assert verdict.rows_of("1 aa\n2 damaged\nend 2\n") == {1: "aa", 2: "damaged"}
    for cut in ("", "1 aa\n2 bb\n", "1 aa\nend 2\n"):
        with pytest.raises(ValueError, match=r"proper end|unpack"):
            verdict.rows_of(cut)
