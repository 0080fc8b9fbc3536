"""A Prometheus beside the lab that scrapes a backend's pods as our PodMonitors say, through the API server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from baas_lab import binaries, install, versions
from baas_lab.cache import Cache
from baas_lab.errors import LabError
from baas_lab.process import run
from baas_lab.progress import Progress
from baas_lab.waiting import wait_until
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import POD_MONITOR
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, components
from baas_operator.desired.instance.monitoring import monitoring_manifests
from baas_operator.desired.meta import Manifest, Owner
from bench.pictures.prometheus import Prometheus, running
from bench.pictures.scrape import by_api_server, configuration
from tests.chaos.instance.backend import OursBackend

CHART = install.REPOSITORY / "charts" / "baas-operator"
SCRAPED_SECONDS = 90.0


@contextmanager
def watched(backend: OursBackend, program: Path, progress: Progress) -> Iterator[Prometheus]:
    """Have a Prometheus scrape it until the block ends; it is entered once every PodMonitor's pods are. Raises LabError."""
    lab = backend.lab
    with TemporaryDirectory(prefix="baas-pictures-") as made:
        address, certificates = credentials(lab.kubeconfig, Path(made))
        monitors = [*of_chart(lab.cache, progress), *of_backend(backend)]
        targets = by_api_server(str(lab.kubeconfig), (install.NAMESPACE, backend.namespace), certificates=certificates)
        config = configuration(monitors, address=address, targets=targets)
        pools = {each["job_name"] for each in config["scrape_configs"]}
        with running(program, config) as prometheus:
            wait_scraped(prometheus, pools)
            yield prometheus


def wait_scraped(prometheus: Prometheus, pools: set[str], timeout_seconds: float = SCRAPED_SECONDS) -> None:
    """Until each job has a pod and each pod answers. Raises LabError with what does not."""
    why = ""

    def scraped() -> bool:
        nonlocal why
        found = prometheus.targets()
        without = sorted(pools - {each["scrapePool"] for each in found})
        down = [f"{each['scrapeUrl']}: {each['lastError'] or 'not asked yet'}" for each in found if each["health"] != "up"]
        why = "; ".join([*(f"no pod for {each}" for each in without), *down])
        return not why

    try:
        wait_until(scraped, timeout_seconds=timeout_seconds, what="Prometheus has metrics of all pods", poll_seconds=1)
    except LabError as error:
        raise LabError(f"{error} {why}") from error


def of_chart(cache: Cache, progress: Progress) -> list[Manifest]:
    """The chart's PodMonitors, which an installation without the Prometheus operator has not: by helm. Raises CommandError."""
    helm = binaries.ensure_or_adopt(cache, progress, ["helm"]) / "helm"
    where = ("--namespace", install.NAMESPACE, "--kube-version", versions.KUBERNETES, "--api-versions", POD_MONITOR.api_version)
    words = (*where, "--show-only", "templates/podmonitors.yaml")
    text = run([helm, "template", install.RELEASE, CHART, *words]).stdout
    return [each for each in yaml.safe_load_all(text) if each]


def of_backend(backend: OursBackend) -> list[Manifest]:
    """Those that the operator makes of a backend where the cluster has the kind. Raises CommandError."""
    found = backend.get(backend.kind, backend.name)
    owner = Owner("BaasInstance", backend.namespace, backend.name, found["metadata"]["uid"])
    return monitors_of(owner, BaasInstanceSpec.model_validate(found["spec"]))


def monitors_of(owner: Owner, spec: BaasInstanceSpec) -> list[Manifest]:
    """The same, of its spec."""
    facts = InstanceFacts(kinds=frozenset({POD_MONITOR.name}))
    return monitoring_manifests(owner, components(spec, owner, Images(), facts), kinds=facts.kinds, labels={})


def credentials(kubeconfig: Path, folder: Path) -> tuple[str, dict[str, str]]:
    """The API server's host:port, and Prometheus' `tls_config`: the kubeconfig's certificates as files in `folder`, as Prometheus reads no
    kubeconfig to scrape."""
    found: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    given = found["clusters"][0]["cluster"] | found["users"][0]["user"]
    named = {}
    for name, key in (("ca_file", "certificate-authority"), ("cert_file", "client-certificate"), ("key_file", "client-key")):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(given[f"{key}-data"]) if f"{key}-data" in given else Path(given[key]).read_bytes())
        named[name] = str(path)
    return str(given["server"]).removeprefix("https://").rstrip("/"), named
