"""Who of a backend may talk to whom: all pairs that must, and nobody else, as a network would read the policies."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, get_args

import pytest

from baas_operator.api.instance.component import Component as Options
from baas_operator.api.instance.isolation import Isolation
from baas_operator.api.instance.spec import BaasInstanceSpec, Engine
from baas_operator.api.instance.supabase import Storage
from baas_operator.desired.database import names as database_names
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance, components
from baas_operator.desired.instance.component import Component, Flow, Partner
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.instance.isolation import BOOTSTRAP, Party, isolation_manifests
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.pods import http_probe
from baas_operator.desired.queue import names as queue_names
from baas_operator.desired.render import render
from baas_operator.engine.differ import contained
from tests.unit.desired.instance.policies import NAMESPACE, Pod, connects, outside
from tests.unit.desired.rendered import resource

OWNER = Owner("BaasInstance", NAMESPACE, "shop")
PROBE = http_probe("/", 1, period=1, failures=1)
OPERATOR = Pod({"app.kubernetes.io/component": "operator"}, "baas-system")
PROMETHEUS = Pod({"app.kubernetes.io/name": "prometheus"}, "monitoring")
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system")
HOSTILE = Pod({"app": "miner"})
"""A pod of the same namespace that somebody broke into."""
STRANGER = Pod({"app": "miner"}, "elsewhere")
DATABASE = {
    part: Pod(Owner("DatabaseReplica", NAMESPACE, "shop-db").labels(part)) for part in (database_names.COMPONENT, database_names.POOLER)
}
QUEUE = Pod(Owner("EventQueue", NAMESPACE, "shop-events").labels(queue_names.COMPONENT))
INTERNET, INTERNET_6 = outside("203.0.113.9"), outside("2001:db8::9")
METADATA = outside("169.254.169.254")


def of_others() -> list[Manifest]:
    """The policies of the database, with poolers, and of the queue."""
    made = render(resource("DatabaseReplica", {"pooler": {"replicas": 2}})) + render(resource("EventQueue"))
    return [each for each in made if each["kind"] == "NetworkPolicy"]


THEIRS = of_others()


def part(name: str, *flows: Flow, **more: Any) -> Component:
    return Component(
        name, more.pop("options", Options()), "image", 1000, more.pop("ports", {"http": 3000, "admin": 3001}), PROBE, PROBE, PROBE,
        flows=flows, **more,
    )  # fmt: skip


GATEWAY = part(
    "gateway", Flow("rest", 3000), Flow("rest", 3001), Flow("functions", 3000), ports={"http": 8000, "health": 8001}, scrape=8001
)
REST = part("rest", Flow("database", 5432))
READS = part("reads", Flow("database", 5432))
FUNCTIONS = part("functions", Flow("gateway"), Flow("outside"))
CACHE = part("cache", ports={"valkey": 6379})
SERVER = part("server", Flow("cache", 6379), Flow("queue"))
WORKER = Party("worker-mailer", (Flow("database"), Flow("queue"), Flow("gateway"), Flow("outside")))
PROBER = Party("prober", (Flow("rest", 3000), Flow("gateway")), scrape=9000)
PARTS = (REST, READS, FUNCTIONS, CACHE, SERVER, GATEWAY)
OTHERS = (BOOTSTRAP, WORKER, PROBER)


def policies(*parts: Component, others: tuple[Party, ...] = OTHERS, **isolation: Any) -> list[Manifest]:
    spec = BaasInstanceSpec.model_validate({"isolation": isolation})
    made = isolation_manifests(
        spec, OWNER, parts or PARTS, others, operator_namespace="baas-system", monitoring_namespace="monitoring"
    )  # fmt: skip
    return [each for each in made if each["kind"] == "NetworkPolicy"]


def pod(name: str) -> Pod:
    return Pod(OWNER.labels(name))


MUST = {
    # from, to, port
    ("gateway", "rest", 3000), ("gateway", "rest", 3001), ("gateway", "functions", 3000),
    ("functions", "gateway", 8000), ("worker-mailer", "gateway", 8000), ("prober", "gateway", 8000),
    ("server", "cache", 6379),
    ("prober", "rest", 3000),
}  # fmt: skip


def test_whoever_must_talk_may_and_nobody_else_of_the_backend() -> None:
    """All pairs on all ports, with clients that are somebody else, so that nobody comes in as everybody."""
    made = policies(clients=[{"namespace": "web"}]) + THEIRS
    names = [each.name for each in (*PARTS, *OTHERS)]
    ports = sorted({port for each in PARTS for port in each.all_ports} | {22})

    found = {pair for pair in itertools.product(names, names, ports) if connects(made, pod(pair[0]), pod(pair[1]), pair[2])}

    assert found == MUST


WHO_REACHES = {
    "rest": {"database", "pooler"},
    "reads": {"database", "pooler"},
    "bootstrap": {"database", "pooler"},
    "server": {"queue"},
    "worker-mailer": {"database", "pooler", "queue", "internet"},
    "functions": {"internet"},
    "gateway": set(),
    "cache": set(),
    "prober": set(),
}


def test_each_reaches_the_database_the_queue_and_the_outside_only_where_it_says_so() -> None:
    made = policies() + THEIRS
    places = {
        "database": (DATABASE[database_names.COMPONENT], 5432),
        "pooler": (DATABASE[database_names.POOLER], 5432),
        "queue": (QUEUE, 4222),
        "internet": (INTERNET, 443),
    }
    assert {
        each.name: {place for place, (target, port) in places.items() if connects(made, pod(each.name), target, port)}
        for each in (*PARTS, *OTHERS)
    } == WHO_REACHES


def test_the_database_and_the_queue_show_backends_the_port_with_a_password_and_no_other() -> None:
    made = policies() + THEIRS
    for port in (8008, 8010, 9187):
        assert not connects(made, pod("rest"), DATABASE[database_names.COMPONENT], port)
    for port in (6222, 8222, 8010):
        assert not connects(made, pod("worker-mailer"), QUEUE, port)


@pytest.mark.parametrize("source", [HOSTILE, STRANGER, Pod(Owner("BaasInstance", NAMESPACE, "blog").labels("gateway"))])
def test_a_hostile_pod_reaches_what_clients_reach_and_nothing_behind_it(source: Pod) -> None:
    made = policies()
    reached = {
        (each.name, port) for each in (*PARTS, *OTHERS) for port in (22, 3000, 3001, 6379, 8000, 8001, 9000)
        if connects(made, source, pod(each.name), port)
    }  # fmt: skip
    assert reached == {("gateway", 8000)}


@pytest.mark.parametrize("target", [HOSTILE, STRANGER, METADATA, outside("10.0.0.1"), outside("192.168.1.1"), outside("fd00::1")])
def test_nobody_of_the_backend_reaches_other_pods_private_networks_or_a_clouds_credentials(target: Pod) -> None:
    made = policies()
    ports = (22, 53, 80, 443, 3000, 4222, 5432, 6379, 6443, 8000)
    assert not [(each.name, port) for each in (*PARTS, *OTHERS) for port in ports if connects(made, pod(each.name), target, port)]


def test_a_pod_of_the_backend_that_nobody_has_heard_of_reaches_dns_and_nothing_else() -> None:
    made = policies() + THEIRS
    new = pod("debug")
    for protocol in ("UDP", "TCP"):
        assert connects(made, new, DNS, 53, protocol)
        assert connects(made, new, outside("169.254.20.10"), 53, protocol)
    assert not connects(made, new, DNS, 443)
    for target, port in ((pod("gateway"), 8000), (DATABASE[database_names.COMPONENT], 5432), (QUEUE, 4222), (INTERNET, 443)):
        assert not connects(policies(clients=[{"namespace": "web"}]) + THEIRS, new, target, port)
    assert not connects(made, HOSTILE, new, 80)


def test_clients_are_everybody_until_some_are_named() -> None:
    for source in (HOSTILE, STRANGER, INTERNET, INTERNET_6):
        assert connects(policies(), source, pod("gateway"), 8000)
        assert not connects(policies(), source, pod("gateway"), 8001)

    named = policies(clients=[{"namespace": "web"}, {"namespace": "apps", "podLabels": {"app": "shop"}}, {"podLabels": {"app": "local"}}])
    for source in (Pod({}, "web"), Pod({"app": "shop"}, "apps"), Pod({"app": "local"})):
        assert connects(named, source, pod("gateway"), 8000)
    for source in (HOSTILE, STRANGER, INTERNET, Pod({"app": "other"}, "apps"), Pod({"app": "local"}, "apps")):
        assert not connects(named, source, pod("gateway"), 8000)

    own_namespace = policies(clients=[{}])
    assert connects(own_namespace, HOSTILE, pod("gateway"), 8000)
    assert not connects(own_namespace, STRANGER, pod("gateway"), 8000)


def test_the_operator_and_prometheus_come_to_their_own_ports_alone() -> None:
    made = policies(clients=[{"namespace": "web"}])
    assert connects(made, OPERATOR, pod("gateway"), 8001)
    assert connects(made, PROMETHEUS, pod("gateway"), 8001)
    assert connects(made, PROMETHEUS, pod("prober"), 9000)
    assert not connects(made, Pod(OPERATOR.labels, NAMESPACE), pod("gateway"), 8001), "not by a label alone"
    for source in (OPERATOR, PROMETHEUS):
        assert not connects(made, source, pod("gateway"), 8000)
        assert not connects(made, source, pod("rest"), 3000)
        assert not connects(made, source, pod("rest"), 3001)

    hot = replace(REST, hot=True)
    assert connects(policies(hot, GATEWAY), OPERATOR, pod("rest"), 3001), "it is asked which keys it has taken up"
    assert not connects(policies(hot, GATEWAY), OPERATOR, pod("rest"), 3000)
    with_one_port = part("prober", ports={"http": 9000}, hot=True)
    assert connects(policies(with_one_port, GATEWAY), OPERATOR, pod("prober"), 9000)
    assert not connects(policies(with_one_port, GATEWAY), HOSTILE, pod("prober"), 9000)


def test_a_policy_does_not_depend_on_the_order_of_flows() -> None:
    """Where an engine goes through a set, that is another in each process."""
    flows = (Flow("rest", 3001), Flow("outside"), Flow("rest", 3000), Flow("rest", 3001))
    one, other = (policies(part("gateway", *order, ports={"http": 8000}), REST) for order in (flows, flows[::-1]))
    assert one == other


def test_without_a_namespace_of_prometheus_nobody_scrapes() -> None:
    spec = BaasInstanceSpec()
    made = isolation_manifests(spec, OWNER, PARTS, operator_namespace="baas-system")
    assert not connects(made, PROMETHEUS, pod("gateway"), 8001)
    assert connects(made, OPERATOR, pod("gateway"), 8001)


def test_auth_reaches_the_database_and_mail_relays_and_identity_providers_as_egress_says() -> None:
    """What the field and the table of docs/isolation.md say of it."""
    relay, elsewhere = outside("198.51.100.7"), outside("10.1.2.3")

    def reached(**isolation: Any) -> set[str]:
        spec = BaasInstanceSpec.model_validate({"isolation": isolation})
        made = [
            each for each in build_instance(spec, OWNER, Images(), InstanceFacts(jwks="{}")) if each["kind"] == "NetworkPolicy"
        ] + THEIRS
        places = {
            "database": (DATABASE[database_names.COMPONENT], 5432), "pooler": (DATABASE[database_names.POOLER], 5432),
            "queue": (QUEUE, 4222), "gateway": (pod("gateway"), 8000), "rest": (pod("rest"), 3000),
            "internet": (INTERNET, 443), "relay": (relay, 587), "private": (elsewhere, 587),
        }  # fmt: skip
        return {place for place, (target, port) in places.items() if connects(made, pod("auth"), target, port)}

    assert reached() == {"database", "pooler", "internet", "relay"}
    assert reached(egress=["198.51.100.0/24"]) == {"database", "pooler", "relay"}
    assert reached(egress=["198.51.100.0/24", "10.1.0.0/16"]) == {"database", "pooler", "relay", "private"}
    assert "auth" in str(Isolation.model_json_schema()["properties"]["egress"]["description"])


def test_egress_to_named_networks_takes_the_place_of_the_outside() -> None:
    made = policies(egress=["10.1.0.0/16", "2001:db8::/32"])
    for target in (outside("10.1.2.3"), INTERNET_6):
        assert connects(made, pod("functions"), target, 443)
    for target in (INTERNET, outside("10.2.0.1"), METADATA):
        assert not connects(made, pod("functions"), target, 443)
    assert not connects(made, pod("rest"), outside("10.1.2.3"), 443)


S3_PLACES = {
    "https://s3.eu-central-1.example.com": [(INTERNET, 443), (outside("10.0.0.9"), 443), (INTERNET_6, 443)],
    "http://minio.corp.example:9000/": [(outside("10.0.0.9"), 9000)],
    "http://10.1.2.3:9000": [(outside("10.1.2.3"), 9000)],
    "http://seaweedfs.storage.svc:8333": [(Pod({}, "storage"), 8333), (Pod({}, "storage"), 18333)],
    "http://seaweedfs.storage.svc.cluster.local": [(Pod({}, "storage"), 8333)],
    "http://seaweedfs:8333": [(HOSTILE, 8333)],
}


@pytest.mark.parametrize("endpoint", S3_PLACES)
@pytest.mark.parametrize("egress", [[], ["192.0.2.0/24"]])
def test_storage_reaches_the_object_store_that_the_spec_names(endpoint: str, egress: list[str]) -> None:
    s3 = {"endpoint": endpoint, "bucket": "files", "credentials": {"secretName": "s3"}}
    storage = part("storage", Flow("database"), options=Storage.model_validate({"s3": s3}))
    made = policies(storage, GATEWAY, REST, egress=egress)

    for target, port in S3_PLACES[endpoint]:
        assert connects(made, pod("storage"), target, port)
        assert not connects(made, pod("rest"), target, port)
    assert not connects(made, pod("storage"), METADATA, 443)
    assert not connects(made, pod("storage"), METADATA, 80)
    assert not connects(made, pod("storage"), Pod({}, "elsewhere"), 443)


def test_the_gateway_reaches_the_collector_of_traces_and_nobody_the_api_server() -> None:
    spec = BaasInstanceSpec.model_validate({"components": {"gateway": {"tracing": {"endpoint": "otel.observability.svc:4317"}}}})
    made = isolation_manifests(spec, OWNER, [GATEWAY, REST], operator_namespace="baas-system")

    assert connects(made, pod("gateway"), Pod({}, "observability"), 4317)
    assert not connects(made, pod("rest"), Pod({}, "observability"), 4317)
    for name in ("gateway", "rest"):
        assert not connects(made, pod(name), outside("10.96.0.1"), 443)


# --- the real components ------------------------------------------------------------------------------------------------

PARTNERS = set(get_args(Partner))


def real(engine: Engine, **spec: Any) -> tuple[BaasInstanceSpec, list[Component], list[Manifest]]:
    parsed = BaasInstanceSpec.model_validate({"engine": engine.value, **spec})
    facts = InstanceFacts(jwks='{"keys": []}', monitoring_namespace="monitoring")
    made = [each for each in build_instance(parsed, OWNER, Images(), facts) if each["kind"] == "NetworkPolicy"]
    return parsed, components(parsed, OWNER, Images(), facts), made


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_flow_of_an_engine_is_let_through(engine: Engine) -> None:
    """What a component says that it connects to is also let in there, and it is there."""
    _, parts, made = real(engine)
    by_name = {each.name: each for each in parts}
    for each in parts:
        for flow in each.flows:
            if flow.to not in PARTNERS:
                target = by_name[flow.to]
                for port in [flow.port] if flow.port else sorted(target.ports[name] for name in target.public_ports):
                    assert port in target.all_ports, (each.name, flow)
                    assert connects(made, pod(each.name), pod(flow.to), port), (each.name, flow)
        if each.needs_database:
            to = {flow.to for flow in each.flows}
            assert to & {"database", "gateway"}, f"{each.name} needs the database and has no flow that leads to it"
        if each.hot:
            assert any(connects(made, OPERATOR, pod(each.name), port) for port in each.ports.values()), (
                f"the operator can not ask {each.name}"
            )
        if each.scrape:
            assert connects(made, PROMETHEUS, pod(each.name), each.scrape)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_pod_of_an_engine_has_a_policy_of_its_own(engine: Engine) -> None:
    spec, _, made = real(engine)
    children = build_instance(spec, OWNER, Images(), InstanceFacts(jwks='{"keys": []}'))
    selected = [each["spec"]["podSelector"]["matchLabels"] for each in made if not each["metadata"]["name"].endswith("-default-deny")]
    for child in children:
        template = child.get("spec", {}).get("template") or child.get("spec", {}).get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            labels = template["metadata"]["labels"]
            assert [each for each in selected if each.items() <= labels.items()], f"{child['kind']} {child['metadata']['name']}"


def test_policies_are_there_before_any_pod_and_also_while_it_hibernates() -> None:
    for spec in (BaasInstanceSpec(), BaasInstanceSpec(hibernate=True)):
        kinds = [each["kind"] for each in build_instance(spec, OWNER, Images(), InstanceFacts(jwks='{"keys": []}'))]
        assert kinds.count("NetworkPolicy") >= 4
        last_policy = len(kinds) - 1 - kinds[::-1].index("NetworkPolicy")
        assert last_policy < min(kinds.index("Job"), kinds.index("Deployment"))


def test_without_the_policy_asked_for_there_is_none() -> None:
    assert policies(networkPolicy=False) == []


# --- quotas -----------------------------------------------------------------------------------------------------------


def of_kind(kind: str, **isolation: Any) -> list[Manifest]:
    made = isolation_manifests(
        BaasInstanceSpec.model_validate({"isolation": isolation}), OWNER, PARTS, operator_namespace="baas-system"
    )  # fmt: skip
    return [each for each in made if each["kind"] == kind]


def test_a_quota_and_a_limit_range_are_made_when_asked_for() -> None:
    assert of_kind("ResourceQuota") == of_kind("LimitRange") == []

    (quota,) = of_kind("ResourceQuota", quota={"requests.memory": "16Gi", "requests.cpu": "8", "pods": "60"})
    assert quota["metadata"]["name"] == "shop-quota"
    assert quota["spec"] == {"hard": {"pods": "60", "requests.cpu": "8", "requests.memory": "16Gi"}}

    (limits,) = of_kind("LimitRange", limitRange={"default": {"memory": "256Mi"}, "defaultRequest": {"cpu": "10m"}})
    assert limits["metadata"]["name"] == "shop-limits"
    assert limits["spec"]["limits"] == [{"type": "Container", "default": {"memory": "256Mi"}, "defaultRequest": {"cpu": "10m"}}]


@pytest.mark.parametrize(("said", "stored"), [("0.5", "500m"), ("1024Mi", "1Gi"), ("5000", "5k"), ("1000m", "1")])
def test_a_quota_is_not_written_again_because_the_api_server_writes_its_numbers_otherwise(said: str, stored: str) -> None:
    for key in ("requests.cpu", "requests.memory", "count/configmaps"):
        (quota,) = of_kind("ResourceQuota", quota={key: said})
        assert contained(quota["spec"], {"hard": {key: stored}})
        assert not contained(quota["spec"], {"hard": {key: "7"}})
