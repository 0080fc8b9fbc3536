"""What several dispatchers say, put together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.webhooks import Outbox, Webhook
from baas_operator.observe.dispatchers import DispatcherReport, backlog, outbox_statuses, webhook_statuses
from baas_operator.observe.latency import added, counted, percentile


def hook(name: str = "crm", **more: Any) -> Webhook:
    return Webhook.model_validate({"name": name, "stream": "orders", "url": "https://crm.example/hook"} | more)


OUTBOX = Outbox.model_validate({"name": "shop", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"})


def says(*webhooks: dict[str, Any], outbox: dict[str, Any] | None = None) -> DispatcherReport:
    made = [{"name": "crm", "state": "Closed"} | each for each in webhooks]
    return DispatcherReport.model_validate({"connected": True, "webhooks": made, "outboxes": [outbox] if outbox else []})


def test_rates_and_times_are_of_all_attempts_together() -> None:
    quick, slow = counted([0.01] * 900), counted([2.0] * 100)
    (seen,) = webhook_statuses([hook()], [
        says({"recentAttempts": 900, "recentTaken": 900, "latencies": quick, "p95Milliseconds": 10, "consecutiveFailures": 0}),
        says({"recentAttempts": 100, "recentTaken": 0, "latencies": slow, "p95Milliseconds": 2000, "consecutiveFailures": 100}),
    ])  # fmt: skip
    assert seen.success_rate == 0.9
    assert seen.p95_milliseconds == pytest.approx(2000, rel=0.05), "of a thousand the 950th, which neither's own says"
    assert seen.consecutive_failures == 100


@given(st.lists(st.lists(st.floats(0.001, 100), max_size=50), max_size=4))
def test_a_percentile_of_parts_is_that_of_the_whole(parts: list[list[float]]) -> None:
    whole = sorted(each for part in parts for each in part)
    found = percentile(added(map(counted, parts)), 0.95)
    if not whole:
        assert found is None
        return
    assert found == pytest.approx(whole[-(-95 * len(whole) // 100) - 1], rel=0.05)


@pytest.mark.parametrize(
    ("states", "state", "reason"),
    [
        (["Closed", "Closed"], "Closed", "last"), (["Closed", "Open"], "Open", "last (1 of 2 dispatchers)"),
        (["Open", "Open"], "Open", "last"),
        (["HalfOpen", "Closed"], "HalfOpen", "last (1 of 2 dispatchers)"), (["Closed", "Disabled"], "Disabled", "last"),
    ],
)  # fmt: skip
def test_the_worst_that_any_sees_is_told(states: list[str], state: str, reason: str) -> None:
    (seen,) = webhook_statuses([hook()], [says({"state": each, "reason": "last"}) for each in states])
    assert (seen.state, seen.reason) == (state, reason)


def test_one_that_is_not_enabled_is_paused_whoever_has_not_heard_of_it() -> None:
    (seen,) = webhook_statuses([hook(enabled=False)], [says({"state": "Disabled", "reason": "410"})])
    assert (seen.state, seen.reason) == ("Paused", None)


def test_what_waits_is_counted_once_as_who_asked_last_saw_it() -> None:
    old = says({"pending": 500, "oldestPendingSeconds": 60, "askedSecondsAgo": 9.0})
    new = says({"pending": 7, "oldestPendingSeconds": 2, "askedSecondsAgo": 0.5})
    (seen,) = webhook_statuses([hook()], [old, new, says({})])
    assert (seen.pending, seen.oldest_pending_seconds) == (7, 2)


def test_nothing_is_told_of_what_nobody_knows_or_nobody_declared() -> None:
    assert webhook_statuses([hook("other")], [says({})]) == []
    assert webhook_statuses([hook()], []) == []


@pytest.mark.parametrize(
    ("said", "state", "reason", "pending"),
    [
        ([{"state": "waiting"}, {"state": "relaying", "backlog": 9, "oldestSeconds": 3.7}], "Relaying", None, 9),
        ([{"state": "failing", "message": "no route"}, {"state": "relaying", "message": "Row 1 was put aside"}], "Relaying",
         "Row 1 was put aside", 0),
        ([{"state": "waiting"}, {"state": "failing", "message": "no table"}], "Failing", "no table", None),
        ([{"state": "starting"}], "Starting", None, None),
    ],
)  # fmt: skip
def test_of_an_outbox_the_one_that_relays_it_knows_most(said: list[dict[str, Any]], state: str, reason: str, pending: int | None) -> None:
    (seen,) = outbox_statuses([OUTBOX], [says(outbox={"name": "shop"} | each) for each in said])
    assert (seen.state, seen.reason, seen.pending) == (state, reason, pending)


def test_a_backlog_is_what_more_dispatchers_would_deliver_sooner() -> None:
    waiting = {"pending": 1000, "retrying": 100}
    assert backlog([hook()], [says(waiting)]) == 900
    assert backlog([hook()], [says(waiting), says(waiting | {"state": "Open"})]) == 0, "its endpoint is left alone"
    for more in ({"enabled": False}, {"ratePerSecond": 5}, {"ordering": {"by": "subject"}}):
        assert backlog([hook(**more)], [says(waiting)]) == 0
    assert backlog([hook()], [says({})]) is None, "nobody knows yet"
    assert backlog([], []) == 0


def test_who_says_more_than_is_known_is_understood() -> None:
    made = DispatcherReport.model_validate({"new": 1, "webhooks": [{"name": "crm", "state": "Closed", "new": 2}]})
    assert [each.name for each in made.webhooks] == ["crm"]
