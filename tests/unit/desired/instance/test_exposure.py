"""Ways in from outside of the cluster, and what is said where the cluster lacks the kind."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from baas_operator.api.instance.component import Component as Options
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CERTIFICATE, HTTP_ROUTE, OPTIONAL_KINDS, POD_MONITOR
from baas_operator.desired.images import Images
from baas_operator.desired.instance import names
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.exposure import certificate_secret, exposure_manifests, fronted, lacking, terminates_tls
from baas_operator.desired.instance.monitoring import monitoring_manifests
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import http_probe

OWNER = Owner("BaasInstance", "prod", "shop")
HOSTS = ["api.shop.example", "shop.example"]
ALL = frozenset(kind.name for kind in OPTIONAL_KINDS)
OWN_CERTIFICATE = {"secretName": "own-certificate"}
ISSUED = {"issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"}}


def spec_of(**gateway: Any) -> BaasInstanceSpec:
    return BaasInstanceSpec.model_validate({"hosts": HOSTS, "components": {"gateway": gateway}})


def made(kinds: frozenset[str] = ALL, **gateway: Any) -> dict[str, Manifest]:
    return {each["kind"]: each for each in exposure_manifests(spec_of(**gateway), OWNER, kinds=kinds)}


def build(hosts: list[str] | None = None, **gateway: Any) -> list[Manifest]:
    spec = BaasInstanceSpec.model_validate({"hosts": hosts or [], "components": {"gateway": gateway}})
    return build_instance(spec, OWNER, Images(), InstanceFacts(jwks='{"keys": [{"kid": "a"}]}', kids=("a",)))


def test_nothing_is_made_that_was_not_asked_for() -> None:
    assert made() == made(tls=OWN_CERTIFICATE) == {}


def test_an_ingress_leads_all_hosts_to_the_gateway_and_ends_tls() -> None:
    ingress = made(ingress={"className": "nginx"}, tls=OWN_CERTIFICATE)["Ingress"]
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": HOSTS, "secretName": "own-certificate"}]
    assert [each["host"] for each in ingress["spec"]["rules"]] == HOSTS
    for rule in ingress["spec"]["rules"]:
        (path,) = rule["http"]["paths"]
        assert path["backend"] == {"service": {"name": "shop-gateway", "port": {"number": 8000}}}

    plain = made(ingress={})["Ingress"]["spec"]
    assert "ingressClassName" not in plain
    assert "tls" not in plain


def test_a_route_of_the_gateway_api_is_attached_to_the_gateway_that_is_named() -> None:
    route = made(httpRoute={"name": "public", "namespace": "infra", "sectionName": "https"})["HTTPRoute"]
    (parent,) = route["spec"]["parentRefs"]
    assert parent == {
        "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "infra", "sectionName": "https",
    }  # fmt: skip
    assert route["spec"]["hostnames"] == HOSTS
    (rule,) = route["spec"]["rules"]
    (backend,) = rule["backendRefs"]
    assert (backend["name"], backend["port"]) == ("shop-gateway", 8000)
    assert "namespace" not in made(httpRoute={"name": "public"})["HTTPRoute"]["spec"]["parentRefs"][0]


def test_a_certificate_is_for_all_hosts_and_where_the_gateway_or_the_ingress_looks_for_it() -> None:
    both = made(tls=ISSUED, ingress={})
    certificate = both["Certificate"]["spec"]
    assert certificate["dnsNames"] == HOSTS
    assert certificate["issuerRef"] == {"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert certificate["secretName"] == both["Ingress"]["spec"]["tls"][0]["secretName"] == "shop-gateway-tls"
    assert certificate_secret(OWNER, spec_of(tls=ISSUED).components.gateway) == "shop-gateway-tls"
    assert certificate_secret(OWNER, spec_of().components.gateway) is None


def test_tls_ends_once() -> None:
    """A gateway that sends plain HTTP to HTTPS behind an Ingress that ends TLS would lead clients in a circle."""
    for gateway, ends_here, behind in (
        ({}, False, False),
        ({"tls": OWN_CERTIFICATE}, True, False),
        ({"tls": OWN_CERTIFICATE, "ingress": {}}, False, True),
        ({"tls": ISSUED, "httpRoute": {"name": "public"}}, False, True),
    ):
        found = spec_of(**gateway).components.gateway
        assert (terminates_tls(found), fronted(found)) == (ends_here, behind), gateway


@pytest.mark.parametrize(
    ("gateway", "kind", "says"),
    [
        ({"httpRoute": {"name": "public"}}, HTTP_ROUTE, ("httproutes.gateway.networking.k8s.io", "the Gateway API", "httpRoute")),
        ({"tls": ISSUED}, CERTIFICATE, ("certificates.cert-manager.io", "cert-manager", "tls.issuerRef")),
    ],
)
def test_a_kind_that_the_cluster_lacks_is_left_out_and_named(gateway: Manifest, kind: Any, says: tuple[str, ...]) -> None:
    assert kind.name in made(**gateway)
    assert lacking(spec_of(**gateway), ALL) is None

    without = ALL - {kind.name}
    assert made(without, **gateway) == {}
    said = lacking(spec_of(**gateway), without)
    assert said
    assert all(each in said for each in says)
    assert lacking(spec_of(), frozenset()) is None


# --- PodMonitors --------------------------------------------------------------------------------------------------------


def part(name: str, **more: Any) -> Component:
    probe = http_probe("/", 1, period=1, failures=1)
    return Component(name, Options(), "image", 1000, {"http": 8000, "health": 8001}, probe, probe, probe, **more)


def test_podmonitors_find_pods_by_labels_and_ports_that_they_have() -> None:
    parts = [part("gateway", scrape=8001), part("rest"), part("server", scrape=8000, scrape_path="/parse/metrics")]
    gateway, server = monitoring_manifests(OWNER, parts, kinds=ALL, labels={"release": "x"})

    assert gateway["metadata"]["name"] == "shop-gateway"
    assert gateway["metadata"]["labels"]["release"] == "x"
    assert gateway["metadata"]["labels"].items() >= OWNER.selector("gateway").items(), "the operator finds it again"
    assert gateway["spec"]["selector"]["matchLabels"].items() <= OWNER.labels("gateway").items()
    (endpoint,) = gateway["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("health", "/metrics")
    assert {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]} == {
        "scope": ["__meta_kubernetes_pod_label_baas_operator_io_name"],
        "component": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"],
    }
    assert server["spec"]["podMetricsEndpoints"][0]["path"] == "/parse/metrics"


def test_without_the_prometheus_operator_there_are_none() -> None:
    assert monitoring_manifests(OWNER, [part("gateway", scrape=8001)], kinds=ALL - {POD_MONITOR.name}, labels={}) == []


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ({}, None),
        ({"type": "NodePort"}, "Cluster"),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, "Local"),
        ({"type": "NodePort", "externalTrafficPolicy": "Cluster"}, "Cluster"),
    ],
)
def test_what_nodes_do_with_traffic_from_outside_is_as_asked_and_nothing_of_a_cluster_address(
    said: dict[str, str], policy: str | None
) -> None:
    built = build(service=said)
    policies = {
        each["metadata"]["name"]: each["spec"].get("externalTrafficPolicy") for each in built if each["kind"] == "Service"
    }  # fmt: skip
    assert policies.pop("shop-gateway") == policy
    assert set(policies.values()) == {None}, "others are for the cluster alone"


@pytest.mark.parametrize(("tls", "port"), [(None, "http"), (OWN_CERTIFICATE, "https")])
def test_the_node_port_leads_to_what_clients_outside_use(tls: dict[str, str] | None, port: str) -> None:
    built = build(service={"type": "NodePort", "nodePort": 30080}, tls=tls)
    (service,) = [each for each in built if (each["kind"], each["metadata"]["name"]) == ("Service", "shop-gateway")]
    assert {each["name"]: each["nodePort"] for each in service["spec"]["ports"] if "nodePort" in each} == {port: 30080}


@pytest.mark.parametrize("hosts", [[], HOSTS, ["shop-gateway.prod.svc"]])
def test_what_is_called_inside_the_cluster_is_served_by_plain_http_also_with_tls(hosts: list[str]) -> None:
    built = build(hosts, tls=OWN_CERTIFICATE)
    (files,) = [each["data"] for each in built if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "shop-gateway")]
    (routes,) = json.loads(files["routes.yaml"])["resources"]
    for host in routes["virtual_hosts"]:
        for redirect in host["routes"][:2]:
            (own,) = [each for each in redirect["match"]["headers"] if each.get("invert_match")]
            for called in (names.gateway_url(OWNER).removeprefix("http://"), "shop-gateway", "shop-gateway.prod.svc.cluster.local"):
                assert re.fullmatch(own["string_match"]["safe_regex"]["regex"], called)
    assert len(routes["virtual_hosts"][0]["domains"]) == len(set(routes["virtual_hosts"][0]["domains"]))
