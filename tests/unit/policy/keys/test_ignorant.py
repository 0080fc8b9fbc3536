"""Who may not know a key yet, asked of what the operator really makes of a backend."""

from __future__ import annotations

import copy

from baas_operator.desired.meta import Manifest
from baas_operator.observe.keys import ignorant
from tests.unit.objects import secret
from tests.unit.policy.backend import Backend


def who(shop: Backend, kid: str) -> list[str]:
    """Those who may not know it, but for who signs: this backend has no Secret of signing keys."""
    return [each for each in ignorant(shop.view(), kid) if each != "shop-auth"]


def knows(shop: Backend, *kids: str) -> None:
    """The set has these keys, and all is rolled out."""
    jwks = ", ".join(f'{{"kid": "{each}"}}' for each in kids)
    shop.keys = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": f'{{"keys": [{jwks}]}}'})
    for _ in range(8):
        shop.reconcile()
        shop.roll_out()


def test_a_gateway_whose_file_was_not_taken_holds_a_rotation_up() -> None:
    """Else tokens of the new key, and the API keys, would be refused by it, with nothing said."""
    shop = Backend().serving()
    knows(shop, "one")
    assert who(shop, "one") == []
    before: Manifest = copy.deepcopy(shop.applied["ConfigMap", "shop-gateway"])
    knows(shop, "one", "two")
    assert who(shop, "two") == []

    shop.applied["ConfigMap", "shop-gateway"] = before
    assert who(shop, "two") == ["ConfigMap shop-gateway"]

    del before["metadata"]["annotations"]["baas-operator.io/key-ids"]
    assert who(shop, "one") == ["ConfigMap shop-gateway"], "of an operator whose files did not say it"
    del shop.applied["ConfigMap", "shop-gateway"]
    assert who(shop, "one") == ["ConfigMap shop-gateway"]
