"""Components are rolled one after another."""

from __future__ import annotations

import base64
import json
from typing import Any

from baas_operator.observe.conditions import READY, RECONCILING
from tests.unit.objects import condition, keyed, reason, secret, status
from tests.unit.policy.backend import Backend

MORE = {"resources": {"requests": {"cpu": "70m"}}}
BOTH = {"components": {"rest": MORE, "auth": {"tokenSeconds": 600}, "gateway": MORE}}


def templates(shop: Backend) -> dict[str, Any]:
    return {name: each["spec"]["template"] for (kind, name), each in shop.applied.items() if kind == "Deployment"}


def rolls(shop: Backend) -> set[str]:
    """Reconcile; the components whose template changes with it. They are then under way."""
    before = templates(shop)
    shop.reconcile()
    changed = {name for name, each in templates(shop).items() if each != before[name]}
    for name in changed:
        shop.applied["Deployment", name]["status"] |= {"updatedReplicas": 1, "replicas": 4}
    return {each.removeprefix("shop-") for each in changed}


def arrives(shop: Backend, component: str) -> None:
    deployment = shop.applied["Deployment", f"shop-{component}"]
    count = deployment["spec"]["replicas"]
    deployment["status"] = {"observedGeneration": 1, "updatedReplicas": count, "replicas": count}


def test_the_next_one_is_rolled_when_the_one_before_has_arrived() -> None:
    shop = Backend().serving()
    shop.resource["spec"] = BOTH
    assert rolls(shop) == {"rest"}
    assert rolls(shop) == set(), "rest is under way"
    arrives(shop, "rest")
    assert rolls(shop) == {"auth"}
    arrives(shop, "auth")
    assert rolls(shop) == {"gateway"}, "last, as it leads to the others"
    arrives(shop, "gateway")
    assert rolls(shop) == set()
    assert status(shop.plan(), READY) is True


def test_one_that_is_under_way_may_be_changed_again() -> None:
    shop = Backend().serving()
    shop.resource["spec"] = BOTH
    assert rolls(shop) == {"rest"}
    shop.resource["spec"] = {"components": {"rest": {"resources": {"requests": {"cpu": "90m"}}}}}
    assert rolls(shop) == {"rest"}


def test_one_that_is_stuck_holds_nobody_up() -> None:
    shop = Backend().serving()
    shop.resource["spec"] = BOTH
    assert rolls(shop) == {"rest"}
    shop.applied["Deployment", "shop-rest"]["status"]["conditions"] = [
        condition("Progressing", False, "ProgressDeadlineExceeded", "has timed out")
    ]
    assert rolls(shop) == {"auth"}
    assert reason(shop.plan(), RECONCILING) == "RolloutStuck"


def test_one_that_the_api_server_does_not_take_holds_nobody_up() -> None:
    """As one with a variable that is none: it is tried again beside the next."""
    shop = Backend().serving()
    shop.resource["spec"] = BOTH
    shop.untaken = frozenset({("Deployment", "shop-rest")})
    plan = shop.plan()
    before, wanted = (
        templates(shop),
        {name: each["spec"]["template"] for (kind, name), each in keyed(*plan.manifests).items() if kind == "Deployment"},
    )
    assert {name for name, each in wanted.items() if each != before[name]} == {"shop-rest", "shop-auth"}


def test_how_many_there_are_waits_for_no_turn() -> None:
    shop = Backend().serving()
    shop.resource["spec"] = BOTH
    assert rolls(shop) == {"rest"}
    shop.resource["spec"] = {"components": BOTH["components"] | {"auth": {"tokenSeconds": 600, "replicas": 5}}}
    assert rolls(shop) == set()
    assert shop.applied["Deployment", "shop-auth"]["spec"]["replicas"] == 5


def test_those_from_before_are_taken_as_they_are() -> None:
    """The first operator that rolls in turns finds Deployments without a note: it writes it, and holds nothing up."""
    shop = Backend().serving()
    for (kind, _), each in shop.applied.items():
        if kind == "Deployment":
            each["metadata"].pop("annotations")
    shop.resource["spec"] = BOTH
    assert rolls(shop) == {"rest", "auth", "gateway"}


# --- a key that leaked ------------------------------------------------------------------------------------------------


def keyed_shop(*kids: str, gone: dict[str, bool] | None = None, **spec: Any) -> Backend:
    """One with these keys, of which the first signs. `gone`: those that left the set, and whether they were revoked."""
    shop = Backend(**spec)
    holds_keys(shop, *kids, gone=gone)
    shop.serving()
    return shop


def holds_keys(shop: Backend, *kids: str, gone: dict[str, bool] | None = None) -> None:
    at = "2026-05-01T10:00:00Z"
    keys = [{"kid": kid, "state": "previous" if number else "current", "since": at} for number, kid in enumerate(kids)]
    left = [{"kid": kid, "at": at, "revoked": revoked} for kid, revoked in (gone or {}).items()]
    signing = secret(
        shop.owner, "shop-signing-key", "instance",
        **{"keys.json": json.dumps({"keys": keys, "gone": left}), "gotrue-keys.json": json.dumps([{"kid": kid} for kid in kids])},
    )  # fmt: skip
    signing["metadata"]["annotations"] = {"baas-operator.io/signing-key": kids[0]}
    public = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": json.dumps({"keys": [{"kid": kid} for kid in kids]})})
    shop.drawn = keyed(signing, public)


FUNCTIONS = {"functions": {"configMap": "code"}}
VERIFIERS = {"rest", "reads", "auth"}


def test_a_key_that_leaked_leaves_all_who_verify_at_once() -> None:
    shop = keyed_shop("one", "two")
    shop.resource["spec"] = {"components": {"rest": MORE}}
    assert rolls(shop) == {"rest"}
    holds_keys(shop, "two", gone={"one": True})
    assert rolls(shop) == VERIFIERS, "rest is under way, and nobody waits for it"
    for name in VERIFIERS:
        strategy = shop.applied["Deployment", f"shop-{name}"]["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_those_who_hold_api_keys_that_it_signed_go_along() -> None:
    """Their keys are refused from that moment on."""
    shop = keyed_shop("one", components=FUNCTIONS)
    holds_keys(shop, "two", gone={"one": True})
    shop.drawn["Secret", "shop-api-keys"]["data"]["anon"] = base64.b64encode(token_of("two").encode()).decode()
    assert rolls(shop) == VERIFIERS | {"functions"}


def token_of(kid: str) -> str:
    return base64.urlsafe_b64encode(json.dumps({"kid": kid}).encode()).decode() + ".e30.s"


def test_a_key_that_was_taken_out_by_hand_leaves_at_once() -> None:
    shop = keyed_shop("one")
    holds_keys(shop, "two")
    assert rolls(shop) == VERIFIERS


def test_a_key_that_is_retired_in_its_time_leaves_one_after_another() -> None:
    shop = keyed_shop("two", "one")
    holds_keys(shop, "two", gone={"one": False})
    assert len(rolls(shop)) == 1


def test_one_that_was_retired_and_then_leaked_does_not_wait_either() -> None:
    leaked = "one".ljust(43, "-")
    shop = keyed_shop("two", leaked)
    holds_keys(shop, "two", gone={leaked: False})
    first = rolls(shop)
    assert len(first) == 1
    shop.resource["spec"] = {"keys": {"revoked": [leaked]}}
    assert rolls(shop) == VERIFIERS - first


def test_a_key_that_comes_waits_for_its_turn() -> None:
    shop = keyed_shop("one")
    holds_keys(shop, "one", "two")
    assert len(rolls(shop)) == 1
