"""How many pods a worker has: at once as many as its backlog asks for, one a minute less when it is gone, and always within bounds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.instance.programs import BacklogScaling
from baas_operator.policy.backlog import STEP_DOWN_SECONDS, wanted_workers
from tests.unit.policy.programs import DEPLOYMENT, MAILER, ORDERS, Backend, told

SCALES = {"autoscaling": {"minReplicas": 0, "maxReplicas": 8, "backlogPerReplica": 100}, "replicas": 0}


def test_the_first_message_wakes_a_worker_and_a_burst_gets_all_at_once() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(0)
    shop.reconcile()
    assert shop.replicas == 0
    assert told(shop.passes(3600).look())[0] is True, "none is wanted"

    shop.serve(1).reconcile()
    assert shop.replicas == 1
    assert told(shop.look())[0] is True, "it was just asked for"

    shop.passes(1).serve(730).reconcile()
    assert shop.replicas == 8
    shop.passes(1).serve(100_000).reconcile()
    assert shop.replicas == 8, "no more than maxReplicas"


def test_they_go_one_a_minute_and_the_operator_may_be_another_each_time() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(0)
    shop.reconcile()
    shop.passes(5).serve(400).reconcile()
    assert shop.replicas == 4

    shop.serve(0)
    began, gone = shop.now, []
    while shop.replicas:
        before = shop.replicas
        found = shop.reconcile()
        if shop.replicas < before:
            gone.append((shop.now - began).total_seconds())
        assert found.again_seconds is not None or not shop.replicas, "no event tells that a minute is over"
        shop.passes(found.again_seconds or 0)

    assert gone == [60.0, 120.0, 180.0, 240.0]


def test_the_last_one_stays_while_a_message_is_in_its_hands() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(1)
    shop.reconcile()
    shop.reconcile()

    for _ in range(5):
        shop.passes(120).reconcile()
        assert shop.replicas == 1
    shop.serve(0).reconcile()
    assert shop.replicas == 0


def test_a_backlog_that_is_not_known_changes_nothing() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(400)
    shop.reconcile()
    shop.reconcile()
    assert shop.replicas == 4

    shop.queue["status"] = {}
    shop.passes(3600).reconcile()

    assert shop.replicas == 4


@pytest.mark.parametrize("spec", [{"suspend": True, "streams": [ORDERS]}, {"streams": "of a newer operator"}], ids=["suspended", "unread"])
@pytest.mark.parametrize("last", [0, 5000])
def test_a_queue_that_nobody_looks_at_takes_no_worker_away_and_starts_none(spec: dict[str, Any], last: int) -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(400)
    shop.reconcile()
    shop.reconcile()
    assert shop.replicas == 4

    shop.serve(last).queue["spec"] = spec
    for _ in range(10):
        shop.passes(3600).reconcile()

    assert shop.replicas == 4, "the queue goes on, and its status says what was"


def test_what_somebody_scaled_by_hand_is_taken_back() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(400)
    shop.reconcile()
    shop.reconcile()
    shop.children[DEPLOYMENT]["spec"]["replicas"] = 40

    shop.reconcile()

    assert shop.replicas == 8, "within bounds at once, and then down as always"


def test_it_begins_with_replicas_within_its_bounds() -> None:
    shop = Backend(workers=[MAILER | {"replicas": 20, "autoscaling": {"minReplicas": 1, "maxReplicas": 6}}]).serve(None)
    shop.reconcile()

    assert shop.replicas == 6


@given(
    least=st.integers(0, 5), more=st.integers(0, 20), share=st.integers(1, 1000), waiting=st.none() | st.integers(0, 100_000),
    now=st.integers(0, 60), since=st.none() | st.floats(0, 1000),
)  # fmt: skip
def test_the_number_is_within_its_bounds_and_falls_by_one_at_the_most(
    least: int, more: int, share: int, waiting: int | None, now: int, since: float | None
) -> None:
    scaling = BacklogScaling(min_replicas=least, max_replicas=max(least + more, 1), backlog_per_replica=share)

    wanted = wanted_workers(scaling, waiting=waiting, now=now, since_seconds=since)

    assert least <= wanted <= scaling.max_replicas
    kept = min(max(now, least), scaling.max_replicas)
    assert wanted >= kept - 1
    if wanted < kept:
        assert since is None or since >= STEP_DOWN_SECONDS
        assert waiting is not None
        assert waiting <= wanted * share, "those that stay have room for it"
    if waiting:
        assert wanted >= 1
        assert wanted == scaling.max_replicas or wanted * share >= waiting


@given(st.integers(1, 500), st.lists(st.integers(-1, 1), min_size=50, max_size=50))
def test_a_backlog_that_stays_near_a_step_starts_and_ends_nothing(share: int, moves: list[int]) -> None:
    """Near: within a fifth of a pod's share."""
    scaling = BacklogScaling(min_replicas=0, max_replicas=50, backlog_per_replica=share)
    now: int | None = None
    moment = datetime(2026, 1, 1)
    for each in moves:
        moment += timedelta(seconds=STEP_DOWN_SECONDS)
        wanted = wanted_workers(scaling, waiting=3 * share + each * (share // 5), now=now or 3, since_seconds=None)
        assert now is None or wanted >= now
        now = wanted
