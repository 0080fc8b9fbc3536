"""HTTPS is asked for of a backend that serves plain HTTP: nobody is led there before somebody listens."""

from __future__ import annotations

import json
from typing import Any

from baas_operator.policy.plan import Plan
from tests.unit.objects import secret
from tests.unit.policy.backend import Backend

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


def test_clients_and_probers_are_led_to_https_once_all_gateways_listen_there() -> None:
    plain = {"gateway": {"service": TLS["gateway"]["service"]}}
    shop = Backend(components=plain).serving()
    shop.keys = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": [{"kid": "one"}]}'})
    for _ in range(6):
        shop.reconcile()
        shop.roll_out()
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
    assert (led_there(plan), node_port_of(plan), asked_by(plan)) == (True, "https", 8443)

    shop.pods = {key: each for key, each in shop.pods.items() if not key[1].startswith("shop-gateway-")}
    assert led_there(shop.plan()), "one that is suspended, or new, has nobody who listens elsewhere"
