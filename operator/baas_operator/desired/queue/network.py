"""Who may reach which port of the servers and the dispatchers.

The client port, and that for servers of other queues, are for everybody who has a password. Routes are for the servers alone, which also
show one another certificates. The monitor port knows no password and tells of every connection and stream, and neither do the agents and
the dispatchers, which tell where webhooks lead and what is wrong there. So those are for the operator, for who scrapes metrics, and for the
kubelet, which is always let in (Kubernetes documentation, "Network Policies").

Where dispatchers may go is left open. Endpoints are anywhere, and a policy would have to let DNS, queue and databases pass as well, by
addresses that nobody knows here: whether it sees those of Services or of the pods behind them is each network's own affair (the same page,
"ipBlock"). Which addresses a webhook may lead to is judged in the dispatcher, for each webhook by itself and with every connection
(dispatcher/addresses.py).
"""

from __future__ import annotations

from typing import Any

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dispatcher import has_dispatcher


def _port(number: int, *peers: dict[str, Any]) -> dict[str, Any]:
    """A rule for a port; without peers for everybody."""
    rule: dict[str, Any] = {"ports": [{"port": number, "protocol": "TCP"}]}
    return rule | ({"from": list(peers)} if peers else {})


def _policy(owner: Owner, name: str, component: str, *rules: dict[str, Any]) -> Manifest:
    spec = {"podSelector": {"matchLabels": owner.selector(component)}, "policyTypes": ["Ingress"], "ingress": list(rules)}
    return owner.child("networking.k8s.io/v1", "NetworkPolicy", name, component, spec=spec)


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def build_network(spec: EventQueueSpec, owner: Owner, *, operator_namespace: str, monitoring_namespace: str = "") -> list[Manifest]:
    """The NetworkPolicies."""
    servers = {"podSelector": {"matchLabels": owner.selector(names.COMPONENT)}}
    operator = _namespace(operator_namespace) | {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}}}
    scrapers = [_namespace(monitoring_namespace)] if monitoring_namespace else []
    made = [_policy(
        owner, names.servers_service(owner.name), names.COMPONENT,
        _port(names.CLIENT_PORT),
        _port(names.LEAF_PORT),
        _port(names.ROUTE_PORT, servers),
        _port(names.MONITOR_PORT, operator, *scrapers),
        _port(names.AGENT_PORT, operator, *scrapers),
    )]  # fmt: skip
    if has_dispatcher(spec):
        made.append(
            _policy(owner, names.dispatcher(owner.name), names.DISPATCHER, _port(names.DISPATCHER_PORT, operator, *scrapers))
        )  # fmt: skip
    return made
