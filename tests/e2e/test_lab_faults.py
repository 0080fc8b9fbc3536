"""The lab itself: a node that lost its power comes back by itself, and what was not synced stays lost.

Every other end-to-end test stands on these two. They use pods of a plain Debian image and nothing of the operator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from baas_lab import bases, faults, images
from baas_lab.cache import Cache
from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError
from baas_lab.progress import Progress
from baas_lab.waiting import wait_until

pytestmark = pytest.mark.e2e

NAMESPACE = "lab-faults"
PORT = 8080
GREETER = (
    f"use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => {PORT}, Listen => 9, ReuseAddr => 1) or die;"
    'while (my $c = $s->accept) { print $c "hello from $ENV{NODE}\\n"; close $c }'
)
START_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster(lab: Cluster) -> Cluster:
    return lab


@pytest.fixture(scope="module")
def greeters(cluster: Cluster) -> Iterator[None]:
    """A pod on each worker that says hello, with a volume of its own."""
    image = bases.ensure(cluster.docker, Cache(), Progress(), "bookworm")
    images.load(cluster, [image])
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for node in cluster.workers():
        objects += _greeter(image, node.name)
    cluster.kubectl("apply", "--filename", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    cluster.kubectl(
        "--namespace", NAMESPACE, "wait", "--for=condition=Ready", "pods", "--all", f"--timeout={START_SECONDS:.0f}s", timeout_seconds=130
    )
    yield
    cluster.kubectl("delete", "namespace", NAMESPACE, timeout_seconds=120)


def _greeter(image: str, node: str) -> list[dict[str, object]]:
    metadata = {"name": node, "namespace": NAMESPACE}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    container = {
        "name": "greeter",
        "image": image,
        "command": ["perl", "-e", GREETER],
        "env": [{"name": "NODE", "value": node}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": node}}],
    }
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
    ]


def _shell(cluster: Cluster, pod: str, script: str) -> str:
    return cluster.kubectl("--namespace", NAMESPACE, "exec", pod, "--", "bash", "-euc", script, timeout_seconds=20)


def _reaches(cluster: Cluster, source: str, target: str) -> bool:
    """Whether the pod on `source` gets an answer from the pod on `target`, at the address that it has now."""
    try:
        address = cluster.get("pod", target, "--namespace", NAMESPACE)["status"].get("podIP", "")
        said = _shell(cluster, source, f"timeout 3 bash -c 'cat < /dev/tcp/{address}/{PORT}'")
    except CommandError:
        return False
    return said.strip() == f"hello from {target}"


def _all_reach_all(cluster: Cluster) -> bool:
    names = [node.name for node in cluster.workers()]
    return all(_reaches(cluster, source, target) for source in names for target in names)


@pytest.mark.usefixtures("greeters")
def test_a_node_that_was_killed_and_started_is_part_of_the_pod_network_again(cluster: Cluster) -> None:
    victim = cluster.workers()[1].name
    assert _all_reach_all(cluster)

    faults.kill(cluster, victim)
    assert cluster.node(victim).state == "exited"
    assert not _reaches(cluster, cluster.workers()[0].name, victim)

    faults.start(cluster, victim)
    wait_until(lambda: _all_reach_all(cluster), timeout_seconds=START_SECONDS, what="pods on all nodes reach each other")


@pytest.mark.usefixtures("greeters")
def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(cluster: Cluster) -> None:
    victim = cluster.workers()[0].name
    _shell(cluster, victim, "echo kept > /data/kept; sync /data/kept /data; echo lost > /data/lost")

    faults.power_cut(cluster, victim)

    def back() -> bool:
        try:
            return _shell(cluster, victim, "cat /data/kept").strip() == "kept"
        except CommandError:
            return False

    wait_until(back, timeout_seconds=START_SECONDS, what="the pod is back, with what it synced")
    # The name may have reached the journal; the content can not.
    assert _shell(cluster, victim, "cat /data/lost 2>/dev/null || true").strip() == ""


@pytest.mark.usefixtures("greeters")
def test_a_one_way_partition_drops_one_direction_until_it_is_healed(cluster: Cluster) -> None:
    first, second, third = (node.name for node in cluster.workers())
    faults.partition(cluster, first, second, one_way=True)
    try:
        # A connection takes packets both ways, so neither side gets an answer; the third node is not concerned.
        assert not _reaches(cluster, first, second)
        assert _reaches(cluster, first, third)
        assert _reaches(cluster, third, second)
    finally:
        faults.heal(cluster)
    assert _all_reach_all(cluster)


@pytest.mark.usefixtures("greeters")
def test_an_unplugged_node_gets_its_routes_back(cluster: Cluster) -> None:
    first, second, _ = (node.name for node in cluster.workers())
    faults.unplug(cluster, second)
    try:
        assert not _reaches(cluster, first, second)
    finally:
        faults.plug(cluster, second)
    wait_until(lambda: _all_reach_all(cluster), timeout_seconds=START_SECONDS, what="pods on all nodes reach each other")
