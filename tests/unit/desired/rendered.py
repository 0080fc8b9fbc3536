"""The least and the most of each kind, rendered as `baas-operator render` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from baas_operator.api.group import API_VERSION
from baas_operator.desired.meta import Manifest
from baas_operator.desired.render import render

RESOURCES = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
RICH: dict[str, Manifest] = {
    "DatabaseReplica": {
        "replicas": 5,
        "durability": "quorum",
        "storage": {"size": "50Gi", "storageClassName": "fast"},
        "parameters": {"max_connections": "200", "work_mem": "8MB"},
        "databases": [
            {
                "name": "shop",
                "connectionLimit": 50,
                "schemas": [{"name": "api"}, {"name": "old", "ensure": "absent"}],
                "extensions": [{"name": "vector", "version": "0.8.0", "schema": "api"}, {"name": "hstore", "ensure": "absent"}],
            },
            {"name": "reports", "owner": "data_analyst"},
        ],
        "roles": [
            {"name": "reader", "memberOf": ["pg_read_all_data"], "databases": ["shop"], "connectionLimit": 5},
            {"name": "shop_a", "actsAs": "shop", "validUntil": "2030-01-01T00:00:00Z"},
            {"name": "gone", "ensure": "absent"},
        ],
        "pooler": {
            "replicas": 3,
            "mode": "session",
            "poolSize": 8,
            "maxClientConnections": 400,
            "queryTimeoutSeconds": 90,
            "resources": RESOURCES,
        },
        "resources": RESOURCES,
        "image": "example/postgres:17.9",
        "imagePullSecrets": [{"name": "registry"}],
        "placement": {
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "dedicated", "value": "databases", "effect": "NoSchedule"}],
        },
        "deletionPolicy": "Delete",
    },
    "EventQueue": {
        "replicas": 5,
        "durability": "balanced",
        "storage": {"size": "20Gi", "storageClassName": "fast"},
        "streams": [{"name": "orders", "subjects": ["orders.>"], "maxAgeHours": 24, "maxSize": "1Gi", "discard": "new", "deadLetter": {}}],
        "webhooks": [{"name": "crm", "stream": "orders", "url": "https://crm.example/hook"}],
        "outboxes": [{"name": "shop", "databaseRef": {"name": "shop-db"}, "database": "shop", "stream": "orders"}],
        "resources": RESOURCES,
        "image": "example/nats:2.99",
        "deletionPolicy": "Delete",
    },
    "BaasInstance": {
        "databaseRef": {"name": "shop-db"},
        "queueRef": {"name": "shop-events"},
        "components": {
            "gateway": {"replicas": 5, "service": {"type": "NodePort", "nodePort": 30080}, "resources": RESOURCES},
            "rest": {"replicas": 4, "schemas": ["public", "api"], "maxRows": 500, "image": "example/postgrest:13"},
        },
        "deletionPolicy": "Delete",
    },
}
NAMES = {"DatabaseReplica": "shop-db", "EventQueue": "shop-events", "BaasInstance": "shop"}


def resource(kind: str, spec: Manifest | None = None, *, name: str | None = None, **metadata: Any) -> Manifest:
    """An object of ours as a user writes it."""
    metadata = {"name": name or NAMES[kind], "namespace": "prod", **metadata}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec or {}}


CASES = [(kind, size) for kind in RICH for size in ("default", "rich")]
CHILDREN = {(kind, size): render(resource(kind, RICH[kind] if size == "rich" else {})) for kind, size in CASES}


def of_kind(kind: str, *children: str, size: str = "default") -> Manifest:
    """The child of that kind and name."""
    wanted_kind, name = children
    return next(each for each in CHILDREN[kind, size] if each["kind"] == wanted_kind and each["metadata"]["name"] == name)


def workloads() -> Iterator[tuple[str, Manifest]]:
    """Everything that has pods, with a name for the test's report."""
    for (kind, size), children in CHILDREN.items():
        for each in children:
            if "template" in each.get("spec", {}):
                yield f"{kind}-{size}-{each['kind']}-{each['metadata']['name']}", each
