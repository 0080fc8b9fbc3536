"""HTTPS is asked for of a backend that serves plain HTTP: nobody is led there before somebody listens."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.observe.view import Named
from baas_operator.policy.plan import Plan, TellPod
from tests.unit.objects import secret
from tests.unit.policy.backend import WELL, Backend

TLS = {"gateway": {"tls": {"secretName": "tls"}, "service": {"type": "NodePort", "nodePort": 30443}}}


def found(plan: Plan, kind: str, name: str) -> Any:
    return next(each for each in plan.manifests if (each["kind"], each["metadata"]["name"]) == (kind, name))


def led_there(plan: Plan) -> bool:
    return "https_redirect" in json.dumps(found(plan, "ConfigMap", "shop-gateway"))


def node_port_of(plan: Plan) -> str:
    (port,) = [each["name"] for each in found(plan, "Service", "shop-gateway")["spec"]["ports"] if "nodePort" in each]
    return str(port)


def asked_by(plan: Plan) -> Any:
    """How probers ask."""
    return json.loads(found(plan, "ConfigMap", "shop-prober")["data"]["probe.json"])["gateway"]["port"]


def has_port(plan: Plan) -> bool:
    ports = found(plan, "Deployment", "shop-gateway")["spec"]["template"]["spec"]["containers"][0]["ports"]
    return "https" in {each["name"] for each in ports}


CERTIFICATE = ("Secret", "tls")
GOOD = Named("7", frozenset({"tls.crt", "tls.key"}))


def serving_in_the_clear() -> Backend:
    shop = Backend(components={"gateway": {"service": TLS["gateway"]["service"]}}).serving()
    shop.keys = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": [{"kid": "one"}]}'})
    for _ in range(6):
        shop.reconcile()
        shop.roll_out()
    return shop


def tell(shop: Backend, plan: Plan) -> None:
    """Pods are told what the plan would have them told."""
    for each in plan.effects:
        if isinstance(each, TellPod):
            shop.pods["Pod", each.name]["metadata"].setdefault("annotations", {})[each.key] = each.value


def test_clients_and_probers_are_led_to_https_once_all_gateways_listen_there() -> None:
    shop = serving_in_the_clear()
    shop.named[CERTIFICATE] = GOOD
    shop.resource["spec"] = {"components": TLS}

    for _ in range(3):
        plan = shop.reconcile()
        assert (led_there(plan), node_port_of(plan), asked_by(plan)) == (False, "http", 8000)
        assert has_port(plan), "it is the gateways' turn"

    old = shop.pods["Pod", "shop-gateway-0"]
    shop.roll_out()
    new = shop.pods["Pod", "shop-gateway-0"]
    shop.pods["Pod", "shop-gateway-0"] = old
    assert not led_there(shop.plan()), "one is left"
    shop.pods["Pod", "shop-gateway-0"] = new

    plan = shop.plan()
    assert not led_there(plan), "they were not told of the certificate, which may have come after them"
    tell(shop, plan)
    plan = shop.plan()
    assert (led_there(plan), node_port_of(plan), asked_by(plan)) == (True, "https", 8443)

    shop.pods = {key: each for key, each in shop.pods.items() if not key[1].startswith("shop-gateway-")}
    assert led_there(shop.plan()), "one that is suspended has nobody who listens elsewhere"


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        (None, "SecretNotFound", "Secret 'tls', which spec.components.gateway.tls.secretName names, is not there"),
        (Named("7", frozenset({"tls.crt"})), "SecretIncomplete", "has no tls.key"),
        (replace(GOOD, flaw="its tls.crt is no certificate in PEM"), "SecretIncomplete", "its tls.crt is no certificate in PEM"),
    ],
)
def test_nobody_is_led_there_without_a_certificate(found: Named | None, reason: str, words: str) -> None:
    shop = serving_in_the_clear()
    if found:
        shop.named[CERTIFICATE] = found
    shop.resource["spec"] = {"components": TLS}
    for _ in range(3):
        tell(shop, shop.reconcile())
        shop.roll_out()
        plan = shop.reconcile()
        tell(shop, plan)
    assert (led_there(plan), node_port_of(plan), asked_by(plan)) == (False, "http", 8000)
    (stalled,) = [each for each in plan.conditions if each.type == "Stalled"]
    assert stalled.reason == reason
    assert words in stalled.message
    assert next(each for each in plan.conditions if each.type == "Ready").status, "it serves as before"
    assert plan.requeue_after is not None
    assert plan.requeue_after <= 10, "nobody watches it"

    shop.named[CERTIFICATE] = GOOD
    for _ in range(2):
        plan = shop.reconcile()
        tell(shop, plan)
    assert led_there(plan)
    assert not [each for each in plan.conditions if each.type == "Stalled"]


def test_who_was_led_there_is_not_served_in_the_clear_again() -> None:
    shop = serving_in_the_clear()
    shop.named[CERTIFICATE] = GOOD
    shop.resource["spec"] = {"components": TLS}
    for _ in range(3):
        tell(shop, shop.reconcile())
        shop.roll_out()
        tell(shop, shop.plan())
    assert led_there(shop.reconcile())

    del shop.named[CERTIFICATE]
    plan = shop.reconcile()
    assert led_there(plan)
    assert [each.reason for each in plan.conditions if each.type == "Stalled"] == ["SecretNotFound"]

    shop.resource["spec"] = {"components": {"gateway": {"service": TLS["gateway"]["service"]}}}
    assert not led_there(shop.reconcile())
    shop.resource["spec"] = {"components": TLS}
    assert not led_there(shop.reconcile()), "it is another day"


def test_a_new_backend_serves_nobody_in_the_clear() -> None:
    shop = Backend(components=TLS)
    shop.keys = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": [{"kid": "one"}]}'})
    shop.has(DATABASE_REPLICA, "shop-db", WELL)
    shop.has(EVENT_QUEUE, "shop-events", WELL)
    for _ in range(4):
        assert led_there(shop.reconcile())
        shop.roll_out()


def test_a_certificate_that_cert_manager_makes_is_waited_for() -> None:
    by_issuer = {"gateway": {"tls": {"issuerRef": {"name": "ca"}}}}
    shop = Backend(hosts=["shop.example"], components=by_issuer)
    shop.kinds = frozenset({"Certificate"})
    plan = shop.serving().reconcile()
    told = {each.type: each for each in plan.conditions}
    assert "Stalled" not in told
    assert told["Reconciling"].reason == "SecretNotFound"
    assert "cert-manager" in told["Reconciling"].message
