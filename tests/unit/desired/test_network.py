"""Who may reach which port of a database and of a queue, read from the NetworkPolicies as a network would read them.

The lab's own network enforces none, so this is all that is tested.
"""

from __future__ import annotations

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.database import names
from baas_operator.desired.database.network import build_network
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue import names as queue_names
from baas_operator.desired.queue.network import build_network as build_queue_network
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


# --- of a queue -----------------------------------------------------------------------------------------------------------

QUEUE = Owner("EventQueue", NAMESPACE, "events")
DEAD = EventQueueSpec.model_validate({"streams": [{"name": "orders", "subjects": ["orders.>"], "deadLetter": {}}]})
SERVER, DISPATCHER = ((NAMESPACE, QUEUE.labels(each)) for each in (queue_names.COMPONENT, queue_names.DISPATCHER))
OTHER_QUEUE = (NAMESPACE, Owner("EventQueue", NAMESPACE, "other").labels(queue_names.DISPATCHER))
CLOSED = [
    (SERVER, queue_names.MONITOR_PORT), (SERVER, queue_names.AGENT_PORT), (DISPATCHER, queue_names.DISPATCHER_PORT),
]  # fmt: skip
"""Ports that know no password."""


def of_queue(spec: EventQueueSpec = DEAD, monitoring_namespace: str = "") -> list[Manifest]:
    made = build_queue_network(spec, QUEUE, operator_namespace="baas-system", monitoring_namespace=monitoring_namespace)
    return [each["spec"] for each in made]


@pytest.mark.parametrize("port", [queue_names.CLIENT_PORT, queue_names.LEAF_PORT])
def test_anybody_may_reach_a_queue_that_asks_for_a_password(port: int) -> None:
    assert allowed(NOBODY, SERVER[1], port, of_queue())


@pytest.mark.parametrize(("target", "port"), CLOSED)
def test_the_operator_asks_servers_agents_and_dispatchers(target: tuple[str, dict[str, str]], port: int) -> None:
    assert allowed(OPERATOR, target[1], port, of_queue())


@pytest.mark.parametrize("source", [SERVER, DISPATCHER, OTHER_QUEUE, MEMBER, PRETENDER, PROMETHEUS, NOBODY])
@pytest.mark.parametrize(("target", "port"), CLOSED)
def test_nobody_else_does(source: tuple[str, dict[str, str]], target: tuple[str, dict[str, str]], port: int) -> None:
    assert not allowed(source, target[1], port, of_queue())


@pytest.mark.parametrize(("target", "port"), CLOSED)
def test_a_prometheus_whose_namespace_is_known_scrapes_them_and_enters_no_cluster(target: tuple[str, dict[str, str]], port: int) -> None:
    policies = of_queue(monitoring_namespace="monitoring")

    assert allowed(PROMETHEUS, target[1], port, policies)
    assert not allowed(NOBODY, target[1], port, policies)
    assert not allowed(PROMETHEUS, SERVER[1], queue_names.ROUTE_PORT, policies)


def test_servers_alone_reach_one_another_as_such() -> None:
    assert allowed(SERVER, SERVER[1], queue_names.ROUTE_PORT, of_queue())
    for source in (DISPATCHER, OPERATOR, NOBODY):
        assert not allowed(source, SERVER[1], queue_names.ROUTE_PORT, of_queue())


def test_where_a_dispatcher_may_go_is_its_own_affair() -> None:
    """A policy that has something to say of ways out would shut all that it does not name: names, queue, databases, endpoints."""
    assert [each["policyTypes"] for each in of_queue()] == [["Ingress"], ["Ingress"]]


def test_there_is_no_policy_for_dispatchers_that_there_are_not() -> None:
    assert len(of_queue(EventQueueSpec())) == 1


def test_policies_select_the_pods_that_a_queue_has() -> None:
    children = render(resource("EventQueue", DEAD.model_dump(by_alias=True, mode="json", exclude_none=True), name=QUEUE.name))
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in children if "template" in each.get("spec", {})]

    assert len(pods) == 2
    for labels in pods:
        assert [each for each in of_queue() if _matches(each["podSelector"], labels)], labels
