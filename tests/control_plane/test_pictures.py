"""The Prometheus that draws dashboards finds pods by the API server, by what our PodMonitors say, and gives them their labels.

Pods here are made up by KWOK, so nobody answers a scrape: tests/backend/gateway/test_pictures.py has what comes of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baas_lab.cache import Cache
from baas_lab.errors import LabError
from baas_lab.progress import Progress
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.meta import COMPONENT_LABEL, Owner
from bench.pictures import prometheus
from bench.pictures.__main__ import SPEC
from bench.pictures.lab import credentials, monitors_of, of_chart, wait_scraped
from bench.pictures.scrape import by_api_server, configuration
from tests.harness.manifests import own

from .harness.chart import SYSTEM_NAMESPACE
from .harness.cluster import ControlPlane
from .harness.operator import OperatorProcess

pytestmark = pytest.mark.prometheus


@pytest.fixture(autouse=True)
def operator(cp: ControlPlane) -> Iterator[OperatorProcess]:
    with cp.operator() as running:
        yield running


POD_LABELS = {"namespace", "pod", "container", "job", "endpoint", "instance"}


def test_pods_are_found_with_the_labels_that_dashboards_ask_for(cp: ControlPlane, namespace: str, tmp_path: Path) -> None:
    manifest = own("BaasInstance", "shop", SPEC)
    cp.must_apply(manifest, namespace)
    cp.wait(lambda: len(pods(cp, namespace)) == 11, 60, "members, servers, dispatchers and gateways")
    owner = Owner("BaasInstance", namespace, "shop", "0")
    monitors = [*of_chart(Cache(), Progress()), *monitors_of(owner, BaasInstanceSpec.model_validate(SPEC))]
    address, certificates = credentials(cp.kubeconfig, tmp_path)
    config = configuration(
        monitors, address=address, targets=by_api_server(str(cp.kubeconfig), (SYSTEM_NAMESPACE, namespace), certificates=certificates)
    )

    with prometheus.running(prometheus.program(Cache()), config) as watching:
        found = cp.wait(lambda: all_of(watching, 3 + 3 + 3 + 2 + 3), 60, "a target for each pod and port")

        assert {(each["labels"]["scope"], each["labels"]["endpoint"]) for each in found if "scope" in each["labels"]} == {
            ("shop-db", "metrics"), ("shop-events", "agent"), ("shop-events", "http"), ("shop", "health"),
        }  # fmt: skip
        for each in found:
            labels, endpoint = each["labels"], each["labels"]["endpoint"]
            own_labels = {"patroni": set(), "health": {"scope", "component"}}.get(endpoint, {"scope"})
            assert set(labels) == POD_LABELS | own_labels, "Patroni says itself which database it is of"
            assert labels["namespace"] == namespace
            assert labels["instance"].startswith("127."), "a pod's address, not the API server's"
            port = labels["instance"].rpartition(":")[2]
            path = f"/api/v1/namespaces/{namespace}/pods/{labels['pod']}:{port}/proxy/metrics"
            assert each["scrapeUrl"] == f"https://{address}{path}"
        with pytest.raises(LabError, match="no pod for podMonitor/baas-system/baas-operator/0"):
            wait_scraped(watching, {each["job_name"] for each in config["scrape_configs"]}, timeout_seconds=3)


def pods(cp: ControlPlane, namespace: str) -> list[str]:
    """Pods that are scraped here, and run."""
    found = [
        pod
        for component in ("postgresql", "nats", "dispatcher", "gateway")
        for pod in cp.list("Pod", namespace, f"{COMPONENT_LABEL}={component}")
    ]
    return [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running"]


def all_of(watching: prometheus.Prometheus, count: int) -> list[dict[str, Any]]:
    """The targets, once there are so many and each was asked: the API server lets Prometheus in, and finds nobody behind the address."""
    found = watching.targets()
    return found if len(found) == count and all("403" not in each["lastError"] and each["lastError"] for each in found) else []
