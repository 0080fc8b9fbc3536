"""What a backend names and is not there is told: a pod that mounts it does not start, and only the kubelet's events say why."""

from __future__ import annotations

from typing import Any

from baas_operator.observe.view import Named
from baas_operator.policy.plan import Plan
from tests.unit.policy.backend import Backend

VOLUME = {"auth": {"volumes": [{"name": "more", "mountPath": "/more", "secret": "files"}]}}


def told(plan: Plan) -> dict[str, Any]:
    return {each.type: each for each in plan.conditions}


def test_a_volume_without_its_secret_is_told_while_what_runs_serves() -> None:
    shop = Backend(components=VOLUME).serving()
    found = told(shop.reconcile())
    assert found["Ready"].status
    assert (found["Stalled"].reason, found["Stalled"].message) == (
        "SecretNotFound",
        "Secret 'files', which spec.components.auth.volumes[more] names, is not there: create it, or name another.",
    )
    shop.named["Secret", "files"] = Named("3", frozenset())
    assert "Stalled" not in told(shop.reconcile())


def test_it_is_told_with_what_does_not_serve() -> None:
    shop = Backend(components=VOLUME).serving()
    shop.roll_out(ready=False)
    found = told(shop.reconcile())
    assert not found["Ready"].status
    assert (found["Ready"].reason, found["Stalled"].reason) == ("ComponentDown", "ComponentDown")
    assert "Secret 'files'" in found["Stalled"].message


def test_of_several_the_first_is_told_and_how_many_more() -> None:
    env = [{"name": name, "secret": {"name": "mail", "key": name}} for name in ("a", "b")]
    shop = Backend(components={"auth": {"env": env}}).serving()
    shop.named["Secret", "mail"] = Named("3", frozenset({"c"}))
    stalled = told(shop.reconcile())["Stalled"]
    assert stalled.reason == "SecretIncomplete"
    assert stalled.message.endswith("has no a: put it there, or name another. So it is with 1 more.")


def test_what_sleeps_needs_none() -> None:
    assert "Stalled" not in told(Backend(components=VOLUME, hibernate=True).serving().reconcile())
