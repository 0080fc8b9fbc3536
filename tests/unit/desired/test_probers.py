"""Probers as children of a backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance, instance_secrets
from baas_operator.desired.instance.probes import probe_sql, probes_of
from baas_operator.desired.meta import Manifest
from baas_operator.engine.generate import build_secret
from baas_operator.observe.view import secret_text
from baas_operator.prober.config import Secrets
from baas_operator.prober.transactions import ENGINES
from tests.unit.objects import owner

SHOP = owner(BAAS_INSTANCE, "shop")
S3 = {"endpoint": "https://s3.example", "bucket": "shop", "credentials": {"secretName": "shop-s3"}}


def spec(**said: Any) -> BaasInstanceSpec:
    return BaasInstanceSpec.model_validate(said)


def made(**said: Any) -> dict[tuple[str, str], Manifest]:
    found = build_instance(spec(**said), SHOP, Images(), InstanceFacts(jwks='{"keys": []}'))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def told(found: dict[tuple[str, str], Manifest]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(found["ConfigMap", "shop-prober"]["data"]["probe.json"])
    return config


def mounted(found: dict[tuple[str, str], Manifest]) -> dict[str, set[str]]:
    volumes = found["Deployment", "shop-prober"]["spec"]["template"]["spec"]["volumes"]
    return {each["secret"]["secretName"]: {item["key"] for item in each["secret"]["items"]} for each in volumes if "secret" in each}


def sql(found: dict[tuple[str, str], Manifest]) -> str:
    (job,) = [name for kind, name in found if kind == "Job"]
    return str(found["ConfigMap", job]["data"]["run.sql"])


def test_there_is_one_a_zone_and_none_in_a_backend_that_sleeps() -> None:
    deployment = made()["Deployment", "shop-prober"]
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert made(hibernate=True)["Deployment", "shop-prober"]["spec"]["replicas"] == 0


def test_without_probers_there_is_nothing_of_them_but_what_sql_made() -> None:
    found = made(prober={"enabled": False})
    assert not [each for each in found if "probe" in each[1]]
    assert not [each for each in instance_secrets(spec(prober={"enabled": False}), SHOP) if "probe" in each.name]
    assert "baas_probe" not in str(found["Deployment", "shop-rest"])
    assert "baas_probe" in str(made()["Deployment", "shop-rest"])
    assert sql(found) == sql(made()), "to switch them on and off runs no SQL"


def test_they_go_where_the_gateway_goes() -> None:
    pod = made(components={"gateway": {"placement": {"nodeSelector": {"pool": "edge"}}, "imagePullSecrets": [{"name": "registry"}]}})[
        "Deployment", "shop-prober"
    ]["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["imagePullSecrets"]) == ({"pool": "edge"}, [{"name": "registry"}])


def test_what_there_is_is_probed_with_no_more_keys_than_that_needs() -> None:
    found = made(components={"auth": {"enabled": False}})
    assert [each["name"] for each in told(found)["transactions"]] == ["read", "write"]
    assert mounted(found) == {"shop-api-keys": {"probe"}}

    found = made()
    assert [each["name"] for each in told(found)["transactions"]] == ["read", "write", "sign-in"]
    assert mounted(found) == {"shop-api-keys": {"probe", "anon", "service_role"}, "shop-probe-user": {"username", "password"}}

    for name, value in (("GOTRUE_EXTERNAL_EMAIL_ENABLED", "false"), ("GOTRUE_SECURITY_CAPTCHA_ENABLED", "TRUE")):
        for options in ({"settings": {name: value}}, {"env": [{"name": name, "value": value}]}):
            found = made(components={"auth": options})
            assert [each["name"] for each in told(found)["transactions"]] == ["read", "write"], "GoTrue would refuse it for ever"
            assert mounted(found) == {"shop-api-keys": {"probe"}}
    found = made(components={"auth": {"settings": {"GOTRUE_EXTERNAL_EMAIL_ENABLED": "true", "GOTRUE_SECURITY_CAPTCHA_ENABLED": "0"}}})
    assert "sign-in" in [each["name"] for each in told(found)["transactions"]]

    found = made(components={"auth": {"enabled": False}, "storage": {"s3": S3}})
    assert [each["name"] for each in told(found)["transactions"]] == ["read", "write", "upload"]
    assert mounted(found) == {"shop-api-keys": {"probe", "service_role"}}


def test_a_key_that_is_not_drawn_yet_keeps_no_pod_from_starting() -> None:
    volumes = made()["Deployment", "shop-prober"]["spec"]["template"]["spec"]["volumes"]
    assert all(each["secret"]["optional"] is True for each in volumes if "secret" in each)


def test_another_interval_rolls_no_pod() -> None:
    before, after = made(), made(prober={"intervalSeconds": 5})
    assert told(before) != told(after)
    assert before["Deployment", "shop-prober"] == after["Deployment", "shop-prober"]
    assert told(after)["deadlineSeconds"] == 5


def test_they_go_through_the_gateway_by_the_name_that_clients_use() -> None:
    assert told(made())["gateway"] == {
        "address": "shop-gateway.prod.svc", "port": 8000, "host": "shop-gateway.prod.svc:8000", "tls": None, "named": False,
    }  # fmt: skip
    found = made(hosts=["api.shop.example"], components={"gateway": {"tls": {"secretName": "shop-tls"}}})
    assert told(found)["gateway"] == {
        "address": "shop-gateway.prod.svc", "port": 8443, "host": "api.shop.example", "tls": "/etc/baas/probe-tls", "named": True,
    }  # fmt: skip
    assert mounted(found)["shop-tls"] == {"tls.crt", "ca.crt"}, "and never its private key"
    found = made(hosts=["api.shop.example"], components={"gateway": {"tls": {"secretName": "shop-tls"}, "ingress": {}}})
    assert (told(found)["gateway"]["port"], told(found)["gateway"]["tls"]) == (8000, None), "TLS ends at the Ingress"
    assert "shop-tls" not in mounted(found)


def test_the_probers_key_is_of_a_role_that_is_for_them_alone() -> None:
    drawn: dict[str, Manifest] = {}
    for request in instance_secrets(spec(), SHOP):
        drawn[request.name] = build_secret(request, source=drawn.get(request.source or ""), now=1_790_000_000)
    key = secret_text(drawn["shop-api-keys"], "probe")
    assert key is not None
    assert jwt.decode(key, options={"verify_signature": False})["role"] == "baas_probe"
    assert "baas_probe" in sql(made())


def test_pods_that_read_from_standbys_are_asked_for_the_schema_behind_them() -> None:
    found = made()
    assert told(found)["standbySchema"] == {"host": "shop-reads.prod.svc", "port": 3000}
    (port,) = found["Service", "shop-reads"]["spec"]["ports"]
    assert port["port"] == 3000
    assert found["Service", "shop-reads"]["spec"]["clusterIP"] == "None", "so its name leads to each of its pods"
    to = {"podSelector": {"matchLabels": SHOP.selector("reads")}}
    ways = found["NetworkPolicy", "shop-prober"]["spec"]["egress"]
    assert {"to": [to], "ports": [{"port": 3000, "protocol": "TCP"}]} in ways
    without = made(components={"reads": {"enabled": False}})
    assert "standbySchema" not in told(without)
    assert "standbySchema" not in told(made(engine="parse", components={}))


def test_what_is_shown_is_what_the_schema_is_told_of() -> None:
    text = probe_sql(spec(components={"rest": {"schemas": ["api", "more"]}}), SHOP)
    assert "nspname IN ('api', 'more', 'public')" in text
    assert text == probe_sql(spec(components={"rest": {"schemas": ["api", "more"]}}, prober={"enabled": False}), SHOP)


def test_parse_is_probed_by_its_own_means() -> None:
    wanted = probes_of(spec(engine="parse", components={"server": {"appId": "shop-app"}}), SHOP)
    assert wanted is not None
    assert [each.name for each in wanted.transactions] == ["read", "write", "sign-in"]
    assert wanted.settings == {"appId": "shop-app"}
    assert wanted.secrets["shop-api-keys"] == ("probe",), "by which the gateway knows a prober"


def test_all_transactions_are_known_to_the_program() -> None:
    for engine, more in (("supabase", {"storage": {"s3": S3}}), ("parse", {})):
        wanted = probes_of(spec(engine=engine, components=more), SHOP)
        assert wanted is not None
        known = ENGINES[engine](Secrets(Path("/nowhere")), 0, wanted.settings).all()
        assert {each.name for each in wanted.transactions} == set(known)
