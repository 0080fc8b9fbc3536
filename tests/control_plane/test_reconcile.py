"""An empty object becomes a whole one, and says truthfully how far it is."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import urllib3

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.chart import SYSTEM_NAMESPACE
from .harness.children import Child, children, condition, tree, wait_judged, wait_quiet
from .harness.cluster import ZONES, ControlPlane
from .harness.operator import OperatorProcess


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[OperatorProcess]:
    with cp.operator() as running:
        yield running


def kinds(made: dict[Child, Object]) -> set[str]:
    return {kind for kind, _ in made}


DATABASE_KINDS = {
    "ServiceAccount", "Role", "RoleBinding", "Secret", "ConfigMap", "Service", "EndpointSlice", "PodDisruptionBudget",
    "StatefulSet",
}  # fmt: skip


def test_empty_database_gets_its_children(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("DatabaseReplica", "shop", {}), namespace)

    cp.wait(lambda: kinds(children(cp, namespace, "DatabaseReplica", "shop")) >= DATABASE_KINDS, 30, "children of shop")
    made = children(cp, namespace, "DatabaseReplica", "shop")

    assert {name for kind, name in made if kind == "Service"} >= {"shop-rw", "shop-ro", "shop-r"}
    stateful_set = made["StatefulSet", "shop"]
    assert stateful_set["spec"]["replicas"] == 3
    pods = cp.wait(lambda: running_pods(cp, namespace, "DatabaseReplica", 3, "postgresql"), 30, "three running pods")
    assert zones_of(cp, pods) == set(ZONES), "one member a zone"
    poolers = cp.wait(lambda: running_pods(cp, namespace, "DatabaseReplica", 3, "pooler"), 30, "three poolers")
    assert zones_of(cp, poolers) == set(ZONES), "one pooler a zone"


def test_empty_queue_gets_its_children(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("EventQueue", "events", {}), namespace)

    wanted = {"ServiceAccount", "Secret", "ConfigMap", "Service", "PodDisruptionBudget", "StatefulSet"}
    cp.wait(lambda: kinds(children(cp, namespace, "EventQueue", "events")) >= wanted, 30, "children of events")

    pods = cp.wait(lambda: running_pods(cp, namespace, "EventQueue", 3), 30, "three running pods")
    assert zones_of(cp, pods) == set(ZONES), "one server a zone"


def test_empty_instance_gets_a_database_and_a_queue_of_its_own(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("BaasInstance", "shop", {}), namespace)

    wanted = {("DatabaseReplica", "shop-db"), ("EventQueue", "shop-events"), ("StatefulSet", "shop-db"), ("StatefulSet", "shop-events")}
    cp.wait(lambda: set(tree(cp, namespace, "shop")) >= wanted, 30, "a database and a queue with their servers")


def test_longest_name_fits_all_its_children(cp: ControlPlane, namespace: str) -> None:
    name = "n" * 33
    cp.must_apply(own("BaasInstance", name, {}), namespace)

    wanted = {("StatefulSet", f"{name}-db"), ("StatefulSet", f"{name}-events")}
    cp.wait(lambda: set(tree(cp, namespace, name)) >= wanted, 30, "a database and a queue with their servers")


@pytest.mark.parametrize("kind", ["DatabaseReplica", "EventQueue", "BaasInstance"])
def test_conditions_follow_the_conventions(cp: ControlPlane, namespace: str, kind: str) -> None:
    """Kubernetes API conventions and kstatus: what Argo CD, Flux and `kubectl wait` go by."""
    cp.must_apply(own(kind, "shop", {}), namespace)

    ready = wait_judged(cp, namespace, kind, "shop")

    stored = cp.get(kind, namespace, "shop")
    assert stored is not None
    conditions = stored["status"]["conditions"]
    assert ready["status"] == "False", "nothing runs in these pods, so it can not be ready"
    assert stored["status"]["observedGeneration"] == stored["metadata"]["generation"]
    assert all(each["status"] == "True" for each in conditions if each["type"] in ("Reconciling", "Stalled"))
    assert not {"Reconciling", "Stalled"} <= {each["type"] for each in conditions}, "either on its way or stuck"
    for each in conditions:
        assert each["reason"].isalnum(), each
        assert each["reason"][0].isupper(), each
        assert len(each["message"].split()) > 3, f"not a sentence: {each['message']}"


def test_spec_change_reaches_the_children(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("EventQueue", "events", {"replicas": 3}), namespace)
    cp.wait(lambda: cp.get("StatefulSet", namespace, "events"), 30, "the servers")

    cp.must_apply(own("EventQueue", "events", {"replicas": 5}), namespace)

    cp.wait(lambda: replicas(cp, namespace, "events") == 5, 10, "five servers")
    wait_judged(cp, namespace, "EventQueue", "events")


def test_suspended_object_is_left_alone(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("DatabaseReplica", "shop", {}), namespace)
    cp.wait(lambda: cp.get("StatefulSet", namespace, "shop"), 30, "the members")
    cp.must_apply(own("DatabaseReplica", "shop", {"suspend": True}), namespace)
    wait_judged(cp, namespace, "DatabaseReplica", "shop")
    wait_quiet(cp)

    cp.delete("Service", namespace, "shop-ro")
    cp.must_apply(own("DatabaseReplica", "other", {}), namespace)
    wait_judged(cp, namespace, "DatabaseReplica", "other")
    wait_quiet(cp)
    assert cp.get("Service", namespace, "shop-ro") is None, "repaired although it is suspended"

    cp.must_apply(own("DatabaseReplica", "shop", {"suspend": False}), namespace)
    cp.wait(lambda: cp.get("Service", namespace, "shop-ro"), 10, "the Service is back")


def test_object_of_somebody_else_is_not_taken_over(cp: ControlPlane, namespace: str) -> None:
    """A ConfigMap that happens to have the name of a child belongs to whoever made it."""
    theirs: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-patroni"}, "data": {"mine": "yes"}}
    cp.must_apply(theirs, namespace)

    cp.must_apply(own("DatabaseReplica", "shop", {}), namespace)

    stalled = cp.wait(lambda: condition(cp, namespace, "DatabaseReplica", "shop", "Stalled"), 30, "Stalled")
    assert stalled is not None
    assert "shop-patroni" in stalled["message"]
    stored = cp.get("ConfigMap", namespace, "shop-patroni")
    assert stored is not None
    assert stored["data"] == {"mine": "yes"}
    cp.delete("ConfigMap", namespace, "shop-patroni")
    cp.wait(lambda: cp.get("StatefulSet", namespace, "shop"), 60, "it goes on by itself once the name is free")


def test_two_kinds_of_one_name_do_no_harm_to_each_other(cp: ControlPlane, namespace: str) -> None:
    """Both would have a StatefulSet `shop`. Whoever comes second is refused; the first never notices."""
    cp.must_apply(own("DatabaseReplica", "shop", {}), namespace)
    cp.wait(lambda: cp.get("StatefulSet", namespace, "shop"), 30, "the members")
    wait_quiet(cp)
    before = children(cp, namespace, "DatabaseReplica", "shop")

    cp.must_apply(own("EventQueue", "shop", {}), namespace)

    stalled = cp.wait(lambda: condition(cp, namespace, "EventQueue", "shop", "Stalled"), 30, "Stalled")
    assert stalled is not None
    assert "shop" in stalled["message"]
    after = children(cp, namespace, "DatabaseReplica", "shop")
    assert {child: made["metadata"]["uid"] for child, made in after.items()} == {
        child: made["metadata"]["uid"] for child, made in before.items()
    }
    assert after["StatefulSet", "shop"]["spec"] == before["StatefulSet", "shop"]["spec"]


def test_rights_of_the_chart_suffice(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("BaasInstance", "shop", {}), namespace)
    wait_judged(cp, namespace, "BaasInstance", "shop")
    wait_judged(cp, namespace, "DatabaseReplica", "shop-db")
    wait_quiet(cp)

    # In a namespace that is going or gone (those of the stories before), creating is forbidden to everyone.
    here = {namespace, SYSTEM_NAMESPACE, "", None}
    refused = [call for call in cp.audit.calls() if call.status in (401, 403)]
    assert [str(call) for call in refused if call.namespace in here] == []


def test_health_and_metrics_are_served(cp: ControlPlane, operator: OperatorProcess) -> None:
    def get(path: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request("GET", f"http://127.0.0.1:{operator.health_port}{path}", timeout=5.0)

    assert get("/livez").status == 200
    assert get("/readyz").status == 200
    metrics = get("/metrics")
    assert metrics.status == 200
    assert b"# HELP baas_" in metrics.data


def test_logs_are_json_and_keep_secrets(cp: ControlPlane, namespace: str, operator: OperatorProcess) -> None:
    cp.must_apply(own("EventQueue", "events", {}), namespace)
    cp.wait(lambda: cp.get("Secret", namespace, "events-user-admin"), 30, "a password")
    wait_judged(cp, namespace, "EventQueue", "events")

    operator.records()
    secrets = [value for each in cp.list("Secret", namespace) for key, value in each["data"].items() if key == "password"]
    assert secrets
    logged = operator.log.read_text()
    assert not any(secret in logged for secret in secrets)
    assert not any(decoded(secret) in logged for secret in secrets)


def decoded(base64_text: str) -> str:
    return base64.b64decode(base64_text).decode()


def running_pods(cp: ControlPlane, namespace: str, kind: str, wanted: int, component: str = "") -> list[Object] | None:
    of_component = f",app.kubernetes.io/component={component}" if component else ""
    pods = cp.list("Pod", namespace, f"baas-operator.io/kind={kind}{of_component}")
    running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    return running if len(running) == wanted else None


def zones_of(cp: ControlPlane, pods: list[Object] | None) -> set[str]:
    nodes = {each["metadata"]["name"]: each["metadata"]["labels"]["topology.kubernetes.io/zone"] for each in cp.list("Node")}
    return {nodes[pod["spec"]["nodeName"]] for pod in pods or []}


def replicas(cp: ControlPlane, namespace: str, name: str) -> int:
    stored = cp.get("StatefulSet", namespace, name)
    return int(stored["spec"]["replicas"]) if stored else 0
