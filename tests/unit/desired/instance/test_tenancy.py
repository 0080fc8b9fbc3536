"""A backend stays in its namespace: no object of another is named, and no pod can ask the API server for anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.meta import KIND_LABEL, NAME_LABEL, Manifest
from baas_operator.desired.render import render, secret_requests
from tests.unit.desired.rendered import RICH, resource

HOST = re.compile(r"\b[a-z0-9-]+\.([a-z0-9-]+)\.svc\b")
SPECS: dict[str, Manifest] = {
    **{engine.value: {"engine": engine.value} for engine in ENGINES},
    "rich": RICH["BaasInstance"],
    "exposed": {
        "hosts": ["api.shop.example"],
        "components": {"gateway": {"tls": {"issuerRef": {"name": "ours"}}, "httpRoute": {"name": "public"}, "ingress": {}}},
        "isolation": {"quota": {"pods": "60"}, "limitRange": {"default": {"memory": "1Gi"}}, "clients": [{"namespace": "web"}]},
    },
}
CHILDREN = {name: render(resource("BaasInstance", spec)) for name, spec in SPECS.items()}
ROOMS = ["prod", "elsewhere"]


def namespaces(node: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every field `namespace`, with where it is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "namespace" and isinstance(value, str):
                yield f"{at}.{key}", value
            yield from namespaces(value, f"{at}.{key}")
    elif isinstance(node, list):
        for each in node:
            yield from namespaces(each, at)


@pytest.mark.parametrize("name", SPECS)
def test_no_manifest_names_an_object_of_another_namespace(name: str) -> None:
    for child in CHILDREN[name]:
        found = dict(namespaces(child))
        assert found.pop(".metadata.namespace") == "prod", "each is in the namespace; none is of the cluster"
        assert not set(found.values()) - {"prod"}, child["metadata"]["name"]
        text = json.dumps(child)
        assert set(HOST.findall(text)) <= {"prod"}, child["metadata"]["name"]
    requests = json.dumps([vars(each) for each in secret_requests(resource("BaasInstance", SPECS[name]))], default=str)
    assert set(HOST.findall(requests)) == {"prod"}


@pytest.mark.parametrize("name", SPECS)
def test_only_namespaces_of_peers_are_named_beside_it_and_only_as_such(name: str) -> None:
    for child in CHILDREN[name]:
        if child["kind"] == "NetworkPolicy":
            assert child["spec"]["podSelector"]["matchLabels"].items() >= {(KIND_LABEL, "BaasInstance"), (NAME_LABEL, "shop")}
        else:
            assert "namespaceSelector" not in json.dumps(child)


def templates(children: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for child in children:
        spec = child.get("spec") or {}
        template = spec.get("template") or ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
        if isinstance(template, dict) and "spec" in template:
            yield child["metadata"]["name"], template["spec"]


@pytest.mark.parametrize("name", SPECS)
def test_pods_have_an_account_of_their_own_and_no_token(name: str) -> None:
    accounts = {each["metadata"]["name"]: each for each in CHILDREN[name] if each["kind"] == "ServiceAccount"}
    assert all(each["automountServiceAccountToken"] is False for each in accounts.values())
    found = dict(templates(CHILDREN[name]))
    assert len(found) >= 3
    used = []
    for workload, pod in found.items():
        assert pod["automountServiceAccountToken"] is False, workload
        assert "serviceAccountToken" not in json.dumps(pod.get("volumes", [])), workload
        assert not pod.get("hostNetwork"), workload
        if account := pod.get("serviceAccountName"):
            assert account in accounts, workload
            used.append(account)
        else:
            assert workload.startswith("shop-bootstrap-"), "one that runs once has the namespace's, and no token of it"
    assert len(used) == len(set(used)), "no two share one"


@pytest.mark.parametrize("name", SPECS)
def test_a_role_that_there_is_is_bound_to_accounts_of_the_backend_alone(name: str) -> None:
    """There is none today: no pod of a backend asks the API server for anything."""
    kinds = {each["kind"] for each in CHILDREN[name]}
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds
    accounts = {each["metadata"]["name"] for each in CHILDREN[name] if each["kind"] == "ServiceAccount"}
    for binding in (each for each in CHILDREN[name] if each["kind"] == "RoleBinding"):
        assert {(each["kind"], each["name"] in accounts, each["namespace"]) for each in binding["subjects"]} == {
            ("ServiceAccount", True, "prod")
        }


@pytest.mark.parametrize("name", SPECS)
def test_the_same_backend_elsewhere_is_the_same_but_for_the_namespace(name: str) -> None:
    """Whatever of one tenant's were in another's would stand out here."""
    here, there = ([json.dumps(each) for each in render(resource("BaasInstance", SPECS[name], namespace=room))] for room in ROOMS)
    masked = [re.sub(r"-[0-9a-f]{8,16}\b|\\*\"[0-9a-f]{16}\\*\"", "", each.replace(*pair)) for made, pair in (
        (here, ("prod", "ROOM")), (there, ("elsewhere", "ROOM"))) for each in made]  # fmt: skip
    assert masked[: len(here)] == masked[len(here) :]
