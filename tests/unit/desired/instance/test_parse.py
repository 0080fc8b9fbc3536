"""The parse engine as data."""

from __future__ import annotations

import json
from typing import Any

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance import parse_config
from baas_operator.desired.instance.build import InstanceFacts, build_instance, instance_secrets
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.parse import PARSE
from baas_operator.desired.meta import Owner
from baas_operator.engine.generate import build_secret

OWNER = Owner("BaasInstance", "prod", "shop")
S3 = {"endpoint": "https://s3.example", "bucket": "shop-files", "credentials": {"secretName": "files"}}
ALL: dict[str, Any] = {
    "server": {
        "appId": "the-shop",
        "cloudCode": {"configMap": "code"},
        "liveQuery": {"classes": ["Order"]},
        "s3": S3,
        "queryTimeoutSeconds": 9,
    },
    "dashboard": {"enabled": True},
    "cache": {"replicas": 3},
}


def given(components: dict[str, Any] | None = None, **more: Any) -> Given:
    spec = BaasInstanceSpec.model_validate({"engine": "parse", "components": components or {}, **more})
    return Given(OWNER, spec, Images(), jwks='{"keys": []}', versions={"code": "17"})


def named(what: Given) -> dict[str, Component]:
    return {each.name: each for each in PARSE.components(what)}


def test_an_empty_spec_has_three_servers_and_two_caches() -> None:
    made = named(given())

    assert {name: each.options.replicas for name, each in made.items()} == {"server": 3, "cache": 2}
    assert (made["server"].optional, made["cache"].optional) == (False, True)


def test_all_of_it_is_told_to_the_server() -> None:
    server = named(given(ALL, hosts=["api.shop.example"]))["server"]
    config = json.loads(server.config["config.json"])

    assert config["options"]["appId"] == "the-shop"
    assert config["options"]["publicServerURL"] == "http://api.shop.example/parse"
    assert config["options"]["liveQuery"] == {"classNames": ["Order"]}
    assert config["database"]["queryTimeoutMs"] == 9000
    assert config["s3"]["bucket"] == "shop-files"
    assert config["cache"]["hosts"] == ["shop-cache.prod.svc:6379"]
    assert server.rolls == ("17",)  # cloud code is read at the start
    assert {flow.to for flow in server.flows} == {"database", "cache", "outside"}


def test_every_file_that_the_configuration_names_is_mounted() -> None:
    def files(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [each for part in value.values() for each in files(part)]
        return [value] if isinstance(value, str) and value.startswith(("/etc/", "/cloud")) else []

    wanted = given(ALL)
    drawn = {each.name: build_secret(each, source=None, now=0) for each in PARSE.secrets(wanted.spec, OWNER)}
    for component in PARSE.components(wanted):
        if "config.json" not in component.config:
            continue
        mounted = set()
        for mount in component.mounts:
            there = mount.items.values() or (["main.js"] if mount.config_map else drawn[mount.secret or ""]["data"])
            mounted |= {f"{mount.path}/{file}" for file in there}
        assert set(files(json.loads(component.config["config.json"]))) <= mounted, component.name


def test_nothing_secret_is_in_what_everybody_may_read() -> None:
    wanted = given(ALL)
    secrets = {each.name: each for each in instance_secrets(wanted.spec, OWNER)}
    manifests = build_instance(wanted.spec, OWNER, Images(), InstanceFacts(jwks='{"keys": [{"kid": "one", "kty": "EC"}]}'))

    text = json.dumps(manifests)
    drawn = build_secret(secrets["shop-cache"], source=None, now=0)["data"]
    assert "requirepass" not in text
    assert all(each["kind"] != "Secret" for each in manifests)
    assert set(drawn) == {"password", "valkey.conf"}
    pods = [each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"]
    assert [
        container["name"] for pod in pods for container in pod["containers"] if "parse" in container["image"] and container["env"]
    ] == []


def test_the_dashboard_is_there_when_asked_for_alone() -> None:
    without, with_it = given(), given(ALL)

    assert "dashboard" not in named(without)
    assert [(route.prefix, route.websocket) for route in PARSE.routes(without)] == [("/parse/", False), ("/parse", True), ("/parse", False)]
    assert [route.prefix for route in PARSE.routes(with_it)] == ["/parse/", "/parse", "/parse", "/dashboard/", "/dashboard"]
    assert [each.name for each in PARSE.upstreams(with_it)] == ["server", "dashboard"]
    assert {each.name for each in PARSE.secrets(with_it.spec, OWNER)} - {each.name for each in PARSE.secrets(without.spec, OWNER)} == {
        "shop-dashboard"
    }


def test_requests_are_finished_before_the_pod_has_to_go() -> None:
    server = named(given())["server"]

    assert json.loads(server.config["config.json"])["drainSeconds"] < server.finish_seconds


def test_files_may_be_anywhere_only_where_no_host_is_said() -> None:
    def hosts(what: Given) -> list[str]:
        config = json.loads(named(what)["server"].config["config.json"])
        found: list[str] = config["options"]["fileUpload"]["allowedFileUrlDomains"]
        return found

    assert hosts(given()) == ["*"]
    assert hosts(given(hosts=["api.shop.example"])) == [
        "api.shop.example", "shop-gateway.prod", "shop-gateway.prod.svc", "shop-gateway.prod.svc.cluster.local",
    ]  # fmt: skip


def test_the_bootstrap_quotes_what_it_is_given() -> None:
    sql = PARSE.bootstrap(given().spec, Owner("BaasInstance", "prod", "my-shop")).sql

    assert 'ALTER ROLE "my_shop_owner" PASSWORD' in sql
    assert parse_config.app_id(given()) == "shop"
