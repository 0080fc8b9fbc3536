"""NetworkPolicies as a network would read them (Kubernetes documentation, "Network Policies"). The lab's own network enforces none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from baas_operator.desired.meta import Manifest

NAMESPACE = "prod"


@dataclass(frozen=True)
class Pod:
    """A pod, or with an `address` alone whoever has that outside of the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str | None = NAMESPACE
    address: str | None = None


def outside(address: str) -> Pod:
    return Pod(namespace=None, address=address)


def connects(policies: Iterable[Manifest], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out where it begins and let in where it ends."""
    policies = list(policies)
    out = _allowed(policies, "Egress", source, target, port, protocol)
    return out and _allowed(policies, "Ingress", target, source, port, protocol)


def _allowed(policies: list[Manifest], way: str, whose: Pod, other: Pod, port: int, protocol: str) -> bool:
    """A pod that no policy of that way selects is open; else what any of them lets through is let through."""
    mine = [each for each in policies if way in each["spec"]["policyTypes"] and _selects(each, whose)]
    rules = [rule for each in mine for rule in each["spec"].get(way.lower()) or []]
    return not mine or any(_matches(rule, "to" if way == "Egress" else "from", other, port, protocol) for rule in rules)


def _selects(policy: Manifest, pod: Pod) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and _labelled(policy["spec"]["podSelector"], pod.labels)


def _labelled(selector: Manifest, labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "only what is ours is read here"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _matches(rule: Manifest, key: str, other: Pod, port: int, protocol: str) -> bool:
    assert set(rule) <= {key, "ports"}
    ports = rule.get("ports")
    if ports is not None and not any(each["port"] == port and each["protocol"] == protocol for each in ports):
        return False
    return key not in rule or any(_is(peer, other) for peer in rule[key])


def _is(peer: Manifest, other: Pod) -> bool:
    assert peer, "an empty peer is refused by the API server"
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if other.address is None:
            return False
        address = ip_address(other.address)
        return address in ip_network(block["cidr"]) and not any(address in ip_network(each) for each in block.get("except", []))
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not _labelled(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != NAMESPACE:
        return False
    return _labelled(peer.get("podSelector", {}), other.labels)
