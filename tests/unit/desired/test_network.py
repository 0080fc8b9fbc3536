"""Who may reach which port of a database, read from the NetworkPolicies as a network would read them.

The lab's own network enforces none, so this is all that is tested.
"""

from __future__ import annotations

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.database.network import build_network
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.render import render
from tests.unit.desired.rendered import resource

CHILDREN = render(resource("DatabaseReplica", {}))
POLICIES = [each["spec"] for each in CHILDREN if each["kind"] == "NetworkPolicy"]
NAMESPACE, NAME = next((each["metadata"]["namespace"], each["metadata"]["name"]) for each in CHILDREN if each["kind"] == "StatefulSet")


def labels_of(component: str, name: str = NAME) -> dict[str, str]:
    return Owner("DatabaseReplica", NAMESPACE, name).labels(component)


MEMBER, POOLER = (NAMESPACE, labels_of(names.COMPONENT)), (NAMESPACE, labels_of(names.POOLER))
OPERATOR = ("baas-system", {"app.kubernetes.io/component": "operator"})
PROMETHEUS = ("monitoring", {"app.kubernetes.io/name": "prometheus"})
PRETENDER = (NAMESPACE, {"app.kubernetes.io/component": "operator"})
NEIGHBOUR = (NAMESPACE, labels_of(names.COMPONENT, "other"))
NOBODY = ("elsewhere", {})


def _matches(selector: Manifest | None, labels: dict[str, str]) -> bool:
    return selector is None or (selector or {}).get("matchLabels", {}).items() <= labels.items()


def _peer(peer: Manifest, namespace: str, labels: dict[str, str]) -> bool:
    of_namespace = peer.get("namespaceSelector")
    there = namespace == NAMESPACE if of_namespace is None else _matches(of_namespace, {"kubernetes.io/metadata.name": namespace})
    return there and _matches(peer.get("podSelector"), labels)


def allowed(source: tuple[str, dict[str, str]], target: dict[str, str], port: int, among: list[Manifest] = POLICIES) -> bool:
    policies = [each for each in among if _matches(each["podSelector"], target)]
    assert policies, "a pod that no policy selects is open to all"
    return any(
        port in [each["port"] for each in rule["ports"]] and ("from" not in rule or any(_peer(each, *source) for each in rule["from"]))
        for policy in policies
        for rule in policy["ingress"]
    )  # fmt: skip


@pytest.mark.parametrize("component", [names.COMPONENT, names.POOLER])
def test_anybody_may_reach_postgresql(component: str) -> None:
    assert allowed(NOBODY, labels_of(component), names.POSTGRES_PORT)


@pytest.mark.parametrize("source", [MEMBER, POOLER, OPERATOR])
def test_patroni_answers_its_own(source: tuple[str, dict[str, str]]) -> None:
    assert allowed(source, labels_of(names.COMPONENT), names.PATRONI_PORT)


@pytest.mark.parametrize("source", [PRETENDER, NEIGHBOUR, PROMETHEUS, NOBODY])
def test_strangers_reach_neither_patroni_nor_an_agent(source: tuple[str, dict[str, str]]) -> None:
    assert not allowed(source, labels_of(names.COMPONENT), names.PATRONI_PORT)
    assert not allowed(source, labels_of(names.COMPONENT), names.AGENT_PORT)
    assert not allowed(source, labels_of(names.POOLER), names.POOLER_AGENT_PORT)


def test_the_operator_asks_agents_to_move_and_members_ask_poolers_to_pause() -> None:
    assert allowed(OPERATOR, labels_of(names.COMPONENT), names.AGENT_PORT)
    assert allowed(MEMBER, labels_of(names.POOLER), names.POOLER_AGENT_PORT)


def test_a_prometheus_whose_namespace_is_known_asks_patroni_and_nothing_beside_it() -> None:
    owner = Owner("DatabaseReplica", NAMESPACE, NAME)
    made = build_network(DatabaseReplicaSpec(), owner, operator_namespace="baas-system", monitoring_namespace="monitoring")
    policies = [each["spec"] for each in made]

    assert allowed(PROMETHEUS, labels_of(names.COMPONENT), names.PATRONI_PORT, policies)
    assert not allowed(PROMETHEUS, labels_of(names.COMPONENT), names.AGENT_PORT, policies)
    assert not allowed(PROMETHEUS, labels_of(names.POOLER), names.POOLER_AGENT_PORT, policies)
    assert not allowed(NOBODY, labels_of(names.COMPONENT), names.PATRONI_PORT, policies)


def test_in_one_entry_the_operators_namespace_and_its_label_have_to_fit() -> None:
    peers = [each for policy in POLICIES for rule in policy["ingress"] for each in rule.get("from", []) if "namespaceSelector" in each]

    assert peers
    assert all(set(each) == {"namespaceSelector", "podSelector"} for each in peers)
