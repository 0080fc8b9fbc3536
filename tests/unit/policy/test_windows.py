"""Maintenance windows: open or not, in their own time zone, and a sentence for one that never opens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from baas_operator.api.placement import MaintenanceWindow
from baas_operator.policy.windows import Windows, look

SUNDAYS = MaintenanceWindow(schedule="0 2 * * SUN", duration_minutes=120)
"""2026-05-03 is a Sunday."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "opened"),
    [
        ("2026-05-03T01:59:59", None),
        ("2026-05-03T02:00:00", "2026-05-03T02:00:00"),
        ("2026-05-03T02:00:00.500", "2026-05-03T02:00:00"),
        ("2026-05-03T03:59:59", "2026-05-03T02:00:00"),
        ("2026-05-03T04:00:00", None),
    ],
)
def test_a_window_is_open_from_its_time_for_its_duration(now: str, opened: str | None) -> None:
    assert look([SUNDAYS], at(now)).since == (at(opened) if opened else None)


def test_the_next_opening_is_told_while_none_is_open() -> None:
    saturdays = MaintenanceWindow(schedule="30 4 * * SAT")

    assert look([SUNDAYS, saturdays], at("2026-05-01T12:00:00")) == Windows(following=at("2026-05-02T04:30:00"))
    assert look([SUNDAYS, saturdays], at("2026-05-03T02:10:00")) == Windows(since=at("2026-05-03T02:00:00"))
    assert look([], at("2026-05-01T12:00:00")) == Windows()


def test_the_schedule_is_that_of_its_time_zone_summer_and_winter() -> None:
    berlin = MaintenanceWindow(schedule="0 2 * * *", duration_minutes=30, time_zone="Europe/Berlin")

    assert look([berlin], at("2026-01-10T01:10:00")).since == at("2026-01-10T01:00:00")
    assert look([berlin], at("2026-07-10T00:10:00")).since == at("2026-07-10T00:00:00")


def test_what_opens_in_the_hour_that_is_left_out_in_spring_opens_after_it() -> None:
    berlin = MaintenanceWindow(schedule="30 2 * * *", duration_minutes=30, time_zone="Europe/Berlin")

    assert look([berlin], at("2026-03-29T01:10:00")).since == at("2026-03-29T01:00:00"), "03:00 in summer time"


@pytest.mark.parametrize(
    ("window", "why"),
    [
        (MaintenanceWindow(schedule="0 2 * * *", time_zone="Europe/Nowhere"), "'Europe/Nowhere' is no IANA time zone, such as"),
        (MaintenanceWindow(schedule="0 2 * * *", time_zone="America"), "'America' is no IANA time zone"),
        (MaintenanceWindow(schedule="61 2 * * *"), "'61 2 * * *' is no cron line of five fields (Bad minute), such as"),
        (MaintenanceWindow(schedule="0 2 31 2 *"), "'0 2 31 2 *'"),
        (MaintenanceWindow(schedule="0 2 30 2,2 *"), "'0 2 30 2,2 *'"),
    ],
)
def test_one_that_never_opens_is_told_and_takes_nothing_from_the_others(window: MaintenanceWindow, why: str) -> None:
    found = look([SUNDAYS, window], at("2026-05-03T02:10:00"))

    assert found.since == at("2026-05-03T02:00:00")
    assert found.wrong
    assert found.wrong.reason == "WindowInvalid"
    assert found.wrong.message.startswith("spec.maintenanceWindows[1] never opens: ")
    assert why in found.wrong.message


def test_a_window_that_opens_before_it_was_closed_counts_from_its_last_opening() -> None:
    hourly = MaintenanceWindow(schedule="0 * * * *", duration_minutes=120)
    now = at("2026-05-03T02:10:00")

    assert look([hourly], now).since == now - timedelta(minutes=10)
