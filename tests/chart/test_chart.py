"""The chart: what it grants is what the operator's children need, and its values are those of the code. Part of `make verify`, as it needs
a helm (`tests/control_plane` renders, and uses, the same chart)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from baas_lab import versions
from baas_operator.api.crd import all_crds
from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import BAAS_INSTANCE, CHILD_KINDS, EVENT_QUEUE, OPTIONAL_KINDS, OWN_KINDS
from baas_operator.api.queue import EndpointState
from baas_operator.desired.images import Images
from baas_operator.desired.meta import NAME_LABEL
from baas_operator.desired.queue import names
from baas_operator.desired.render import render
from baas_operator.engine.config import Config, from_environment
from baas_operator.observe.conditions import DEAD_LETTERS_EXPIRING, READY, STALLED, STORAGE_PRESSURE, ZONE_TOLERANT
from kubectl_baas.doctor.cluster import MINIMUM_VERSION
from tests.control_plane.harness.tools import run

Manifest = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts" / "baas-operator"
VALUES: Manifest = yaml.safe_load((CHART / "values.yaml").read_text())


def grants(rules: Iterable[Manifest]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of RBAC rules that hold for every name."""
    return {
        (group, resource, verb)
        for rule in rules
        if not rule.get("resourceNames")
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def operator_rules() -> list[Manifest]:
    """The rules of _rules.tpl: plain YAML but for the lines that define and comment the template."""
    text = re.sub(r"\{\{.*?\}\}", "", (CHART / "templates" / "_rules.tpl").read_text(), flags=re.DOTALL)
    made = yaml.safe_load(text)
    assert isinstance(made, list)
    return made


def all_children() -> list[Manifest]:
    """Everything that a backend by default becomes."""
    todo = [{"apiVersion": API_VERSION, "kind": BAAS_INSTANCE.name, "metadata": {"name": "shop", "namespace": "prod"}}]
    made = []
    while todo:
        children = render(todo.pop())
        made += children
        todo += [each for each in children if each["apiVersion"] == API_VERSION]
    return made


def test_default_images_are_those_of_the_code() -> None:
    assert VALUES["images"] == asdict(Images())


def test_every_place_names_the_same_oldest_kubernetes() -> None:
    oldest = ".".join(map(str, MINIMUM_VERSION))
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={oldest}.0-0"
    for page in (CHART / "README.md", CHART.parents[1] / "README.md"):
        assert f"Kubernetes {oldest} or newer" in page.read_text(), page


def test_the_readme_brings_all_images_to_a_registry() -> None:
    text = (CHART.parents[1] / "README.md").read_text()
    assert [ref for ref in asdict(Images()).values() if ref not in text] == []


def test_every_value_has_a_schema_and_every_schema_a_value() -> None:
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(properties) - {"global"} == set(VALUES)
    for group in ("images", "monitoring"):
        assert set(properties[group]["properties"]) == set(VALUES[group])


def test_the_charts_crds_are_those_of_the_models() -> None:
    found = {path.name: yaml.safe_load(path.read_text()) for path in (CHART / "crds").glob("*.yaml")}
    assert found == all_crds()


def test_the_operator_may_make_and_keep_all_its_children() -> None:
    held = grants(operator_rules())
    for kind in CHILD_KINDS:
        assert {(kind.group, kind.plural, verb) for verb in ("get", "list", "watch", "patch", "delete")} <= held, kind
    kinds = {kind.name: kind for kind in (*CHILD_KINDS, *OWN_KINDS)}
    for child in all_children():
        kind = kinds[child["kind"]]
        assert {(kind.group, kind.plural, verb) for verb in ("create", "patch")} <= held, kind


def test_the_operator_holds_what_it_grants() -> None:
    """The API server refuses a Role that grants what its maker does not hold, as there is neither `escalate` nor `bind`."""
    held = grants(operator_rules())
    roles = [each for each in all_children() if each["kind"] == "Role"]
    assert roles
    for role in roles:
        unnamed = [{key: value for key, value in rule.items() if key != "resourceNames"} for rule in role["rules"]]
        assert grants(unnamed) <= held, role["metadata"]["name"]


def test_the_operator_holds_no_more_than_that() -> None:
    verbs = {verb for rule in operator_rules() for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch", "create", "patch", "update", "delete"}
    assert not [rule for rule in operator_rules() if "*" in rule["apiGroups"] + rule["resources"]]
    held = grants(operator_rules())
    assert ("", "pods", "create") not in held
    assert ("", "persistentvolumeclaims", "create") not in held


def test_its_own_kinds_are_all_there() -> None:
    held = grants(operator_rules())
    for kind in OWN_KINDS:
        for verb in ("get", "list", "watch", "patch"):
            assert (kind.group, kind.plural, verb) in held
        assert (kind.group, f"{kind.plural}/status", "patch") in held
        assert (kind.group, f"{kind.plural}/finalizers", "update") in held


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("helm", *arguments, check=False)


def template(*settings: str) -> list[Manifest]:
    sets = [part for each in settings for part in ("--set", each)]
    done = run_helm("template", "baas-operator", str(CHART), "--namespace", "baas-system", "--kube-version", versions.KUBERNETES, *sets)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def environment(deployment: Manifest) -> dict[str, str | None]:
    """What the operator is told."""
    return {each["name"]: each.get("value") for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}


def one(manifests: list[Manifest], kind: str, name: str = "baas-operator") -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def test_lint() -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_by_default_it_looks_after_all_namespaces_with_two_replicas() -> None:
    made = template()
    assert one(made, "ClusterRole")["rules"] == operator_rules()
    deployment = one(made, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    told = environment(deployment)
    assert told["BAAS_WATCH_NAMESPACES"] == told["BAAS_MONITORING_NAMESPACE"] == ""
    images = {name.removeprefix("BAAS_IMAGE_").lower(): ref for name, ref in told.items() if name.startswith("BAAS_IMAGE_")}
    assert images == asdict(Images())
    assert one(made, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


def test_with_namespaces_it_has_a_role_in_each_and_no_rights_elsewhere() -> None:
    made = template("watchNamespaces={a,b}")
    roles = [each for each in made if each["kind"] == "Role" and each["metadata"]["name"] == "baas-operator"]
    assert {each["metadata"]["namespace"] for each in roles} == {"a", "b"}
    assert all(each["rules"] == operator_rules() for each in roles)
    bound = [each["roleRef"]["name"] for each in made if each["kind"] == "ClusterRoleBinding"]
    assert bound == ["baas-operator-cluster"]
    everywhere = grants(one(made, "ClusterRole", "baas-operator-cluster")["rules"])
    assert {verb for _, _, verb in everywhere} == {"get", "list", "watch"}
    assert ("", "secrets", "list") not in everywhere


def test_its_pods_meet_the_restricted_standard() -> None:
    pod = one(template(), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_mirror_is_put_before_every_image() -> None:
    container = one(template("imageRegistry=mirror.example/x"), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    refs = [container["image"], *(each["value"] for each in container["env"] if each["name"].startswith("BAAS_IMAGE_"))]
    assert all(ref.startswith("mirror.example/x/") for ref in refs)


def test_the_operator_is_told_where_prometheus_is() -> None:
    made = one(template("monitoring.namespace=monitoring"), "Deployment")
    told = {name: value for name, value in environment(made).items() if value is not None}

    assert from_environment(told).monitoring_namespace == "monitoring"


def test_one_replica_has_no_budget_that_would_block_drains() -> None:
    assert not [each for each in template("replicas=1") if each["kind"] == "PodDisruptionBudget"]


@pytest.mark.parametrize(
    "setting", ["replica=2", "logLevel=loud", "watchNamespaces={Not_A_Namespace}", "images.redis=redis:7", "monitoring.namespace=No_Name"]
)
def test_values_that_it_does_not_know_are_refused(setting: str) -> None:
    done = run_helm("template", "x", str(CHART), "--kube-version", versions.KUBERNETES, "--set", setting)
    assert done.returncode != 0
    assert "values" in done.stderr


# --- what Prometheus is told ----------------------------------------------------------------------------------------------


def monitoring(*settings: str) -> list[Manifest]:
    """What the chart makes for the Prometheus operator in a cluster that has its kinds."""
    sets = [part for each in settings for part in ("--set", each)]
    where = ["--kube-version", versions.KUBERNETES, "--api-versions", "monitoring.coreos.com/v1"]
    done = run_helm("template", "baas-operator", str(CHART), "--namespace", "baas-system", *where, *sets)
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    return [each for each in made if each["apiVersion"] == "monitoring.coreos.com/v1"]


def alerts() -> list[Manifest]:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_prometheus_operators_kinds_are_made_only_where_they_are() -> None:
    assert not [each for each in template() if each["kind"] in ("PodMonitor", "PrometheusRule")]
    assert sorted(each["kind"] for each in monitoring()) == [*["PodMonitor"] * 3, "PrometheusRule"]
    assert monitoring("monitoring.podMonitors=false", "monitoring.alerts=false") == []


def test_podmonitors_find_members_by_labels_and_ports_that_they_have() -> None:
    databases = one(monitoring("monitoring.labels.release=x"), "PodMonitor", "baas-operator-databases")
    (members,) = [each for each in all_children() if each["kind"] == "StatefulSet" and "shop-db" in each["metadata"]["name"]]
    template = members["spec"]["template"]

    assert databases["metadata"]["labels"]["release"] == "x"
    assert databases["spec"]["namespaceSelector"] == {"any": True}
    assert databases["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
    assert {each["port"] for each in databases["spec"]["podMetricsEndpoints"]} <= ports
    (from_label,) = databases["spec"]["podMetricsEndpoints"][1]["relabelings"][0]["sourceLabels"]
    labels = {f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', each)}" for each in template["metadata"]["labels"]}
    assert from_label in labels


def test_a_podmonitor_finds_agents_and_dispatchers_of_queues_and_nothing_else_of_them() -> None:
    queues = one(monitoring("monitoring.labels.release=x"), "PodMonitor", "baas-operator-queues")
    spec = {"streams": [{"name": "orders", "subjects": ["orders.>"], "deadLetter": {}}]}
    event_queue = {"apiVersion": API_VERSION, "kind": EVENT_QUEUE.name, "metadata": {"name": "events", "namespace": "prod"}, "spec": spec}
    templates = {each["kind"]: each["spec"]["template"] for each in render(event_queue) if "template" in each.get("spec", {})}

    assert queues["metadata"]["labels"]["release"] == "x"
    assert queues["spec"]["namespaceSelector"] == {"any": True}
    selector, endpoints = queues["spec"]["selector"], queues["spec"]["podMetricsEndpoints"]
    (components,) = selector["matchExpressions"]
    assert components["operator"] == "In"
    found = {}
    for kind, template in templates.items():
        labels = template["metadata"]["labels"]
        assert selector["matchLabels"].items() <= labels.items()
        assert labels[components["key"]] in components["values"]
        # Prometheus finds ports of init containers, too, as sidecars are (its source, discovery/kubernetes/pod.go).
        containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
        ports = {port["name"]: port["containerPort"] for container in containers for port in container["ports"]}
        found[kind] = [ports[each["port"]] for each in endpoints if each["port"] in ports]
    assert found == {"StatefulSet": [names.AGENT_PORT], "Deployment": [names.DISPATCHER_PORT]}
    sources = {f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', NAME_LABEL)}"}
    assert all(set(each["relabelings"][0]["sourceLabels"]) == sources for each in endpoints)


@pytest.mark.parametrize("whose", ["databases", "queues"])
def test_with_namespaces_podmonitors_look_there_alone(whose: str) -> None:
    made = one(monitoring("watchNamespaces={a,b}"), "PodMonitor", f"baas-operator-{whose}")
    assert made["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}


def test_the_chart_makes_the_alerts_of_the_rule_file() -> None:
    rules = one(monitoring(), "PrometheusRule")["spec"]["groups"]
    assert [rule for group in rules for rule in group["rules"]] == alerts()


def test_alerts_on_conditions_name_those_that_the_operator_has() -> None:
    """A type or a kind that there is not would match nothing, for ever and without a word."""
    selectors = [found for rule in alerts() for found in re.findall(r"baas_condition\{(.+?)\}", rule["expr"])]
    asked = [pair for each in selectors for pair in re.findall(r'(\w+)!?="(\w+)"', each)]

    assert {value for label, value in asked if label == "type"} == {READY, ZONE_TOLERANT, STALLED, STORAGE_PRESSURE, DEAD_LETTERS_EXPIRING}
    assert {value for label, value in asked if label == "kind"} <= {kind.name for kind in OWN_KINDS}
    assert {label for label, _ in asked} == {"type", "kind"}


def test_a_database_of_which_no_patroni_is_scraped_can_page_as_well() -> None:
    (rule,) = [each for each in alerts() if each["alert"] == "DatabaseNoPrimary"]
    by_patroni, by_operator = rule["expr"].split("\nor ")

    assert "baas_condition" not in by_patroni
    assert "baas_condition" in by_operator
    assert by_operator.endswith("unless on (namespace, scope) patroni_primary"), "Patroni's own word counts where there is one"
    assert rule["labels"]["severity"] == "page"


def test_alerts_on_states_of_webhooks_name_those_that_there_are() -> None:
    asked = [found for rule in alerts() for found in re.findall(r'baas_webhook_state\{state=~?"([\w|]+)"\}', rule["expr"])]
    assert {state for each in asked for state in each.split("|")} == {EndpointState.DISABLED, EndpointState.OPEN, EndpointState.HALF_OPEN}


def test_alerts_tell_of_labels_that_their_expressions_leave() -> None:
    """Another would be an empty word in the sentence. Without an aggregation all labels are there."""
    for rule in alerts():
        kept = [set(re.split(r",\s*", each)) for each in re.findall(r"\b(?:max|min|sum) by \(([\w, ]+)\)", rule["expr"])]
        told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        if kept and not re.search(r"group_(left|right)|patroni_replica", rule["expr"]):
            assert all(told <= each for each in kept), rule["alert"]


def test_every_alert_is_in_the_page_where_it_says_what_is_to_be_done_of_a_queue() -> None:
    page = (CHART.parents[1] / "docs" / "monitoring.md").read_text()
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    (queues,) = [each for each in groups if each["name"] == "baas-queues"]
    assert [each["alert"] for each in queues["rules"] if f"`{each['alert']}`" not in page] == []


def test_every_alert_goes_by_metrics_that_are_documented_and_says_how_urgent_it_is() -> None:
    """tests/e2e/test_metrics.py sees that those are there."""
    docs = CHART.parents[1] / "docs"
    told = set(re.findall(r"`((?:pg|patroni|baas)_\w+)`", (docs / "monitoring.md").read_text() + (docs / "reference.md").read_text()))
    for rule in alerts():
        used = set(re.findall(r"\b(?:pg|patroni|baas)_\w+", rule["expr"]))
        assert used <= told, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert rule["annotations"]["summary"].endswith((".", "size."))


def test_dashboards_are_made_when_asked_for_with_the_label_that_grafana_looks_for() -> None:
    assert not [each for each in template() if each["kind"] == "ConfigMap"]
    made = {each["metadata"]["name"]: each for each in template("monitoring.dashboards=true") if each["kind"] == "ConfigMap"}
    assert set(made) == {f"baas-operator-dashboard-{name}" for name in ("executive", "on-call", "debug")}
    for each in made.values():
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((name, text),) = each["data"].items()
        assert json.loads(text) == json.loads((CHART / "dashboards" / name).read_text())


def test_the_operator_is_told_what_prometheus_finds_backends_by() -> None:
    def config(*settings: str) -> Config:
        deployment = one(template(*settings), "Deployment")
        return from_environment({name: value for name, value in environment(deployment).items() if value is not None})

    assert (config().pod_monitors, config().monitoring_labels) == (True, {})
    told = config("monitoring.podMonitors=false", "monitoring.labels.release=x")
    assert (told.pod_monitors, told.monitoring_labels) == (False, {"release": "x"})


def test_the_operator_may_make_and_keep_children_of_kinds_that_only_some_clusters_have() -> None:
    held = grants(operator_rules())
    for kind in OPTIONAL_KINDS:
        assert {verb for group, plural, verb in held if (group, plural) == (kind.group, kind.plural)} == {
            "get", "list", "create", "patch", "update", "delete",
        }  # fmt: skip
