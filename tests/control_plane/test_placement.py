"""A cordon makes an Operation, with the operator's own rights and the API server's own judgement; PostgreSQL is played by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.cluster import ControlPlane, ready

ADDRESSES = {f"shop-{number}": f"192.0.2.{number + 1}" for number in range(3)}
"""RFC 5737: nobody has these. The members' own are of loopback here, which the API server takes in no EndpointSlice."""


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[None]:
    with cp.operator():
        yield


def must_patch(cp: ControlPlane, kind: str, namespace: str | None, name: str, changes: Object) -> None:
    answer = cp.patch(kind, namespace, name, changes)
    assert answer.ok, answer.message


def lead(cp: ControlPlane, namespace: str, leader: str, transitions: int) -> None:
    """What Patroni and the agent of a new primary write."""
    now = datetime.now(UTC).isoformat()
    labels = {"baas-operator.io/kind": "DatabaseReplica", "baas-operator.io/name": "shop", "app.kubernetes.io/component": "postgresql"}
    lock = {"leader": leader, "renewTime": now, "acquireTime": now, "ttl": "3600", "transitions": str(transitions), "optime": "1000"}
    sync = {"leader": leader, "sync_standby": ",".join(sorted(set(ADDRESSES) - {leader}))}
    for name, said in (("shop-leader", lock), ("shop-sync", sync)):
        metadata = {"name": name, "labels": labels, "annotations": said}
        cp.must_apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, namespace)
    for name in ADDRESSES:
        replication = {} if name == leader else {"replication_state": "streaming"}
        status = json.dumps({"state": "running", "xlog_location": 1000, "timeline": transitions} | replication)
        role = "primary" if name == leader else "standby"
        changes = {"metadata": {"labels": {"baas-operator.io/role": role}, "annotations": {"status": status}}}
        must_patch(cp, "Pod", namespace, name, changes)
    endpoint = {"addresses": [ADDRESSES[leader]], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": leader}}
    must_patch(cp, "EndpointSlice", namespace, "shop-rw", {"endpoints": [endpoint]})


def give_addresses(cp: ControlPlane, namespace: str) -> None:
    for name, address in ADDRESSES.items():
        path = f"{cp.resource('Pod').path(namespace, name)}/status"
        body = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
        status, answer = cp.request("PATCH", path, body, content_type="application/merge-patch+json")
        assert status == 200, answer


def operations(cp: ControlPlane, namespace: str) -> list[Object]:
    return cp.list("Operation", namespace, "baas-operator.io/why=node-leaving")


def test_a_cordon_makes_one_operation_that_leads_to_another_node(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("DatabaseReplica", "shop", {"pooler": {"replicas": 0}}), namespace)

    def members() -> list[Object]:
        found = cp.list("Pod", namespace, "app.kubernetes.io/component=postgresql")
        return found if len(found) == 3 and all(ready(each) for each in found) else []

    nodes = {each["metadata"]["name"]: each["spec"]["nodeName"] for each in cp.wait(members, 30, "three members")}
    give_addresses(cp, namespace)
    lead(cp, namespace, "shop-0", 1)

    must_patch(cp, "Node", None, nodes["shop-0"], {"spec": {"unschedulable": True}})
    try:
        cp.wait(lambda: [each for each in operations(cp, namespace) if each.get("status", {}).get("candidate")], 30, "an Operation")
        (made,) = operations(cp, namespace)
        assert made["spec"]["reason"] == f"shop-0 leads and {nodes['shop-0']} is cordoned."
        assert made["metadata"]["ownerReferences"][0]["name"] == "shop"
        assert made["status"]["phase"] == "Running"
        to = made["status"]["candidate"]
        assert to in ("shop-1", "shop-2")

        lead(cp, namespace, to, 2)
        cp.wait(lambda: [each["status"]["phase"] for each in operations(cp, namespace)] == ["Succeeded"], 30, "it is done")
        must_patch(cp, "DatabaseReplica", namespace, "shop", {"spec": {"parameters": {"work_mem": "8MB"}}})
        cp.wait(lambda: cp.list("DatabaseReplica", namespace)[0]["status"]["observedGeneration"] == 2, 30, "the operator has looked again")
        assert len(operations(cp, namespace)) == 1
    finally:
        must_patch(cp, "Node", None, nodes["shop-0"], {"spec": {"unschedulable": None}})
