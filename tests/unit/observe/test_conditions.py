"""Conditions: when they turned, and what kstatus may rely on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, ZONE_TOLERANT, Condition, find, is_true, merge, transitions
from baas_operator.policy.plan import Finding, Plan, conditions, refusal
from tests.unit.objects import condition, own
from tests.unit.objects import conditions as status_of

EARLIER, NOW = "2026-05-01T11:00:00Z", "2026-05-01T12:00:00Z"
findings = st.none() | st.builds(Finding, st.sampled_from(["ThisReason", "ThatReason"]), st.text(min_size=1, max_size=20))


def ready(status: bool | None, reason: str = "Because") -> Condition:
    return Condition(READY, status, reason, "It is so.")


def merged(*wanted: Condition, now: str = NOW, before: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    return merge(before or [], wanted, generation=3, now=now)


# --- lastTransitionTime ---------------------------------------------------------------------------------------------


def test_a_condition_that_stays_keeps_its_time_though_its_reason_changes() -> None:
    before = merged(ready(False, "NoPrimary"), now=EARLIER)

    (after,) = merged(ready(False, "Promoting"), before=before)

    assert after["lastTransitionTime"] == EARLIER
    assert after["reason"] == "Promoting"


@pytest.mark.parametrize("turned", [True, None])
def test_a_condition_that_turns_has_the_time_of_now(turned: bool | None) -> None:
    before = merged(ready(False), now=EARLIER)

    assert merged(ready(turned), before=before)[0]["lastTransitionTime"] == NOW


def test_one_that_went_away_and_came_back_turned() -> None:
    before = merged(ready(False), Condition(STALLED, True, "X", "x"), now=EARLIER)
    between = merged(ready(False), before=before, now=EARLIER)

    assert merged(ready(False), Condition(STALLED, True, "X", "x"), before=between)[1]["lastTransitionTime"] == NOW


def test_merging_the_same_again_changes_nothing() -> None:
    once = merged(ready(True), Condition(ZONE_TOLERANT, None, "X", "x"), now=EARLIER)

    assert merged(ready(True), Condition(ZONE_TOLERANT, None, "X", "x"), before=once) == once


def test_they_speak_of_the_generation_and_unknown_is_a_word() -> None:
    (made,) = merged(ready(None))

    assert (made["observedGeneration"], made["status"]) == (3, "Unknown")


def test_an_endless_message_is_cut() -> None:
    (made,) = merge([], [Condition(READY, False, "X", "x" * 5000)], generation=1, now=NOW)

    assert len(made["message"]) == 1000


# --- what deserves an Event -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda each: each, False),
        (lambda each: each | {"message": "In other words."}, False),
        (lambda each: each | {"observedGeneration": 9}, False),
        (lambda each: each | {"reason": "Other"}, True),
        (lambda each: each | {"status": "False"}, True),
    ],
)
def test_an_event_is_for_a_turn_or_another_reason(change: Callable[[dict[str, Any]], dict[str, Any]], told: bool) -> None:
    before = condition(READY, True)

    assert bool(transitions([before], [change(before)])) is told


def test_the_first_condition_is_news() -> None:
    assert transitions([], [condition(READY, True)])


# --- reading them ---------------------------------------------------------------------------------------------------


def test_a_condition_holds_until_it_is_judged_anew() -> None:
    found = own(DATABASE_REPLICA, "db", status=status_of(condition(READY, True)))
    assert is_true(found, READY)

    found["metadata"]["generation"] = 2
    assert is_true(found, READY)

    assert not is_true(own(DATABASE_REPLICA, "db", status=status_of(condition(READY, False))), READY)


@pytest.mark.parametrize("status", [{}, {"conditions": None}, {"conditions": []}])
def test_no_conditions_yet(status: dict[str, Any]) -> None:
    found = own(DATABASE_REPLICA, "db", status=status)

    assert find(found, READY) is None
    assert not is_true(found, READY)


# --- kstatus --------------------------------------------------------------------------------------------------------


def kstatus(plan_conditions: tuple[Condition, ...]) -> str:
    """What kstatus makes of them (sigs.k8s.io/cli-utils, pkg/kstatus, "generic" rules)."""
    now = {each.type: each.status for each in plan_conditions}
    if now.get(STALLED):
        return "Failed"
    if now.get(RECONCILING) or now.get(READY) is False:
        return "InProgress"
    return "Current"


@given(findings, findings, findings)
def test_ready_always_and_the_abnormal_only_while_true(
    unready: Finding | None, incomplete: Finding | None, fragile: Finding | None
) -> None:
    made = conditions(unready=unready, incomplete=incomplete, fragile=fragile, ready_message="Serves.", tolerant_message="Any.")
    by_type = {each.type: each for each in made}

    assert len(by_type) == len(made), "one of each"
    assert by_type[READY].status is (unready is None)
    assert (RECONCILING in by_type) is bool(unready or incomplete)
    assert STALLED not in by_type
    assert all(each.status for each in made if each.type == RECONCILING)
    assert kstatus(made) == ("InProgress" if unready or incomplete else "Current")
    assert by_type[ZONE_TOLERANT].status is (fragile is None)


@pytest.mark.parametrize("serves", [True, False])
def test_a_refusal_is_stalled_and_says_whether_it_serves(serves: bool) -> None:
    made: Plan = refusal(Finding("ZonesInsufficient", "Label the nodes."), ready=serves)

    assert kstatus(made.conditions) == "Failed"
    assert {each.type: each.status for each in made.conditions} == {READY: serves, STALLED: True}
    assert made.refused
    assert made.requeue_after is None, "nothing is tried again before something changes"
