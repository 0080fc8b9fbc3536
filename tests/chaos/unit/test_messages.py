"""What a ledger of messages proves, on ledgers written by hand: a message each tenth of a second, unless said otherwise."""

from __future__ import annotations

import json

import pytest

from tests.chaos.ledger import messages
from tests.chaos.ledger.log import IncompleteLogError
from tests.chaos.ledger.messages import Ack, Doubt, Log, Stored
from tests.chaos.queue.outcome import QueueOutcome, judge

WINDOW = 120.0


def acks(begin: float, end: float, *, first: int = 1, publisher: int = 0, every: float = 0.1) -> list[Ack]:
    """Messages acknowledged from `begin` to `end`, each begun 10 ms earlier, each at the place of its number."""
    times = [begin + number * every for number in range(round((end - begin) / every) + 1)]
    return [
        Ack(publisher, first + number, f"sum{first + number}", first + number, "main-0", at - 0.01, at, again=False)
        for number, at in enumerate(times)
    ]


def log(*parts: list[Ack], ended: float, delivered: bool = True, doubts: tuple[Doubt, ...] = ()) -> Log:
    found = tuple(sorted((ack for part in parts for ack in part), key=lambda ack: ack.ended))
    return Log(found, doubts, {ack.id: 1 for ack in found} if delivered else {}, (), 0, 0, ended)


def copy(found: Log, *, without: tuple[int, ...] = ()) -> list[Stored]:
    return [Stored(ack.sequence, ack.publisher, ack.id, ack.checksum, 1e9 + ack.ended) for ack in found.acks if ack.id not in without]


def outcome(found: Log, copies: dict[str, list[Stored]], *, loss_window: float | None = 0.0) -> QueueOutcome:
    return judge("nats-kill", found, copies, began=10, healed=20, over=False, duplicate_window=WINDOW, loss_window=loss_window)


@pytest.fixture
def killed() -> Log:
    """A leader that was killed at 10 s, another that was elected at 17 s."""
    return log(acks(0, 10), acks(17, 30, first=500), ended=30, doubts=(Doubt(0, 499, 12.0, "TimeoutError: "), Doubt(1, 3, 5.0, "x")))


def test_a_run_in_which_nothing_was_wrong_is_told_with_its_gap(killed: Log) -> None:
    found = outcome(killed, {"main-0": copy(killed), "main-1": copy(killed)})

    assert found.unsafe() == []
    assert found.gap.seconds == pytest.approx(7)
    assert found.client_errors == 1, "those from before the fault are not of it"
    assert found.told().startswith("7.00 s without writes")


def test_what_one_server_lacks_is_lost_whatever_the_others_have(killed: Log) -> None:
    found = outcome(killed, {"main-0": copy(killed), "main-1": copy(killed, without=(98, 99))})

    assert found.lost_ids == {98, 99}
    assert found.lost_seconds == pytest.approx(0.3)
    assert [sentence.split(" of ")[0] for sentence in found.unsafe()] == ["main-1 lacks 2", "In 2 places"]


def test_a_message_with_another_payload_is_lost_and_one_whose_payload_rotted_is_damaged(killed: Log) -> None:
    other = [Stored(each.sequence, 0, each.id, "another" if each.id == 7 else each.checksum, each.stored) for each in copy(killed)]
    other[20] = Stored(21, 0, 21, "damaged", 1e9)

    found = outcome(killed, {"main-0": other})

    assert found.lost_ids == {7, 21}
    assert found.damaged == {"main-0": [21]}


@pytest.mark.parametrize(("lost", "bad"), [((99, 100, 101), False), ((89, 100, 101), True)])
def test_balanced_may_lose_its_window_and_no_more(killed: Log, lost: tuple[int, ...], bad: bool) -> None:
    same = copy(killed, without=lost)

    found = outcome(killed, {"main-0": same, "main-1": same}, loss_window=1.0)

    assert bool(found.unsafe()) is bad


def test_what_is_in_the_stream_twice_is_a_duplicate_within_the_window_and_allowed_after_it(killed: Log) -> None:
    twice = [*copy(killed), Stored(900, 0, 5, "sum5", 1e9 + 20), Stored(901, 0, 6, "sum6", 1e9 + 1 + 2 * WINDOW)]

    found = outcome(killed, {"main-0": twice})

    assert found.duplicate_ids == {5}
    assert found.late_duplicates == 1
    assert found.disordered == {"main-0": []}, "what came twice stands where it was first"
    assert found.unsafe() == ["main-0 has 1 messages twice, such as [5]"]


def test_a_publishers_messages_stand_in_its_order_and_those_of_two_in_any() -> None:
    found = log(acks(0, 10), acks(0, 10, first=1000, publisher=1), ended=30)
    kept = copy(found)
    swapped = [Stored({5: 6, 6: 5}.get(each.id, each.sequence), each.publisher, each.id, each.checksum, each.stored) for each in kept]

    assert messages.disordered(kept) == []
    assert messages.disordered(swapped) == [5]


def test_what_no_reader_got_is_told_unless_it_is_lost(killed: Log) -> None:
    unread = log(list(killed.acks), ended=30, delivered=False)

    found = outcome(unread, {"main-0": copy(unread, without=(1,))})

    assert found.undelivered == len(unread.acks) - 1


def test_a_copy_that_can_not_be_read_is_told(killed: Log) -> None:
    found = judge(
        "x", killed, {"main-0": copy(killed)}, began=10, healed=20, over=False, duplicate_window=WINDOW, loss_window=0.0,
        stuck={"main-1": "did not lead"},
    )  # fmt: skip

    assert found.unsafe() == ["The copy of main-1 can not be read: it did not lead"]


def test_too_few_acknowledgements_around_the_gap_prove_nothing() -> None:
    found = log(acks(0, 10, every=1), acks(13, 25, first=500), ended=25)

    judged = outcome(found, {"main-0": copy(found)})

    assert "6 messages were acknowledged in the 5 s before" in judged.undetectable
    assert judged.unsafe() == [judged.undetectable]


def test_a_log_is_read_as_it_was_written() -> None:
    found = messages.parse(
        json.dumps(line)
        for line in (
            {"e": "made", "t": 0.5},
            {"e": "start", "w": 0, "id": 1, "t": 1.0},
            {"e": "start", "w": 1, "id": 2, "t": 1.1},
            {"e": "doubt", "w": 0, "id": 1, "t": 3.0, "error": "TimeoutError: ", "server": "main-0"},
            {"e": "ack", "w": 0, "id": 1, "t": 3.2, "server": "main-1", "seq": 7, "sum": "x", "duplicate": True},
            {"e": "got", "c": 0, "id": 1, "seq": 7, "n": 1, "t": 3.3},
            {"e": "got", "c": 1, "id": 1, "seq": 7, "n": 2, "t": 9.3},
            {"e": "read-fail", "c": 1, "t": 9.4, "error": "x"},
            {"e": "end", "t": 10.0, "died": [], "left": 3},
        )
    )

    assert found.acks == (Ack(0, 1, "x", 7, "main-1", 1.0, 3.2, again=True),)
    assert found.doubts == (Doubt(0, 1, 3.0, "TimeoutError: "),)
    assert (found.deliveries, found.redelivered) == ({1: 2}, 1)
    assert (found.unfinished, found.left, found.made, found.ended) == ((2,), 3, 1, 10.0)


@pytest.mark.parametrize(
    "lines",
    [[], ['{"e": "start", "w": 0, "id": 1, "t": 1.0}'], ["{"], ['{"e": "end", "t": 1, "died": ["publisher 0"], "left": 0}'],
     ['{"e": "ack", "w": 0, "id": 1, "t": 1, "server": "", "seq": 1, "sum": "", "duplicate": false}', '{"e": "end", "t": 1, "died": []}']],
)  # fmt: skip
def test_a_log_that_is_not_whole_proves_nothing(lines: list[str]) -> None:
    with pytest.raises(IncompleteLogError):
        messages.parse(lines)


def test_messages_that_were_read_back_end_properly() -> None:
    text = "main-0 4 1.17 abc 1000.25\nend 1\n"

    assert messages.copies_of(text, ["main-0", "main-1"]) == ({"main-0": [Stored(4, 1, 17, "abc", 1000.25)], "main-1": []}, {})
    assert messages.copies_of("main-0 stuck did not lead\nend 1\n", ["main-0"]) == ({}, {"main-0": "did not lead"})
    for cut in ("", "main-0 4 1.17 abc 1000.25\n", "end 1\n"):
        with pytest.raises(ValueError, match=r"proper end|unpack"):
            messages.copies_of(cut, ["main-0"])
