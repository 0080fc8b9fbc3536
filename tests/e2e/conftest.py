"""Fixtures: the lab with the operator in it, once a session; once a module a namespace, a client pod,
and a database with a ledger for those who ask.

`BAAS_KEEP_LAB=1` leaves a lab running that was brought up here. `BAAS_LAB_AS_IS=1` takes the running lab with the operator that is
in it, for those who look at one test again and again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from baas_lab import lifecycle
from baas_lab.cluster import Cluster, running
from baas_lab.errors import MissingError, NoClusterError
from baas_lab.install import install
from baas_lab.kind_config import DEFAULT_NAME
from baas_lab.progress import Progress
from baas_operator.api.kinds import OWN_KINDS
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube
from tests.e2e.harness.ledger import Ledger
from tests.harness.manifests import own

LAB = os.environ.get("LAB_CLUSTER", DEFAULT_NAME)
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Every pod that the operator makes has to pass the strictest of Kubernetes' standards."""


@pytest.fixture(scope="session")
def lab() -> Iterator[Cluster]:
    """The cluster with the operator as it is in this checkout; afterwards only runs what ran before."""
    was_up = _is_up()
    if was_up and os.environ.get("BAAS_LAB_AS_IS"):
        yield running(LAB)
        return
    try:
        cluster = lifecycle.up(LAB, progress=Progress())
        install(cluster, Progress())
        yield cluster
    except MissingError as error:
        pytest.skip(str(error))  # which is a failure in CI, as for every tier
    finally:
        if not was_up and not os.environ.get("BAAS_KEEP_LAB"):
            lifecycle.down(LAB, progress=Progress())


def _is_up() -> bool:
    try:
        running(LAB)
    except NoClusterError:
        return False
    return True


@pytest.fixture(scope="session")
def kube(lab: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """A client of the cluster's API."""
    return Kube(lab, tmp_path_factory.mktemp("credentials"))


@pytest.fixture(scope="module")
def namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the module's own. It is emptied afterwards, and goes while the next module begins."""
    module = Path(request.path).stem.removeprefix("test_")
    name = f"e2e-{re.sub(r'[^a-z0-9]+', '-', module)}"
    kube.lab.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait", timeout_seconds=360)  # of a run that was killed
    kube.must_apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    yield name
    if request.session.testsfailed and os.environ.get("BAAS_KEEP_LAB"):
        return
    for kind in OWN_KINDS:
        kube.delete_all(kind.name, name)
    kube.lab.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def client(kube: Kube, namespace: str) -> ClientPod:
    """A pod in the module's namespace that clients run in."""
    pod = ClientPod(kube, namespace)
    pod.start()
    return pod


@pytest.fixture(scope="module")
def database(kube: Kube, namespace: str, client: ClientPod) -> Database:
    """A replicated database in the module's namespace, whole."""
    kube.must_apply(own("DatabaseReplica", "main", {"databases": [{"name": "shop"}]}), namespace)
    made = Database(kube, namespace, "main", "shop")
    made.wait_whole()
    return made


@pytest.fixture(scope="module")
def ledger(database: Database, client: ClientPod) -> Ledger:
    """What that database acknowledges to the client."""
    made = Ledger(client, database.uri)
    made.prepare()
    return made
