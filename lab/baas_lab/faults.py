"""What can go wrong on purpose. Each fault is one function, most have one that takes it back, `heal` takes all back.

Nodes are named as in `Cluster.node`: in full, short (`worker2`), or by their zone. Nothing here needs the Kubernetes API
except where a pod is named.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from baas_lab.cluster import Cluster, Node, is_ready
from baas_lab.errors import CommandError, LabError
from baas_lab.waiting import wait_until

START_SECONDS = 180.0
API_SERVER_SECONDS = 120.0
UNMOUNT_SECONDS = 30.0

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
MANIFEST_ASIDE = "/etc/kubernetes/kube-apiserver.yaml.stopped"
ROUTES_ASIDE = "/run/lab-routes"  # exists while a node is unplugged; /run is empty after a boot, as it must be
FILLS = "/etc/lab/fills"  # paths of files that `fill` made
STOPPED = "/run/lab-stopped"  # process ids that got SIGSTOP
CHAIN = "LAB-FAULTS"
CTR = "ctr --namespace k8s.io"


# power


def kill(cluster: Cluster, *nodes: str) -> None:
    """Power off: every process in the nodes ends at once. What was written stays (see `power_cut`)."""
    cluster.docker.run("kill", *[cluster.node(node).name for node in nodes])


def start(cluster: Cluster, *nodes: str, wait: bool = True) -> None:
    """Power on. With `wait`, returns when each node's new kubelet has reported Ready. Raises LabError."""
    names = [cluster.node(node).name for node in nodes]
    for name in names:
        cluster.volume(name).mount()
    cluster.docker.run("start", *names)
    if wait:
        for name in names:
            wait_booted(cluster, name)


def wait_booted(cluster: Cluster, node: str) -> None:
    """Wait until the node is Ready *since its last start*.

    Its Node object says Ready for a while after the node died. A node gets a new machine id whenever it starts, and
    its kubelet reports that together with its state.
    """

    def reported() -> bool:
        try:
            machine_id = cluster.docker.exec(node, "cat", "/etc/machine-id").strip()
            found = cluster.get("node", node)
        except CommandError:
            return False
        return is_ready(found) and found["status"]["nodeInfo"]["machineID"] == machine_id

    wait_until(reported, timeout_seconds=START_SECONDS, what=f"the node {node} is Ready after its start", poll_seconds=1)


def power_cut(cluster: Cluster, *nodes: str, restart: bool = True, wait: bool = True) -> None:
    """Cut the power of the nodes at one moment: what was not synced to their volumes is gone for good.

    With `restart` they are started again (and waited for, with `wait`). Raises LabError when a node's volumes have no
    file system of their own; nothing was done then.
    """
    names = [cluster.node(node).name for node in nodes]
    found = [cluster.volume(name) for name in names]
    for volume in found:
        volume.require_own_file_system()
    for volume in found:
        volume.cut_power()
    cluster.docker.run("kill", *names)
    for volume in found:
        wait_until(volume.try_unmount, timeout_seconds=UNMOUNT_SECONDS, what=f"{volume.path} is unmounted")
        volume.mount()
    if restart:
        start(cluster, *names, wait=wait)


def zone_off(cluster: Cluster, zone: str) -> None:
    """Power off all nodes of a zone."""
    kill(cluster, *[node.name for node in cluster.in_zone(zone)])


def zone_on(cluster: Cluster, zone: str, *, wait: bool = True) -> None:
    """Power on all nodes of a zone."""
    start(cluster, *[node.name for node in cluster.in_zone(zone)], wait=wait)


# frozen


def pause(cluster: Cluster, node: str) -> None:
    """Freeze all processes of a node. Its kernel still acknowledges TCP: peers see silence, not an error."""
    cluster.docker.run("pause", cluster.node(node).name)


def unpause(cluster: Cluster, node: str) -> None:
    cluster.docker.run("unpause", cluster.node(node).name)


# network


def unplug(cluster: Cluster, node: str) -> None:
    """Pull the node's network cable. Its pods still reach each other."""
    name = cluster.node(node).name
    script = f"[ -e {ROUTES_ASIDE} ] || ip -4 route show dev eth0 > {ROUTES_ASIDE}; ip link set eth0 down"
    cluster.docker.shell(name, script)


def plug(cluster: Cluster, node: str) -> None:
    """Put the cable back. The kernel forgot the routes when the link went down; those without a gateway come first."""
    name = cluster.node(node).name
    script = f"""
    ip link set eth0 up
    [ -e {ROUTES_ASIDE} ] || exit 0
    for kind in -v ''; do
      grep $kind ' via ' {ROUTES_ASIDE} | while read -r route; do ip route replace $route dev eth0; done
    done
    rm {ROUTES_ASIDE}
    """
    cluster.docker.shell(name, script)


def partition(cluster: Cluster, a: str, b: str, *, one_way: bool = False, loss: float = 1.0) -> None:
    """Drop all traffic between two nodes, and between their pods. `heal_network` takes it back.

    With `one_way`, only what `a` sends to `b` is dropped. `loss` is the share of packets that is, more than 0, at most 1.
    """
    if not 0 < loss <= 1:
        raise LabError(f"A loss of {loss} makes no sense: it is a share, more than 0 and at most 1.")
    first, second = cluster.node(a), cluster.node(b)
    if first.name == second.name:
        raise LabError(f"A partition takes two nodes; {a} and {b} are the same.")
    _drop(cluster, sender=first, receiver=second, loss=loss)
    if not one_way:
        _drop(cluster, sender=second, receiver=first, loss=loss)


def isolate(cluster: Cluster, node: str) -> None:
    """Drop all traffic between a node and every other node, on this node alone; unlike `unplug`, its address stays up."""
    target = cluster.node(node)
    others = [other for other in cluster.nodes() if other.name != target.name]
    rules = [["-s", source] for other in others for source in _sources(cluster, other)]
    rules += [["-d", source] for other in others for source in _sources(cluster, other)]
    _refuse(cluster, target, rules)


def heal_network(cluster: Cluster, node: str) -> None:
    """Let everything into the node, and out of it, again."""
    cluster.docker.shell(cluster.node(node).name, f"iptables -w -F {CHAIN} 2>/dev/null || true")


def _drop(cluster: Cluster, *, sender: Node, receiver: Node, loss: float) -> None:
    """Refuse the sender's packets where they arrive, those for the node as well as those for its pods."""
    chance = [] if loss == 1 else ["-m", "statistic", "--mode", "random", "--probability", str(loss)]
    _refuse(cluster, receiver, [["-s", source, *chance] for source in _sources(cluster, sender)])


def _sources(cluster: Cluster, node: Node) -> tuple[str, str]:
    """The node's own address, and those of its pods."""
    return node.address, cluster.facts["pod_ranges"][node.name]


def _refuse(cluster: Cluster, node: Node, matches: list[list[str]]) -> None:
    """Have the node drop what matches; the chain is passed before any rule of Kubernetes."""
    script = [f"iptables -w -N {CHAIN} 2>/dev/null || true"]
    for builtin in ("INPUT", "FORWARD", "OUTPUT"):
        script.append(f"iptables -w -C {builtin} -j {CHAIN} 2>/dev/null || iptables -w -I {builtin} -j {CHAIN}")
    script += [" ".join(["iptables", "-w", "-A", CHAIN, *match, "-j", "DROP"]) for match in matches]
    cluster.docker.shell(node.name, "\n".join(script))


# the API server


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


# processes


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


# storage


def fill(cluster: Cluster, node: str, path: str, size: str) -> None:
    """Take space in a folder of a node: `size` as `fallocate` reads it (`512MiB`), or `all` that is left."""
    name = cluster.node(node).name
    script = f"""
    size={size}
    [ "$size" != all ] || size=$(df --output=avail -B1 '{path}' | tail -1 | tr -d ' ')
    mkdir -p /etc/lab; echo '{path}/.lab-fill' >> {FILLS}
    [ "$size" != 0 ] || exit 0
    fallocate -o $(stat -c %s '{path}/.lab-fill' 2>/dev/null || echo 0) -l $size '{path}/.lab-fill'
    """
    cluster.docker.shell(name, script)


def unfill(cluster: Cluster, node: str) -> None:
    """Give back all space that `fill` took on the node, for good: not even a power cut brings the files back."""
    script = f'[ ! -e {FILLS} ] || {{ while read -r file; do rm -f "$file"; sync -f "${{file%/*}}"; done < {FILLS}; rm {FILLS}; }}'
    cluster.docker.shell(cluster.node(node).name, script)


# all of it


def heal(cluster: Cluster, *, wait: bool = True) -> None:
    """Take back every fault, whatever was done. With `wait`, returns when all nodes that were off are Ready."""
    nodes = cluster.nodes()
    for node in nodes:
        if node.state == "paused":
            unpause(cluster, node.name)
    off = [node.name for node in nodes if node.state not in ("running", "paused")]
    if off:
        start(cluster, *off, wait=False)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: _heal_running(cluster, node.name), nodes))
    start_apiserver(cluster)
    if wait:
        for name in off:
            wait_booted(cluster, name)


def _heal_running(cluster: Cluster, node: str) -> None:
    plug(cluster, node)
    heal_network(cluster, node)
    unfill(cluster, node)
    script = f"[ ! -e {STOPPED} ] || {{ while read -r pid; do kill -CONT $pid || true; done < {STOPPED}; rm {STOPPED}; }}"
    cluster.docker.shell(node, script)


def affected(cluster: Cluster, node: Node) -> list[str]:
    """What is wrong on purpose with a node right now, in words, for `lab status`."""
    if node.state == "paused":
        return ["frozen"]
    if node.state != "running":
        return ["off"]
    script = f"""
    [ ! -e {ROUTES_ASIDE} ] || echo unplugged
    iptables -w -S {CHAIN} 2>/dev/null | grep -q -- -j && echo partitioned
    [ ! -e {FILLS} ] || echo filled
    [ ! -s {STOPPED} ] || echo 'process stopped'
    [ ! -e {MANIFEST_ASIDE} ] || echo 'API server stopped'
    true
    """
    return cluster.docker.shell(node.name, script).splitlines()
