"""A LimitRange below what pods request: they would be refused when they are made anew, so it is told and not made."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, STALLED
from baas_operator.policy.plan import Plan
from tests.unit.objects import message, reason, status
from tests.unit.policy.backend import Backend

WORKER = {"name": "big", "image": "b:1", "stream": "orders", "resources": {"requests": {"memory": "2Gi"}}}
JOB = {"name": "big", "image": "b:1", "schedule": "@daily", "resources": {"requests": {"cpu": "3"}}}


def asking(spec: Manifest | None = None, **default: str) -> dict[str, Any]:
    return (spec or {}) | {"isolation": {"limitRange": {"default": default}}}


def limits(plan: Plan) -> list[Manifest]:
    return [each["spec"]["limits"][0]["default"] for each in plan.manifests if each["kind"] == "LimitRange"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (asking(memory="128Mi"), "default.memory is 128Mi, and container postgres of StatefulSet shop-db requests 256Mi"),
        (asking(cpu="50m", memory="1Gi"), "default.cpu is 50m, and container"),
        (asking({"workers": [WORKER]}, memory="1Gi"), "container program of Deployment shop-worker-big requests 2Gi"),
        (asking({"jobs": [JOB]}, cpu="2"), "container program of CronJob shop-job-big requests 3"),
    ],
)
def test_one_that_would_keep_pods_from_being_made_is_told_and_not_made(spec: Manifest, said: str) -> None:
    shop = Backend(**spec).serving()

    plan = shop.plan()

    assert status(plan, READY)
    assert reason(plan, STALLED) == "LimitsTooLow"
    assert said in message(plan, STALLED)
    assert limits(plan) == []


def test_the_one_that_is_there_stays_until_it_is_put_right() -> None:
    shop = Backend(**asking(cpu="1", memory="512Mi")).serving()
    assert limits(shop.plan()) == [{"cpu": "1", "memory": "512Mi"}]

    shop.resource["spec"] |= asking(memory="128Mi")
    plan = shop.reconcile()
    assert reason(plan, STALLED) == "LimitsTooLow"
    assert limits(plan) == [{"cpu": "1", "memory": "512Mi"}], "or it would be pruned"

    shop.resource["spec"] |= asking(memory="256Mi")
    plan = shop.reconcile()
    assert reason(plan, STALLED) is None
    assert limits(plan) == [{"memory": "256Mi"}]


def test_containers_with_a_limit_of_their_own_do_not_count() -> None:
    shop = Backend(**asking(memory="200Mi")).serving()
    assert reason(shop.plan(), STALLED) == "LimitsTooLow"

    database = shop.others[DATABASE_REPLICA.name, "shop-db"]
    database["spec"] = {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}}
    assert reason(shop.plan(), STALLED) is None


def test_it_is_known_before_the_database_is_there() -> None:
    shop = Backend(**asking(memory="128Mi"))
    shop.draw_keys()

    assert limits(shop.plan()) == []
