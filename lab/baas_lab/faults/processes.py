"""Signals to processes in containers, sent from their node: no cooperation of the container is needed."""

from __future__ import annotations

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError, LabError

CTR = "ctr --namespace k8s.io"
STOPPED = "/run/lab-stopped"  # process ids that got SIGSTOP; gone after a boot, as they are


def pod_kill(cluster: Cluster, namespace: str, pod: str, container: str, signal: str = "KILL", *, process: str = "") -> int:
    """Send a signal to a container's main process, from the node; returns the process id in the node.

    With `process`, it goes to the oldest process of that name (`postgres`) in the same container. Raises LabError
    when the pod has no such container, or that no such process.
    """
    found = cluster.get("pod", pod, "--namespace", namespace)
    node, uid = found["spec"].get("nodeName", ""), found["metadata"]["uid"]
    containers = [each["name"] for each in found["spec"]["containers"] + found["spec"].get("initContainers", [])]
    if not node or container not in containers:
        raise LabError(
            f"The pod {namespace}/{pod} has no container {container}, or runs on no node.", hint=f"Its containers: {', '.join(containers)}"
        )
    name = signal.upper().removeprefix("SIG")
    # The node knows best which of a container's lives is the present one. Several containers of a pod may share a
    # process namespace; the cgroup is the container's own.
    script = f"""
    ids=$({CTR} containers list -q 'labels."io.kubernetes.pod.uid"=={uid},labels."io.kubernetes.container.name"=={container}')
    pid=$({CTR} tasks list | grep RUNNING | grep -F "${{ids:-none}}" | awk '{{print $2; exit}}')
    [ -n "$pid" ] || {{ echo "its main process does not run" >&2; exit 1; }}
    if [ -n "{process}" ]; then
      found=
      for other in $(pgrep -x "{process}"); do
        if cmp -s /proc/$other/cgroup /proc/$pid/cgroup; then found=$other; break; fi
      done
      [ -n "$found" ] || {{ echo "no process {process} runs in it" >&2; exit 1; }}
      pid=$found
    fi
    kill -{name} $pid
    case {name} in
      STOP) echo $pid >> {STOPPED};;
      CONT) [ ! -e {STOPPED} ] || sed -i "/^$pid\\$/d" {STOPPED};;
    esac
    echo $pid
    """
    try:
        return int(cluster.docker.shell(node, script))
    except CommandError as error:
        raise LabError(f"No signal to {namespace}/{pod}, container {container}: {error.output}") from error


def sigstop(cluster: Cluster, namespace: str, pod: str, container: str, *, process: str = "") -> int:
    """Freeze a process (see `pod_kill`)."""
    return pod_kill(cluster, namespace, pod, container, "STOP", process=process)


def sigcont(cluster: Cluster, namespace: str, pod: str, container: str, *, process: str = "") -> int:
    """Let a frozen process go on."""
    return pod_kill(cluster, namespace, pod, container, "CONT", process=process)
