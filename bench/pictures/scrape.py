"""PodMonitors as the configuration of a Prometheus outside of the cluster: what the Prometheus operator would make of them, and the way to
pods through the API server. Pure.

Labels of targets are those that the Prometheus operator gives (`namespace`, `pod`, `container`, `job`, `endpoint`), and what a PodMonitor
adds; so dashboards are asked as in a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

INTERVAL_SECONDS = 2
"""Fast enough to see a failover of seconds."""
Config = dict[str, Any]
_META = "__meta_kubernetes"


def configuration(monitors: Iterable[Mapping[str, Any]], *, address: str, targets: Mapping[str, Any]) -> Config:
    """All of Prometheus' configuration. `address`: the API server's, host:port; `targets`: how pods are found and the API server is spoken
    to, the same for each job."""
    every = f"{INTERVAL_SECONDS}s"
    jobs = [proxied(job, address) | dict(targets) for each in monitors for job in jobs_of(each)]
    return {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs}


def by_api_server(kubeconfig: str, namespaces: Iterable[str], *, certificates: Mapping[str, str]) -> Config:
    """`targets` of a cluster: pods of these namespaces. `certificates`: files, as Prometheus' `tls_config` names them."""
    return {
        "scheme": "https",
        "tls_config": dict(certificates),
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": kubeconfig, "namespaces": {"names": sorted(namespaces)}}],
    }


def jobs_of(monitor: Mapping[str, Any]) -> list[Config]:
    """A job for each endpoint of a PodMonitor; `targets` are missing yet."""
    name, namespace = monitor["metadata"]["name"], monitor["metadata"]["namespace"]
    spec = monitor["spec"]
    return [
        {
            "job_name": f"podMonitor/{namespace}/{name}/{number}",
            "honor_labels": endpoint.get("honorLabels", False),
            "metrics_path": endpoint.get("path", "/metrics"),
            "relabel_configs": [
                {"source_labels": [f"{_META}_pod_phase"], "regex": "Failed|Succeeded", "action": "drop"},
                *_namespaces(spec.get("namespaceSelector", {}), namespace),
                *_selected(spec["selector"]),
                _port(endpoint),
                *_labels(f"{namespace}/{name}", endpoint),
                *(_snake(each) for each in endpoint.get("relabelings", [])),
            ],
        }
        for number, endpoint in enumerate(spec["podMetricsEndpoints"])
    ]


def proxied(job: Config, address: str) -> Config:
    """The same by the API server's way to pods; `instance` stays what it would be."""
    source = [f"{_META}_namespace", f"{_META}_pod_name", f"{_META}_pod_container_port_number", "__metrics_path__"]
    path = "/api/v1/namespaces/$1/pods/$2:$3/proxy$4"
    way = [
        {"source_labels": ["__address__"], "target_label": "instance"},
        {
            "source_labels": source,
            "separator": ";",
            "regex": "(.+);(.+);(.+);(.+)",
            "target_label": "__metrics_path__",
            "replacement": path,
        },
        {"target_label": "__address__", "replacement": address},
    ]
    return job | {"relabel_configs": [*job["relabel_configs"], *way]}


def _keep(label: str, regex: str) -> Config:
    return {"source_labels": [label], "regex": regex, "action": "keep"}


def _namespaces(selector: Mapping[str, Any], own: str) -> list[Config]:
    if selector.get("any"):
        return []
    return [_keep(f"{_META}_namespace", "|".join(re.escape(each) for each in selector.get("matchNames", [own])))]


def _selected(selector: Mapping[str, Any]) -> list[Config]:
    found = [(label, [value]) for label, value in selector.get("matchLabels", {}).items()]
    for each in selector.get("matchExpressions", []):
        if each["operator"] != "In":
            raise ValueError(f"A PodMonitor selects by {each['operator']}: teach it bench/pictures/scrape.py.")
        found.append((each["key"], each["values"]))
    return [_keep(f"{_META}_pod_label_{_label(name)}", "|".join(re.escape(each) for each in values)) for name, values in found]


def _port(endpoint: Mapping[str, Any]) -> Config:
    if "port" in endpoint:
        return _keep(f"{_META}_pod_container_port_name", re.escape(endpoint["port"]))
    return _keep(f"{_META}_pod_container_port_number", str(endpoint["targetPort"]))


def _labels(job: str, endpoint: Mapping[str, Any]) -> list[Config]:
    meta = {"namespace": f"{_META}_namespace", "container": f"{_META}_pod_container_name", "pod": f"{_META}_pod_name"}
    return [
        *({"source_labels": [source], "target_label": label} for label, source in meta.items()),
        {"target_label": "job", "replacement": job},
        {"target_label": "endpoint", "replacement": str(endpoint.get("port", endpoint.get("targetPort")))},
    ]


def _label(name: str) -> str:
    """As Prometheus spells a label of Kubernetes."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _snake(relabeling: Mapping[str, Any]) -> Config:
    return {re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in relabeling.items()}
