"""What probers say, zone by zone."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.observe.probes import Probed, ProberReport, TransactionReport, Verdict, verdicts

ZONES = {"p-0": "zone-a", "p-1": "zone-b", "p-2": "zone-c"}
FAILED = {"failures": 2, "failure": "503", "failureAt": "2026-05-01T11:00:00Z"}


def said(**more: Any) -> TransactionReport:
    return TransactionReport.model_validate({"name": "write", "everySeconds": 30.0, "attempts": 5, "attemptedSecondsAgo": 10.0} | more)


def judged(zones: dict[str, str] | None = None, **reports: TransactionReport | None) -> Verdict:
    probed = Probed({name.replace("_", "-"): ProberReport(transactions=[each]) if each else None for name, each in reports.items()})
    (made,) = verdicts(["write"], zones or ZONES, probed)
    return made


def test_each_zone_is_well_fails_or_is_not_known() -> None:
    made = judged(p_0=said(), p_1=said(**FAILED), p_2=None)
    assert (made.well, made.failing, made.unknown, made.sentence) == (("zone-a",), ("zone-b",), ("zone-c",), "503")
    assert (made.last_failure_at, made.last_failure) == ("2026-05-01T11:00:00Z", "from zone-b: 503")


def test_a_single_failure_is_told_and_judges_nothing() -> None:
    made = judged(p_0=said(**FAILED | {"failures": 1}), p_1=said(), p_2=said())
    assert made.failing == ()
    assert made.last_failure == "from zone-a: 503"


def test_what_has_never_succeeded_is_not_well_before_it_fails() -> None:
    """A prober that was started in an outage."""
    first = FAILED | {"attempts": 1, "failures": 1}
    made = judged(p_0=said(**first), p_1=said(attempts=1), p_2=said(**FAILED | {"attempts": 2}))
    assert (made.well, made.failing, made.unknown) == (("zone-b",), ("zone-c",), ("zone-a",))
    assert made.last_failure == "from zone-c: 503"


def test_one_that_was_just_started_says_nothing_beside_another_of_its_zone() -> None:
    zones, first = {"p-0": "zone-a", "p-1": "zone-a"}, FAILED | {"attempts": 1, "failures": 1}
    assert judged(zones, p_0=said(**FAILED), p_1=said(**first)).failing == ("zone-a",)
    assert judged(zones, p_0=said(), p_1=said(**first)).well == ("zone-a",)


@pytest.mark.parametrize(
    "silent",
    [
        {"attempts": 0, "attemptedSecondsAgo": None},
        {"attemptedSecondsAgo": 106.0},
        {"trouble": "no mounted Secret has the key probe yet"},
    ],
)
def test_what_is_old_or_was_not_tried_says_nothing_of_now(silent: dict[str, Any]) -> None:
    made = judged(p_0=said(**FAILED | silent), p_1=said(), p_2=said())
    assert (made.well, made.failing, made.unknown) == (("zone-b", "zone-c"), (), ("zone-a",))


def test_one_pod_of_a_zone_that_succeeds_is_enough_for_it() -> None:
    zones = {"p-0": "zone-a", "p-1": "zone-a"}
    assert judged(zones, p_0=said(**FAILED), p_1=said()).well == ("zone-a",)
    assert judged(zones, p_0=said(**FAILED), p_1=said(**FAILED)).failing == ("zone-a",)
    assert judged(zones, p_0=said(**FAILED), p_1=None).failing == ("zone-a",)


def test_the_last_failure_is_the_youngest_of_all() -> None:
    made = judged(
        p_0=said(failureAt="2026-05-01T11:00:00Z", failure="old"), p_1=said(failureAt="2026-05-01T11:30:00Z", failure="young"), p_2=said()
    )
    assert made.last_failure == "from zone-b: young"


def test_reports_of_another_version_are_read() -> None:
    report = ProberReport.model_validate_json('{"rounds": 3, "mood": "fine", "transactions": [{"name": "write", "colour": "red"}]}')
    assert report.transactions[0].fresh is False
