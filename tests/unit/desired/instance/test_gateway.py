"""What the gateway's files promise whatever they are made of. That Envoy takes them, and does as they say: tests/backend/gateway."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from baas_operator.api.instance.gateway import Gateway
from baas_operator.api.instance.isolation import ContainerDefaults
from baas_operator.desired.instance.gateway import (
    GatewayInput,
    GatewaySpec,
    Limits,
    Ports,
    Rate,
    Route,
    Upstream,
    bootstrap_of,
    drain_path,
    gateway_files,
    gateway_spec,
    in_effect,
)
from baas_operator.desired.instance.gateway.limits import of_one_pod
from baas_operator.desired.instance.gateway.postgrest import UNDONE_HEADER

JWKS = json.dumps({"keys": [{"kid": "b", "kty": "EC"}, {"kid": "a", "kty": "EC"}]})
UPSTREAMS = (
    Upstream("rest", "shop-rest.ns.svc", 3000, 3001, "/ready", fallback="reads", priority=0),
    Upstream("reads", "shop-reads.ns.svc", 3000, 3001, "/ready", priority=0),
    Upstream("meta", "shop-meta.ns.svc", 8080, 8080, "/health", priority=3),
)
ROUTES = (
    Route("/auth/v1/", "meta", "api-key"),
    Route("/rest/v1/", "rest", "api-key"),
    Route("/auth/v1/callback", "meta", "public"),
    Route("/pg/", "meta", "service-key"),
    Route("/realtime/v1/", "meta", "upgrade", websocket=True),
)
PLAIN = GatewayInput(UPSTREAMS, ROUTES, JWKS, "baas-operator")


def _resources(given: GatewayInput, file: str) -> list[dict[str, Any]]:
    return list(json.loads(gateway_files(given)[file])["resources"])


def _public(given: GatewayInput) -> list[dict[str, Any]]:
    (configuration,) = _resources(given, "routes.yaml")
    return list(configuration["virtual_hosts"][0]["routes"])


def test_only_what_envoy_can_not_follow_rolls_the_pods() -> None:
    at_first = bootstrap_of(gateway_files(PLAIN))
    for other in (
        replace(PLAIN, jwks=JWKS.replace("EC", "RSA")),
        replace(PLAIN, routes=ROUTES[:1]),
        replace(PLAIN, hosts=("api.shop.example",)),
        replace(PLAIN, upstreams=(*UPSTREAMS, Upstream("more", "more.ns.svc", 1, 1, "/"))),
        replace(PLAIN, spec=GatewaySpec(replicas=9, tls=True, cors_origins=("https://shop.example",), limits=Limits(total=Rate(1, 1)))),
        replace(PLAIN, issuer="other", drain_key="secret"),
    ):
        assert bootstrap_of(gateway_files(other)) == at_first
    assert bootstrap_of(gateway_files(replace(PLAIN, spec=GatewaySpec(limits=Limits(connections=5))))) != at_first
    assert bootstrap_of(gateway_files(replace(PLAIN, ports=Ports(admin=1)))) != at_first


def test_a_file_changes_its_version_only_with_its_content() -> None:
    before, after = gateway_files(PLAIN), gateway_files(replace(PLAIN, jwks=JWKS.replace("EC", "RSA")))
    assert {name for name in before if before[name] != after[name]} == {"filter-jwt.yaml", "health-routes.yaml"}
    assert gateway_files(PLAIN) == before


def test_every_source_follows_the_folder_and_none_a_single_file() -> None:
    def sources(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, dict):
            own = [value["path_config_source"]] if "path_config_source" in value else []
            return own + [found for each in value.values() for found in sources(each)]
        return [found for each in value for found in sources(each)] if isinstance(value, list) else []

    files = gateway_files(replace(PLAIN, spec=GatewaySpec(tls=True)))
    found = [source for text in files.values() for source in sources(json.loads(text))]
    assert {source["watched_directory"]["path"] for source in found} == {PLAIN.folder}
    assert {source["path"].removeprefix(f"{PLAIN.folder}/") for source in found} == set(files) - {"envoy.yaml"}


def test_a_write_is_tried_again_only_if_it_has_not_arrived() -> None:
    for route in _public(PLAIN)[:-1]:
        tried = set(route["route"]["retry_policy"]["retry_on"].split(","))
        methods = [each for each in route["match"].get("headers", []) if each["name"] == ":method"]
        if methods and "safe_regex" in methods[0]["string_match"]:
            assert methods[0]["string_match"]["safe_regex"]["regex"] == "GET|HEAD"
        else:
            assert tried == {"connect-failure", "refused-stream"}, route["match"]
        assert "hedge_policy" not in route["route"]


def test_a_write_waits_where_it_is_told_what_was_not_done() -> None:
    held = replace(PLAIN, upstreams=(replace(UPSTREAMS[0], waits=True), *UPSTREAMS[1:]))
    reads, writes = [route["route"] for route in _public(held)[:-1] if route["match"].get("prefix") == "/rest/v1/"]
    assert (reads["cluster"], writes["cluster"]) == ("rest-or-reads", "rest-or-waiting")
    assert "retriable_headers" not in reads["retry_policy"]
    assert set(writes["retry_policy"]["retry_on"].split(",")) == {"connect-failure", "refused-stream", "retriable-headers"}
    made = {each["name"]: each for each in _resources(held, "clusters.yaml")}
    assert made["rest-or-waiting"]["cluster_type"]["typed_config"]["clusters"] == ["rest", "rest-waiting"]
    where = [made[name]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"] for name in ("rest", "rest-late")]
    assert where[0] == where[1]
    (removed,) = [each["response_headers_to_remove"] for each in _resources(held, "routes.yaml")]
    assert UNDONE_HEADER in removed, "no client sees by what the gateway knows it"


def test_the_fallback_is_for_reads_of_routes_that_may_be_repeated() -> None:
    clusters = [route["route"]["cluster"] for route in _public(PLAIN)[:-1] if route["match"].get("prefix") == "/rest/v1/"]
    assert clusters == ["rest-or-reads", "rest"]
    once = replace(PLAIN, routes=(replace(ROUTES[1], idempotent_reads=False),))
    assert [route["route"]["cluster"] for route in _public(once)[:-1]] == ["rest"]


def test_every_route_says_what_it_asks_for_and_longer_paths_come_first() -> None:
    made = _public(PLAIN)[:-1]
    lengths = [len(route["match"].get("prefix") or route["match"]["path"]) for route in made]
    assert lengths == sorted(lengths, reverse=True)
    for route in made:
        asked = route["typed_per_filter_config"].get("jwt")
        assert asked["requirement_name"] if asked else route["match"].get("path") == "/auth/v1/callback"
        assert ("role" in route["typed_per_filter_config"]) is (route["match"].get("prefix") == "/pg/")


def test_what_matters_less_is_given_less() -> None:
    most = {each["name"]: each["circuit_breakers"]["thresholds"][0]["max_requests"] for each in _resources(PLAIN, "clusters.yaml")}
    assert most["rest"] == most["reads"] == most["rest-or-reads"] > most["meta"]


@drawn(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 50))
def test_the_shares_of_the_pods_make_up_the_limit(per_second: int, burst: int, replicas: int) -> None:
    share = of_one_pod(Rate(per_second, burst), replicas)
    assert per_second <= share.per_second * replicas < per_second + replicas
    assert burst <= share.burst * replicas < burst + replicas


def test_what_is_told_of_the_configuration_in_effect() -> None:
    assert in_effect(PLAIN)["kids"] == ["a", "b"]
    assert in_effect(PLAIN)["checksum"] != in_effect(replace(PLAIN, issuer="other"))["checksum"]


def test_what_the_user_says_becomes_the_gateways_own_settings() -> None:
    assert gateway_spec(Gateway(), tls=False, trusted_hops=0) == GatewaySpec(trace_percent=0, limits=Limits(exempt_roles=("baas_probe",)))
    said = {
        "replicas": 2, "tls": {"secretName": "own"}, "cors": {"origins": ["https://shop.example"]},
        "limits": {"total": {"requestsPerSecond": 100, "burst": 300}, "perClient": {"requestsPerSecond": 5}, "bodyBytes": 2048},
        "tracing": {"endpoint": "otel.tracing.svc:4317", "samplePercent": 7},
    }  # fmt: skip
    assert gateway_spec(Gateway.model_validate(said), tls=True, trusted_hops=1) == GatewaySpec(
        replicas=2, tls=True, trusted_hops=1, cors_origins=("https://shop.example",), tracing="otel.tracing.svc:4317", trace_percent=7,
        limits=Limits(total=Rate(100, 300), per_key=Rate(5, 10), per_address=Rate(5, 10), body_bytes=2048, exempt_roles=("baas_probe",)),
    )  # fmt: skip


def test_there_is_no_way_to_drain_without_a_key() -> None:
    assert "/drain" not in gateway_files(PLAIN)["health-routes.yaml"]
    assert drain_path("x1") in gateway_files(replace(PLAIN, drain_key="x1"))["health-routes.yaml"]
    assert "healthcheck/fail" not in gateway_files(replace(PLAIN, drain_key="x1"))["routes.yaml"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (replace(PLAIN, routes=(Route("/x/", "nobody", "public"),)), "Route /x/ leads to upstream nobody, which is not there."),
        (replace(PLAIN, upstreams=UPSTREAMS[:1] + UPSTREAMS[2:]), "Upstream rest falls back to reads, which is not there."),
        (replace(PLAIN, jwks='{"keys": []}'), "The key set has no key"),
        (replace(PLAIN, jwks='{"keys": [{"kid": "a", "kty": "EC", "d": "x"}]}'), "private or symmetric key"),
        (replace(PLAIN, jwks='{"keys": [{"kid": "a", "kty": "oct", "k": "x"}]}'), "private or symmetric key"),
    ],
)
def test_what_can_not_be_is_said(wrong: GatewayInput, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        gateway_files(wrong)


@pytest.mark.parametrize(("limits", "bytes_"), [
    ({}, 512 * 2**20), ({"cpu": "1"}, 512 * 2**20), ({"memory": "256Mi"}, 256 * 2**20 * 8 // 10), ({"memory": "4Gi"}, 512 * 2**20),
])  # fmt: skip
def test_it_refuses_before_the_kernel_ends_it(limits: dict[str, str], bytes_: int) -> None:
    said = Gateway.model_validate({"resources": {"limits": limits}} if limits else {})
    assert gateway_spec(said, tls=False, trusted_hops=0).limits.heap_bytes == bytes_


def test_requests_have_the_time_that_the_user_says_and_silence_ends_none_sooner() -> None:
    said = gateway_spec(Gateway.model_validate({"limits": {"timeoutSeconds": 90}}), tls=False, trusted_hops=0)
    files = Route("/files/", "meta", "public", timeout_seconds=300, body_bytes=10)
    made = {
        each["match"].get("prefix"): each["route"]
        for each in _public(replace(PLAIN, spec=said, routes=(*ROUTES, files)))
        if "route" in each
    }
    assert (made["/rest/v1/"]["timeout"], made["/rest/v1/"]["idle_timeout"]) == ("90s", "95s")
    assert (made["/files/"]["timeout"], made["/files/"]["idle_timeout"]) == ("300s", "305s")
    assert made["/realtime/v1/"]["timeout"] == "0s"


def test_the_namespaces_default_limit_counts_where_the_gateway_says_none() -> None:
    defaults = ContainerDefaults.model_validate({"default": {"memory": "256Mi"}})
    said = gateway_spec(Gateway(), tls=False, trusted_hops=0, defaults=defaults)
    assert said.limits.heap_bytes == 256 * 2**20 * 8 // 10

    (rest,) = [each for each in _resources(replace(PLAIN, spec=said), "clusters.yaml") if each["name"] == "rest"]
    requests, streams = rest["circuit_breakers"]["thresholds"]
    assert streams["max_requests"] == said.limits.heap_bytes // 2**18
    assert streams["retry_budget"] == requests["retry_budget"], "clients that all come again after a pod went are led elsewhere"
