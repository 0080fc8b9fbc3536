"""A key that leaked is taken out of everything by the very reconcile that is told of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA
from baas_operator.desired.meta import Manifest
from baas_operator.engine.store import Key
from baas_operator.observe.conditions import READY
from baas_operator.observe.keys import read_key_set
from baas_operator.policy.telling import TOLD_ANNOTATION
from tests.unit.engine.picky import INVALID, QUOTA, Shop
from tests.unit.objects import NAMESPACE, condition, conditions, own, owner, pod

VERIFY = {("ConfigMap", "shop-gateway"), ("ConfigMap", "shop-rest"), ("ConfigMap", "shop-reads")}
ROLLED = {("Deployment", "shop-rest"), ("Deployment", "shop-reads"), ("Deployment", "shop-auth")}


def named_in(shop: Shop, kid: str) -> set[tuple[str, str]]:
    """The objects that still name a key, but for the one that remembers those that are gone."""
    return {
        (key.kind, key.name) for key, each in shop.api.objects.items()
        if key.kind in ("ConfigMap", "Deployment") and kid in str(each.get("data") or each.get("spec"))
    }  # fmt: skip


async def test_one_reconcile_takes_it_out_of_all_that_is_written() -> None:
    shop = Shop()
    await shop.reconcile()
    held = read_key_set(shop.api.objects[Key("Secret", NAMESPACE, "shop-signing-key")])
    assert held
    leaked = held.current.kid
    assert ("ConfigMap", "shop-gateway") in named_in(shop, leaked)
    told = copy.deepcopy(shop.api.objects[shop.key])
    told["spec"] = {"keys": {"revoked": [leaked]}}
    told["metadata"]["resourceVersion"] = "9000"
    shop.store.put(told)

    await shop.reconcile()

    assert named_in(shop, leaked) == set()


def changed(shop: Shop, kind: str, name: str, change: Callable[[Manifest], object]) -> None:
    """Somebody changes an object, and the watch tells."""
    found = copy.deepcopy(shop.api.objects[Key(kind, NAMESPACE, name)])
    change(found)
    shop.api._version += 1
    found["metadata"]["resourceVersion"] = str(shop.api._version)
    shop.api.objects[Key(kind, NAMESPACE, name)] = found
    shop.store.put(copy.deepcopy(found))


async def serving(**spec: Any) -> Shop:
    """A backend with all its components."""
    shop = Shop(**spec)
    if "databaseRef" in spec:
        shop.api.objects[Key("DatabaseReplica", NAMESPACE, "theirs")] = own(DATABASE_REPLICA, "theirs")
    await shop.reconcile()
    name = spec.get("databaseRef", {"name": "shop-db"})["name"]
    changed(shop, "DatabaseReplica", name, lambda each: each.update(status=conditions(condition(READY, True))))
    await shop.reconcile()
    (job,) = [key.name for key in shop.api.objects if key.kind == "Job"]
    changed(shop, "Job", job, lambda each: each.update(status={"succeeded": 1}))
    await shop.reconcile()
    assert named_in(shop, shop.keys.current.kid) == VERIFY | ROLLED
    return shop


def revoke(shop: Shop) -> str:
    leaked = shop.keys.current.kid
    changed(shop, *shop.key[::2], lambda each: each["spec"].update(keys={"revoked": [leaked]}))
    return leaked


def keys_told(shop: Shop) -> Any:
    return shop.api.objects[shop.key]["status"]["keys"]


def is_told_to_count_yet(shop: Shop, leaked: str) -> bool:
    told = keys_told(shop)
    assert (leaked in told["revoked"]) != (leaked in {each["kid"] for each in told["set"]})
    return leaked not in told["revoked"]


def blank(secret: Manifest) -> None:
    secret["data"]["password"] = ""


def going(child: Manifest) -> None:
    child["metadata"] |= {"deletionTimestamp": "2026-05-01T12:00:00Z", "finalizers": ["theirs/cleanup"]}


def taken(child: Manifest) -> None:
    child["metadata"] |= {"labels": {}, "ownerReferences": []}


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("Secret", "shop-role-owner", blank), ("Secret", "shop-role-owner", going), ("Secret", "shop-role-owner", taken),
        ("Service", "shop-rest", going), ("Service", "shop-rest", taken), ("DatabaseReplica", "shop-db", going),
        ("NetworkPolicy", "shop-bootstrap", taken),
    ],
)  # fmt: skip
async def test_whatever_else_is_refused_or_has_to_wait(kind: str, name: str, change: Callable[[Manifest], None]) -> None:
    shop = await serving()
    changed(shop, kind, name, change)
    leaked = revoke(shop)

    await shop.reconcile()

    assert named_in(shop, leaked) == set()
    assert not is_told_to_count_yet(shop, leaked)


async def test_what_needs_a_secret_that_is_not_as_it_should_be_waits_for_it() -> None:
    shop = await serving()
    for each in ("owner", "authenticator"):
        changed(shop, "Secret", f"shop-role-{each}", blank)
    leaked = revoke(shop)

    await shop.reconcile()

    assert named_in(shop, leaked) == ROLLED - {("Deployment", "shop-auth")}
    assert is_told_to_count_yet(shop, leaked)


async def test_of_a_contested_database() -> None:
    shop = await serving()
    changed(shop, "DatabaseReplica", "shop-db", lambda each: each.update(spec={"roles": [{"name": "shop_owner"}]}))
    gateway = pod(owner(BAAS_INSTANCE, "shop"), "shop-gateway-0", "gateway", on=None)
    gateway["metadata"]["resourceVersion"] = "1"
    shop.api.objects[Key("Pod", NAMESPACE, "shop-gateway-0")] = gateway
    shop.store.put(copy.deepcopy(gateway))
    leaked = revoke(shop)

    await shop.reconcile()

    assert (shop.told("Stalled") or ("",))[0] == "DatabaseContested"
    assert named_in(shop, leaked) == set()
    assert not is_told_to_count_yet(shop, leaked)
    version = shop.api.objects[Key("ConfigMap", NAMESPACE, "shop-gateway")]["metadata"]["resourceVersion"]
    told = shop.api.objects[Key("Pod", NAMESPACE, "shop-gateway-0")]["metadata"]["annotations"][TOLD_ANNOTATION]
    assert version in told.split("-"), "its kubelet looks at once"
    shop.api.writes.clear()
    await shop.reconcile()
    assert shop.api.writes == [], "once"


async def test_of_a_database_that_is_not_there_no_pod_is_made_anew() -> None:
    """They might be made for another, that a mistyped reference names."""
    shop = await serving(databaseRef={"name": "theirs"})
    shop.store.drop(shop.api.objects.pop(Key("DatabaseReplica", NAMESPACE, "theirs")))
    leaked = revoke(shop)

    await shop.reconcile()

    assert (shop.told("Stalled") or ("",))[0] == "DatabaseReplicaNotFound"
    assert named_in(shop, leaked) == ROLLED
    assert is_told_to_count_yet(shop, leaked)


async def test_one_that_the_gateway_still_takes_is_not_told_to_be_revoked() -> None:
    shop = await serving()
    leaked = revoke(shop)
    shop.refuse(("ConfigMap", "shop-gateway"), QUOTA)

    await shop.reconcile()

    assert named_in(shop, leaked) == {("ConfigMap", "shop-gateway")}
    assert {"kid": leaked, "state": "revoking"}.items() <= next(each for each in keys_told(shop)["set"] if each["kid"] == leaked).items()
    assert is_told_to_count_yet(shop, leaked)
    shop.api.refuses.clear()
    await shop.reconcile()
    assert not is_told_to_count_yet(shop, leaked)


async def test_what_is_refused_of_it_is_told_beside_what_else_is() -> None:
    shop = await serving()
    changed(shop, "DatabaseReplica", "shop-db", lambda each: each.update(spec={"roles": [{"name": "shop_owner"}]}))
    leaked = revoke(shop)
    shop.refuse(("ConfigMap", "shop-gateway"), INVALID)

    outcome = await shop.reconcile()

    assert outcome.failed, "it is tried again soon"
    assert "ConfigMap 'shop-gateway'" in (shop.told("Stalled") or ("", ""))[1]
    assert is_told_to_count_yet(shop, leaked)
