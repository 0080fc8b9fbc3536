"""The API server, stopped and started."""

from __future__ import annotations

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError
from baas_lab.faults.processes import CTR
from baas_lab.waiting import wait_until

API_SERVER_SECONDS = 120.0
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
MANIFEST_ASIDE = "/etc/kubernetes/kube-apiserver.yaml.stopped"


def stop_apiserver(cluster: Cluster) -> None:
    """Stop the API server at once, by taking its manifest away; returns when its pod has ended."""
    # Without the kill it would drain its connections for half a minute. The kubelet ends the pod's sandbox last.
    script = f"""
    [ ! -e {MANIFEST} ] || mv {MANIFEST} {MANIFEST_ASIDE}
    pkill -KILL -x kube-apiserver || true
    ids=$({CTR} containers list -q 'labels."io.kubernetes.pod.name"==kube-apiserver-{cluster.control_plane}')
    ! {CTR} tasks list | grep RUNNING | grep -qF "${{ids:-none}}"
    """

    def ended() -> bool:
        return cluster.docker.succeeds("exec", cluster.control_plane, "sh", "-euc", script)

    wait_until(ended, timeout_seconds=API_SERVER_SECONDS, what="the API server has ended")


def start_apiserver(cluster: Cluster) -> None:
    """Put the manifest back; returns when the API server is ready."""
    cluster.docker.shell(cluster.control_plane, f"[ ! -e {MANIFEST_ASIDE} ] || mv {MANIFEST_ASIDE} {MANIFEST}")

    def answers() -> bool:
        try:
            cluster.kubectl("get", "--raw", "/readyz", timeout_seconds=5)
        except CommandError:
            return False
        return True

    wait_until(answers, timeout_seconds=API_SERVER_SECONDS, what="the API server is ready")
