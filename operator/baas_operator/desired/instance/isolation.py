"""What pods of a backend may reach and be reached by, and what its namespace may use.

All of a backend's pods are shut, but for DNS, and each component is then let out to what its `flows` name and let in from those whose flows
name it. So a component that is new says what it connects to, or connects to nothing. The database and the queue have policies of their own,
which let everybody in on the ports where they ask for a password.

Policies see pods, not Services: a port is a container's, and an address what the network sees behind a Service (Kubernetes documentation,
"Network Policies"). The kubelet of a pod's own node, whose probes and hooks come from there, is always let in (the same page).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from baas_operator.api.instance.isolation import Isolation, Peer
from baas_operator.api.instance.s3 import S3
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Component, Flow
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue import names as queue_names

COMPONENT = "isolation"
GATEWAY = "gateway"
_DNS_NAMESPACE = "kube-system"
_LOCAL_DNS = "169.254.20.10/32"
"""Where a DNS cache on each node listens (Kubernetes documentation, "Using NodeLocal DNSCache")."""
_DNS_PORTS = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
_METADATA = "169.254.0.0/16"
"""Link-local: clouds give a node's credentials away there."""
_OUTSIDE = {
    "0.0.0.0/0": ("10.0.0.0/8", "100.64.0.0/10", _METADATA, "172.16.0.0/12", "192.168.0.0/16"),
    "::/0": ("fc00::/7", "fe80::/10"),
}
"""Everything but what clusters and the networks around them have addresses from (RFC 1918, 6598, 3927, 4193, 4291)."""
_IN_CLUSTER = re.compile(r"^(?:[a-z0-9-]+\.)+([a-z0-9-]+)\.svc(?:\..+)?$")

Rule = dict[str, Any]


@dataclass(frozen=True)
class Party:
    """Pods of the backend that are no component of its engine, such as a Job's: `name` is their component label."""

    name: str
    flows: tuple[Flow, ...] = ()
    scrape: int | None = None


BOOTSTRAP = Party("bootstrap", (Flow("database"),))


def isolation_manifests(
    spec: BaasInstanceSpec, owner: Owner, components: Sequence[Component], others: Sequence[Party] = (),
    *, operator_namespace: str, monitoring_namespace: str = "",
) -> list[Manifest]:  # fmt: skip
    """NetworkPolicies, ResourceQuota and LimitRange. `components`: all that there should be, also those that may not start yet; `others`:
    all pods beside theirs."""
    made = []
    if spec.isolation.network_policy:
        parties = _Parties(spec, owner, tuple(components), (*components, *others), operator_namespace, monitoring_namespace)
        # What shuts all comes last, so that what runs already is not shut before it is let out to what it needs.
        made += [*(parties.policy(each) for each in parties.everybody), _default_deny(owner)]
    return made + _limits(spec.isolation, owner)


def _default_deny(owner: Owner) -> Manifest:
    """All of the backend's pods, whatever they are: nobody is let in, and they are let out to DNS alone."""
    dns = {"to": [_namespace(_DNS_NAMESPACE), {"ipBlock": {"cidr": _LOCAL_DNS}}], "ports": _DNS_PORTS}
    spec = {"podSelector": {"matchLabels": owner.selector()}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": [dns]}
    return owner.child("networking.k8s.io/v1", "NetworkPolicy", f"{owner.name}-default-deny", COMPONENT, spec=spec)


@dataclass(frozen=True)
class _Parties:
    """All pods of a backend, and who else is there."""

    spec: BaasInstanceSpec
    owner: Owner
    components: tuple[Component, ...]
    everybody: tuple[Component | Party, ...]
    operator_namespace: str
    monitoring_namespace: str

    def policy(self, whose: Component | Party) -> Manifest:
        spec = {
            "podSelector": {"matchLabels": self.owner.selector(whose.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(self._ingress(whose)),
            "egress": [rule for flow in _sorted(whose.flows) for rule in self._egress(flow)] + list(self._named(whose)),
        }
        return self.owner.child("networking.k8s.io/v1", "NetworkPolicy", f"{self.owner.name}-{whose.name}", whose.name, spec=spec)

    # --- in ---------------------------------------------------------------------------------------------------------

    def _ingress(self, whose: Component | Party) -> Iterator[Rule]:
        if isinstance(whose, Component):
            if whose.name == GATEWAY:
                yield _rule("from", [_peer(each) for each in self.spec.isolation.clients] or None, _public(whose))
            for caller in self.everybody:
                ports = sorted({port for flow in caller.flows for port in self._ports(flow, whose)})
                if ports:
                    yield _rule("from", [self._pods(caller.name)], ports)
            if whose.webhooks:
                dispatchers = _of("EventQueue", names.queue_name(self.owner.name, self.spec), queue_names.DISPATCHER)
                yield _rule("from", [dispatchers], [whose.webhooks])
            if told := _asked_by_operator(whose):
                yield _rule("from", [_namespace(self.operator_namespace) | _operator()], told)
        if whose.scrape and self.monitoring_namespace:
            yield _rule("from", [_namespace(self.monitoring_namespace)], [whose.scrape])

    def _ports(self, flow: Flow, target: Component) -> list[int]:
        """The ports of a component that a flow leads to."""
        if flow.to != target.name:
            return []
        if flow.port is None:
            return _public(target) if target.name == GATEWAY else target.all_ports
        return [flow.port]

    # --- out --------------------------------------------------------------------------------------------------------

    def _egress(self, flow: Flow) -> Iterator[Rule]:
        match flow.to:
            case "database":
                members = [_of("DatabaseReplica", self._database, each) for each in (database_names.COMPONENT, database_names.POOLER)]
                yield _rule("to", members, [flow.port or database_names.POSTGRES_PORT])
            case "queue":
                servers = _of("EventQueue", names.queue_name(self.owner.name, self.spec), queue_names.COMPONENT)
                yield _rule("to", [servers], [flow.port or queue_names.CLIENT_PORT])
            case "outside":
                yield _rule("to", _networks(self.spec.isolation), [flow.port] if flow.port else [])
            case _:
                for each in self.components:
                    if ports := self._ports(flow, each):
                        yield _rule("to", [self._pods(each.name)], ports)

    def _named(self, whose: Component | Party) -> Iterator[Rule]:
        """Places that the spec names for a component."""
        if not isinstance(whose, Component):
            return
        s3 = getattr(whose.options, "s3", None)
        if isinstance(s3, S3):
            yield self._place(*s3.place)
        tracing = self.spec.components.gateway.tracing
        if whose.name == GATEWAY and tracing:
            host, _, port = tracing.endpoint.rpartition(":")
            yield self._place(host, int(port))

    def _place(self, host: str, port: int) -> Rule:
        """A place by its name. Of one in the cluster the namespace is known, but not the port behind its Service; of one with a name in
        DNS only the port: policies know no names, and object stores are often on private networks."""
        try:
            address = ip_address(host)
        except ValueError:
            pass
        else:
            return _rule("to", [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], [port])
        if "." not in host:
            return _rule("to", [{"podSelector": {}}], [])
        if found := _IN_CLUSTER.match(host):
            return _rule("to", [_namespace(found[1])], [])
        anywhere = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [_METADATA]}}, {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}}]
        return _rule("to", anywhere, [port])

    @property
    def _database(self) -> str:
        return names.database_name(self.owner.name, self.spec)

    def _pods(self, component: str) -> Rule:
        return {"podSelector": {"matchLabels": self.owner.selector(component)}}


def _sorted(flows: Sequence[Flow]) -> list[Flow]:
    """Each once, in an order that is the same in every process: another order would be another policy."""
    return sorted(set(flows), key=lambda each: (each.to, each.port or 0))


def _public(component: Component) -> list[int]:
    return sorted(component.ports[each] for each in component.public_ports)


def _asked_by_operator(component: Component) -> list[int]:
    """Ports where the operator asks what a component has taken up by itself, or has to tell; others are no business of its."""
    if component.name != GATEWAY and not component.hot:
        return []
    return sorted(set(component.all_ports) - set(_public(component))) or _public(component)


def _rule(way: str, peers: list[Rule] | None, ports: Sequence[int]) -> Rule:
    """A rule of ingress (`from`) or egress (`to`); None for everybody, without ports for all."""
    assert peers != [], "to a network no peers are everybody"
    made: Rule = {way: peers} if peers else {}
    return made | ({"ports": [{"port": each, "protocol": "TCP"} for each in ports]} if ports else {})


def _of(kind: str, name: str, component: str) -> Rule:
    """Pods of another object of ours, which is in the same namespace."""
    return {"podSelector": {"matchLabels": Owner(kind, "", name).selector(component)}}


def _namespace(name: str) -> Rule:
    """A namespace, by the label that the API server gives to each."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _operator() -> Rule:
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}}}


def _peer(said: Peer) -> Rule:
    pods = {"podSelector": {"matchLabels": dict(said.pod_labels)} if said.pod_labels else {}}
    if said.namespace is None:
        return pods
    return _namespace(said.namespace) | (pods if said.pod_labels else {})


def _networks(isolation: Isolation) -> list[Rule]:
    """Where user code, mail and the like may go."""
    if isolation.egress:
        return [{"ipBlock": {"cidr": each}} for each in isolation.egress]
    return [{"ipBlock": {"cidr": cidr, "except": list(but)}} for cidr, but in _OUTSIDE.items()]


def _limits(isolation: Isolation, owner: Owner) -> list[Manifest]:
    """A namespace may have several quotas, and all of them hold; of several LimitRanges each may fill in a default, so that all but one are
    better left out (Kubernetes documentation, "Resource Quotas", "Limit Ranges")."""
    made = []
    if isolation.quota:
        made.append(
            owner.child("v1", "ResourceQuota", f"{owner.name}-quota", COMPONENT, spec={"hard": dict(sorted(isolation.quota.items()))})
        )
    if isolation.limit_range:
        said = isolation.limit_range.model_dump(by_alias=True, exclude_none=True)
        made.append(owner.child("v1", "LimitRange", f"{owner.name}-limits", COMPONENT, spec={"limits": [{"type": "Container"} | said]}))
    return made
