"""What answers mean, when the next attempt comes, and when an endpoint is left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.queue import EndpointState
from baas_operator.api.webhooks import CircuitBreaker, OrderBy, Ordering
from baas_operator.dead_letters.letter import Source
from baas_operator.dispatcher.breaker import Breaker, Rate
from baas_operator.dispatcher.held import Held, Lanes
from baas_operator.dispatcher.outcome import Outcome, Verdict, of_answer, seconds_of
from baas_operator.dispatcher.schedule import MOST_RETRY_AFTER_SECONDS, backoff, delay_seconds, nak_seconds
from baas_operator.dispatcher.tally import Sample, Tally
from tests.unit.dispatcher.messages import message

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
SCHEDULE = st.lists(st.integers(1, 604_800), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("status", "verdict", "breaks"),
    [
        (200, Verdict.TAKEN, False), (204, Verdict.TAKEN, False), (299, Verdict.TAKEN, False), (301, Verdict.FAILED, False),
        (308, Verdict.FAILED, False), (400, Verdict.FAILED, False), (410, Verdict.GONE, False), (429, Verdict.FAILED, False),
        (500, Verdict.FAILED, True), (503, Verdict.FAILED, True), (199, Verdict.FAILED, False),
    ],
)  # fmt: skip
def test_answers(status: int, verdict: Verdict, breaks: bool) -> None:
    outcome = of_answer(status, None, NOW)
    assert (outcome.verdict, outcome.breaks) == (verdict, breaks)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("0", 0), ("Fri, 02 Jan 2026 03:05:05 GMT", 60), ("Fri, 02 Jan 2026 03:00:00 GMT", 0),
        (None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("٣", None), ("Fri, 02 Jan 99999 03:05:05 GMT", None),
        ("9" * 5000, 999_999_999_999),
    ],
)  # fmt: skip
def test_retry_after_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, NOW) == seconds


@pytest.mark.parametrize(("status", "heeded"), [(429, True), (502, True), (503, True), (504, True), (500, False), (301, False)])
def test_whose_retry_after_is_heeded(status: int, heeded: bool) -> None:
    assert (of_answer(status, "60", NOW).retry_after == 60) is heeded


def test_only_429_puts_off_the_others_too() -> None:
    assert of_answer(429, "60", NOW).throttles
    assert not of_answer(429, None, NOW).throttles
    assert not of_answer(503, "60", NOW).throttles


@given(SCHEDULE, st.integers(1, 30), st.floats(0, 1))
def test_the_delay_is_the_schedules_and_up_to_a_fifth_more(schedule: list[int], attempt: int, chance: float) -> None:
    planned = schedule[min(attempt, len(schedule)) - 1]
    assert planned <= delay_seconds(attempt, schedule, None, chance) <= planned * 1.2


@given(SCHEDULE, st.integers(1, 30), st.floats(0, 1e9))
def test_retry_after_only_makes_it_later_and_not_for_ever(schedule: list[int], attempt: int, asked: float) -> None:
    delay = delay_seconds(attempt, schedule, asked, 0)
    assert delay >= delay_seconds(attempt, schedule, None, 0)
    assert delay >= min(asked, MOST_RETRY_AFTER_SECONDS)
    assert delay <= max(MOST_RETRY_AFTER_SECONDS, 604_800)


@given(SCHEDULE, st.floats(1, 150), st.integers(1, 30), st.floats(0, 1e6))
def test_what_jetstream_is_told_comes_out_right(schedule: list[int], ack_wait: float, deliveries: int, delay: float) -> None:
    steps = backoff(schedule, ack_wait)
    assert min(steps) >= ack_wait
    told = nak_seconds(delay, deliveries, steps)
    # What nats-server does with it: see schedule.py; test_schedule.py beside real servers shows that it does.
    comes_after = (-steps[0] + told) + steps[min(deliveries - 1, len(steps) - 1)]
    assert comes_after == pytest.approx(delay, abs=1e-6)


def _broken(rules: CircuitBreaker) -> Breaker:
    breaker = Breaker(rules)
    for _ in range(rules.failures):
        assert breaker.wait_seconds(0) == 0
        breaker.done(0, taken=False, failed=True)
    return breaker


def test_the_breaker_opens_tries_one_and_closes() -> None:
    breaker = _broken(CircuitBreaker(failures=3, open_seconds=30))
    assert breaker.state is EndpointState.OPEN
    assert breaker.wait_seconds(10) == 20
    assert breaker.wait_seconds(30) == 0, "one is let through"
    assert breaker.state is EndpointState.HALF_OPEN
    assert breaker.wait_seconds(31) > 0, "and no second one meanwhile"
    breaker.done(32, taken=False, failed=True)
    assert breaker.state is EndpointState.OPEN
    assert breaker.wait_seconds(61) == 1
    assert breaker.wait_seconds(62) == 0
    breaker.done(63, taken=True, failed=False)
    assert breaker.state is EndpointState.CLOSED
    assert breaker.wait_seconds(63) == breaker.wait_seconds(63) == 0


def test_half_open_stays_so_until_one_is_taken() -> None:
    breaker = _broken(CircuitBreaker(failures=1, open_seconds=1))
    assert breaker.wait_seconds(1) == 0
    breaker.done(1, taken=False, failed=False)  # a 404: it is there, but took nothing
    assert breaker.state is EndpointState.HALF_OPEN
    assert breaker.wait_seconds(1) == 0
    breaker.abandoned()
    assert breaker.wait_seconds(1) == 0, "an attempt that was not made after all keeps nobody waiting"


def test_to_ask_how_long_it_is_left_alone_begins_nothing() -> None:
    breaker = _broken(CircuitBreaker(failures=1, open_seconds=30))
    assert breaker.closed_for(10) == 20
    assert breaker.closed_for(31) == breaker.closed_for(31) == 0
    assert breaker.wait_seconds(31) == 0
    assert breaker.closed_for(31) > 0, "one is under way"
    breaker.done(32, taken=True, failed=False)
    assert breaker.closed_for(32) == 0


@given(st.lists(st.sampled_from(["taken", "failed", "answered"]), max_size=200))
def test_it_opens_only_after_so_many_in_a_row(outcomes: list[str]) -> None:
    breaker = Breaker(CircuitBreaker(failures=5))
    row = 0
    for each in outcomes:
        breaker.done(0, taken=each == "taken", failed=each == "failed")
        row = row + 1 if each == "failed" else 0
        if row >= 5:
            assert breaker.state is EndpointState.OPEN
            return
        assert breaker.state is EndpointState.CLOSED


@given(st.floats(0.5, 5000), st.integers(2, 500))
def test_no_second_has_more_than_the_rate(per_second: float, count: int) -> None:
    rate = Rate(per_second)
    moments = sorted(100 + rate.reserve(100) for _ in range(count))
    for first in moments[:: max(1, count // 10)]:
        within = sum(first <= each < first + 1 for each in moments)
        assert within <= per_second * 1.05 + 2


def test_no_rate_is_no_wait() -> None:
    rate = Rate(None)
    assert [rate.reserve(5) for _ in range(1000)] == [0.0] * 1000


def test_the_tally_forgets() -> None:
    tally = Tally()
    assert (tally.recent(0).attempts, tally.recent(0).p95_seconds) == (0, None)
    for number in range(100):
        tally.add(Sample(float(number), number % 4 != 0, number / 100, True))
    recent = tally.recent(100)
    assert (recent.attempts, recent.taken) == (100, 75)
    assert recent.p95_seconds == pytest.approx(0.94, rel=0.05)
    assert tally.recent(1000).attempts == 0
    assert tally.attempts == 100
    assert tally.failures == 0
    tally.add(Sample(100.0, False, 0.1, True))
    tally.add(Sample(101.0, False, 0.1, False))
    assert tally.failures == 2


def _held(sequence: int, subject: str, **headers: str) -> Held:
    made = message(subject=subject, **headers)
    return Held(
        made.__class__(made.stream, sequence, subject, b"", made.headers, made.published_at), Source(sequence, subject, 0), "", 1, 0.0
    )


def _add(lanes: Lanes, held: Held) -> bool:
    held.key = lanes.key(held)
    return lanes.add(held)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.randoms())
def test_of_each_key_one_at_a_time_and_in_order(keys: list[str], chance: object) -> None:
    lanes = Lanes(Ordering(by=OrderBy.SUBJECT))
    ready = [held for number, key in enumerate(keys) if _add(lanes, held := _held(number, key))]
    assert len({each.message.subject for each in ready}) == len(ready)
    seen: dict[str, list[int]] = {}
    while ready:
        held = ready.pop(chance.randrange(len(ready)))  # type: ignore[attr-defined]
        seen.setdefault(held.message.subject, []).append(held.sequence)
        if following := lanes.done(held):
            ready.append(following)
    assert sum(map(len, seen.values())) == len(keys)
    assert all(each == sorted(each) for each in seen.values())


def test_messages_without_the_header_wait_for_nobody() -> None:
    lanes = Lanes(Ordering(by=OrderBy.HEADER, header="Customer"))
    assert _add(lanes, _held(1, "a"))
    assert _add(lanes, _held(2, "a"))
    assert _add(lanes, _held(3, "a", customer="7"))
    assert not _add(lanes, _held(4, "b", customer="7"))
    assert _add(lanes, _held(5, "a", customer="x" * 10**6))
    assert not _add(lanes, long := _held(6, "b", customer="x" * 10**6))
    assert len(long.key) < 100, "a key is kept for each message"


@given(st.lists(st.sampled_from("abc"), max_size=40), st.randoms())
def test_what_is_delayed_is_counted_until_its_lane_is_empty(keys: list[str], chance: Any) -> None:
    lanes, left, slow = Lanes(Ordering(by=OrderBy.SUBJECT)), dict[str, list[Held]](), set[str]()
    numbers = iter(range(1000))
    for key in keys:
        match chance.randrange(3), left.get(key):
            case 1, [first, *_]:
                lanes.delay(first)
                slow.add(key)
            case 2, [first, *rest]:
                assert lanes.done(first) is (rest[0] if rest else None)
                left[key] = rest
                slow -= set() if rest else {key}
            case _:
                _add(lanes, held := _held(next(numbers), key))
                left.setdefault(key, []).append(held)
        assert lanes.delayed == sum(len(left[each]) for each in slow)
    lanes.clear()
    for each in left.values():
        lanes.delay(each[0]) if each else None
    assert lanes.delayed == 0, "they were let go of"


def test_an_outcome_says_what_it_is() -> None:
    assert Outcome(Verdict.TIMEOUT, "").breaks
    assert not Outcome(Verdict.REFUSED, "").breaks
