"""PodMonitors: how the Prometheus operator finds a backend's metrics. Where there is none, annotations of the pods say so (manifests.py).

The chart has one PodMonitor for all databases, and one for all queues. A backend has its own, as which ports there are depends on its
components. Its database and its queue are scraped by the chart's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from baas_operator.api.kinds import POD_MONITOR
from baas_operator.desired.instance.component import Component
from baas_operator.desired.meta import COMPONENT_LABEL, NAME_LABEL, Manifest, Owner

_RELABELINGS = [
    {"sourceLabels": [f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', label)}"], "targetLabel": target}
    for label, target in ((NAME_LABEL, "scope"), (COMPONENT_LABEL, "component"))
]
"""`scope` is the backend's name, as it is the database's or the queue's elsewhere."""


def monitoring_manifests(
    owner: Owner, components: Sequence[Component], *, kinds: frozenset[str], labels: Mapping[str, str]
) -> list[Manifest]:  # fmt: skip
    """A PodMonitor for each component that has metrics, where the cluster has that kind. `labels`: what Prometheus selects them by."""
    if POD_MONITOR.name not in kinds:
        return []
    return [_pod_monitor(owner, each, labels) for each in components if each.scrape]


def _pod_monitor(owner: Owner, component: Component, labels: Mapping[str, str]) -> Manifest:
    name = next((name for name, port in component.ports.items() if port == component.scrape), None)
    port: dict[str, Any] = {"port": name} if name else {"targetPort": component.scrape}
    endpoint = port | {"path": component.scrape_path, "relabelings": _RELABELINGS}
    return owner.child(
        POD_MONITOR.api_version, POD_MONITOR.name, f"{owner.name}-{component.name}", component.name, labels=dict(labels),
        spec={"selector": {"matchLabels": owner.selector(component.name)}, "podMetricsEndpoints": [endpoint]},
    )  # fmt: skip
