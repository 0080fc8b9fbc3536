"""Who may reach which port of the members and the poolers.

PostgreSQL is for everybody who has a password. The ports beside it are not: Patroni's REST API has a thread for each connection, as many
as its pool has, and waits for whoever connects without a deadline (its source, 4.1.5, api.py, `RestApiServer`), so that a stranger could
keep probes, poolers and other members from being answered. Who scrapes Patroni's metrics is let in by the namespace, as nobody knows what
labels a Prometheus has; a policy of one's own may say it more narrowly instead, as policies add up.
"""

from __future__ import annotations

from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest, Owner


def _port(number: int, *peers: dict[str, Any]) -> dict[str, Any]:
    """A rule for a port; without peers for everybody."""
    rule: dict[str, Any] = {"ports": [{"port": number, "protocol": "TCP"}]}
    return rule | ({"from": list(peers)} if peers else {})


def _policy(owner: Owner, name: str, component: str, *rules: dict[str, Any]) -> Manifest:
    spec = {"podSelector": {"matchLabels": owner.selector(component)}, "policyTypes": ["Ingress"], "ingress": list(rules)}
    return owner.child("networking.k8s.io/v1", "NetworkPolicy", name, component, spec=spec)


def _namespace(name: str) -> dict[str, Any]:
    """A namespace as a peer, by the label that the API server gives to each."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def build_network(spec: DatabaseReplicaSpec, owner: Owner, *, operator_namespace: str, monitoring_namespace: str = "") -> list[Manifest]:
    """The NetworkPolicies. The kubelet of a pod's own node, whose probes and hooks come from there, is always let in (Kubernetes
    documentation, "Network Policies")."""
    members = {"podSelector": {"matchLabels": owner.selector(names.COMPONENT)}}
    poolers = {"podSelector": {"matchLabels": owner.selector(names.POOLER)}}
    operator = _namespace(operator_namespace) | {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}}}
    scrapers = [_namespace(monitoring_namespace)] if monitoring_namespace else []
    made = [_policy(
        owner, owner.name, names.COMPONENT,
        _port(names.POSTGRES_PORT),
        _port(names.PATRONI_PORT, members, poolers, operator, *scrapers),
        _port(names.AGENT_PORT, members, operator),
        *([_port(names.EXPORTER_PORT)] if spec.monitoring.enabled else []),
    )]  # fmt: skip
    if spec.pooler.replicas:
        made.append(_policy(
            owner, names.pooler_service(owner.name), names.POOLER,
            _port(names.POSTGRES_PORT), _port(names.POOLER_AGENT_PORT, members),
        ))  # fmt: skip
    return made
