"""What hostile tenants, and unlucky ones, write into a BaasInstance and beside it: the operator plans it all the same, or says why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from baas_operator.api.instance.s3 import S3
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.instance.supabase import Storage
from baas_operator.api.kinds import BAAS_INSTANCE, DEPLOYMENT, SECRET
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, components
from baas_operator.desired.instance.component import Component
from baas_operator.engine.errors import ApiError
from baas_operator.engine.store import Store, key_of
from baas_operator.engine.unlock import unlock
from baas_operator.observe.conditions import READY, RECONCILING
from baas_operator.observe.instance import rollout_trouble
from baas_operator.observe.probes import Probed, ProberReport, verdicts
from tests.unit.engine.api import StandInApi
from tests.unit.objects import owner, reason, secret, status
from tests.unit.policy.backend import Backend

SHOP = owner(BAAS_INSTANCE, "shop")
JWK = {"kid": "a" * 43, "kty": "EC", "crv": "P-256", "x": "x", "y": "y"}
JWKS = json.dumps({"keys": [JWK]})


def part(name: str, facts: InstanceFacts | None = None, /, **spec: Any) -> Component:
    made = components(BaasInstanceSpec.model_validate(spec), SHOP, Images(), facts or InstanceFacts(jwks=JWKS, kids=("a" * 43,)))
    return next(each for each in made if each.name == name)


def s3(endpoint: str) -> dict[str, Any]:
    return {"endpoint": endpoint, "bucket": "files", "credentials": {"secretName": "s3"}}


# --- what passes the API server, and made the planner raise, or Envoy refuse its configuration ---------------------------------------


@pytest.mark.parametrize("endpoint", [
    "http://[x", "http://[::1", "http://h:abc", "http://h:99999", "https://h:65536", "http://user:password@h", "http://h:0", "http://",
])  # fmt: skip
def test_no_object_store_is_where_no_url_leads(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        S3.model_validate(s3(endpoint))


@pytest.mark.parametrize(("endpoint", "place"), [
    ("http://minio", ("minio", 80)), ("https://s3.example/", ("s3.example", 443)), ("http://10.0.0.1:9000", ("10.0.0.1", 9000)),
    ("https://[fd00::1]:65535/", ("fd00::1", 65535)), ("http://[::::]", ("::::", 80)), ("https://h:1", ("h", 1)),
])  # fmt: skip
def test_an_object_store_has_a_place_whatever_is_in_brackets(endpoint: str, place: tuple[str, int]) -> None:
    assert S3.model_validate(s3(endpoint)).place == place
    shop = Backend(components={"storage": {"s3": s3(endpoint)}}).serving()
    assert not shop.plan().refused


@pytest.mark.parametrize("endpoint", ["otel:0", "otel:65536", "otel:99999"])
def test_no_collector_listens_on_a_port_that_there_is_not(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        BaasInstanceSpec.model_validate({"components": {"gateway": {"tracing": {"endpoint": endpoint}}}})


def test_the_size_of_a_file_is_one_that_an_object_store_takes() -> None:
    """More than Envoy can count would have it refuse its listeners. CEL says so: tests/control_plane/test_bad_manifests.py."""
    rule = Storage.model_json_schema()["x-kubernetes-validations"][0]
    assert "self.fileSizeLimit" in rule["rule"]
    assert "5Ti" in rule["message"]


def test_a_host_that_is_the_gateways_own_service_is_named_once() -> None:
    """Envoy takes no routes where a domain is twice, and a new pod has none then."""
    hosts = ["shop-gateway.prod.svc", "api.example", "shop-gateway"]
    routes = json.loads(part("gateway", hosts=hosts).config["routes.yaml"])

    domains = routes["resources"][0]["virtual_hosts"][0]["domains"]
    assert sorted(domains) == sorted({*hosts, "shop-gateway.prod", "shop-gateway.prod.svc.cluster.local"})


@pytest.mark.parametrize("key", [{"kty": "EC", "d": "secret"}, {"kty": "oct", "k": "secret"}])
def test_a_private_key_in_the_public_set_is_no_end_of_planning_and_goes_to_no_gateway(key: dict[str, str]) -> None:
    """Whoever may write Secrets can put one there; the operator puts the set right, if it gets so far."""
    shop = Backend().serving()
    shop.keys = secret(SHOP, "shop-api-keys", "instance", **{"jwks.json": json.dumps({"keys": [JWK, JWK | {"kid": "b"} | key]})})

    plan = shop.plan()

    assert not any("secret" in json.dumps(each.get("data") or {}) for each in plan.manifests if each["kind"] == "ConfigMap")
    (routes,) = (each["data"] for each in plan.manifests if each["metadata"]["name"] == "shop-gateway" and each["kind"] == "ConfigMap")
    assert "a" * 43 in routes["filter-jwt.yaml"]


# --- what the operator sets stays ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GOTRUE_JWT_SECRET", "GOTRUE_JWT_KEYS", "GOTRUE_DB_DATABASE_URL", "GOTRUE_JWT_ISSUER"])
def test_no_setting_takes_the_place_of_what_the_operator_sets(name: str) -> None:
    shop = Backend(components={"auth": {"settings": {name: "mine"}}}).serving()
    auth = shop.applied["Deployment", "shop-auth"]["spec"]["template"]["spec"]["containers"][0]

    (found,) = (each for each in auth["env"] if each["name"] == name)
    assert found.get("value") != "mine"


@pytest.mark.parametrize(("gateway", "proxies"), [({}, 1), ({"ingress": {}}, 2), ({"httpRoute": {"name": "public"}}, 2)])
def test_parse_server_does_not_take_an_ingress_for_the_client(gateway: dict[str, Any], proxies: int) -> None:
    """Envoy adds whoever speaks to it to `x-forwarded-for`. An Ingress has a private address, which master keys are taken from."""
    made = part("server", engine="parse", hosts=["api.example"], components={"gateway": gateway})

    assert json.loads(made.config["config.json"])["options"]["trustProxy"] == proxies


def test_a_limit_of_the_instance_is_shared_by_the_gateways_that_there_are() -> None:
    """An autoscaler may have made more of them."""
    gateway = {"autoscaling": {"maxReplicas": 10}, "limits": {"total": {"requestsPerSecond": 100}}}

    def share(pods: int) -> int:
        facts = InstanceFacts(jwks=JWKS, kids=("a" * 43,), replicas={"gateway": pods})
        text = part("gateway", facts, components={"gateway": gateway}).config["filter-rate-limit.yaml"]
        return int(json.loads(text)["resources"][0]["typed_config"]["token_bucket"]["tokens_per_fill"])

    assert share(10) == 10
    assert share(5) == 20


# --- what is told -------------------------------------------------------------------------------------------------------------------


def test_what_has_an_entry_twice_is_refused_and_told() -> None:
    """Server-side apply answers so for a sidecar that is called as the component, or two volumes at one place: with 500, for ever."""
    said = 'failed to create typed patch object (prod/shop-rest; apps/v1, Kind=Deployment): .spec…: duplicate entries for key [name="rest"]'

    assert ApiError(500, "", said).invalid
    assert not ApiError(500, "", "etcdserver: leader changed").invalid


def test_a_backend_that_serves_goes_on_to_be_ready_while_its_database_is_changed() -> None:
    """Another schema, or another version of the operator, has the bootstrap run again: clients feel nothing of it."""
    shop = Backend().serving()
    shop.resource["spec"] = {"components": {"rest": {"schemas": ["public", "more"]}}}
    shop.reconcile()

    plan = shop.plan()

    assert status(plan, READY)
    assert reason(plan, RECONCILING) == "BootstrappingDatabase"


def test_a_deployment_that_somebody_paused_is_told_and_holds_nobody_up() -> None:
    shop = Backend().serving()
    rest = shop.applied[DEPLOYMENT.name, "shop-rest"]
    rest["spec"]["paused"] = True
    rest["status"] = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 0, "conditions": [
        {"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"},
    ]}  # fmt: skip

    assert "paused" in str(rollout_trouble(shop.view(), "rest"))


@pytest.mark.parametrize("at", ["yesterday", "9" * 30, "2026-01-31", "0001-01-01T00:00:00+23:59", "2026-05-01T12:00:00+02:00"])
def test_a_prober_that_names_no_time_does_not_keep_the_status_from_being_written(at: str) -> None:
    """Any pod with a prober's labels is asked; the API server takes a status as a whole, or not."""
    report = ProberReport.model_validate({"transactions": [{"name": "read", "attempts": 1, "failure_at": at, "failure": "no"}]})
    (verdict,) = verdicts(["read"], {"pod": "zone-a"}, Probed({"pod": report}))

    assert verdict.last_failure_at in (None, "2026-01-31T00:00:00Z", "2026-05-01T10:00:00Z")


async def test_a_large_secret_is_made_mutable_with_all_that_it_holds() -> None:
    """The store keeps a part of it only; a copy of that would be all that is left."""
    api, store = StandInApi(), Store()
    live = secret(SHOP, "shop-signing-key", "instance", **{"private.pem": "key", "more": "x" * 20_000}) | {"immutable": True}
    live["metadata"]["uid"] = "u1"
    api.objects[key_of(live)] = live
    store.put(live)

    await unlock(api, store, store.get(*key_of(live)) or {})  # type: ignore[arg-type]

    assert (await api.get(SECRET, "prod", "shop-signing-key"))["data"] == live["data"]  # type: ignore[index]
