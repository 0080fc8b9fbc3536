"""The faults, each by its name: how it is brought about, and what takes it back. The lab's own faults do the work.

`inject` returns when the fault is there, or, of one that passes by itself, when it is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from baas_lab import faults
from baas_lab.cluster import Cluster, Node
from tests.chaos.systems import POSTGRES, Member, System

API_SERVER_AWAY_SECONDS = 120.0
DRAIN_SECONDS = 300.0
SETTLE_SECONDS = 6.0
"""A fault whose effect may begin a moment after it was brought about is watched for so long at least."""
PARTITION_SECONDS = 40.0
"""Twice the lock's shortest ttl: whatever a partition leads to has begun by then."""

# Where Patroni is process 1 it forks: its child is the Patroni that matters, with the same command line. (Where the pod's containers
# share their processes it does not.) The container ends with it, so the signal is sent when whoever asked for it has had its answer.
_KILL_PATRONI = """
import os, signal, time
lines, parents = {}, {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        lines[pid] = open(f"/proc/{pid}/cmdline", "rb").read()
        parents[pid] = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
    except OSError:
        continue
every = [pid for pid in lines if any(word.endswith(b"bin/patroni") for word in lines[pid].split(b"\\0")[:2])]
found = [pid for pid in every if parents.get(pid) in every] or every
assert len(found) == 1, f"these processes are Patroni: {found}"
if os.fork() == 0:
    for stream in range(3):
        os.close(stream)
    time.sleep(0.2)
    os.kill(int(found[0]), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Scene:
    """The system as it was before the fault."""

    lab: Cluster
    system: System
    primary: Member
    standbys: tuple[Member, ...]

    def nodes(self, members: tuple[Member, ...]) -> list[str]:
        return [member.node for member in members]


def _nothing(scene: Scene) -> None:
    """It passes by itself."""


def _heal(scene: Scene) -> None:
    faults.heal(scene.lab)


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long it lasts at least before it is taken back. `client_beside_standby`: clients are on a standby's node, because
    the fault concerns the control plane's, where they are otherwise."""

    name: str
    told: str
    inject: Callable[[Scene], None]
    heal: Callable[[Scene], None] = _nothing
    seconds: float = SETTLE_SECONDS
    client_beside_standby: bool = False


def _switchover(scene: Scene) -> None:
    scene.system.switchover()


def _delete_pod(scene: Scene) -> None:
    scene.lab.kubectl("--namespace", scene.system.namespace, "delete", "pod", scene.primary.name, "--wait=false")


def _kill_postgres(scene: Scene) -> None:
    faults.pod_kill(scene.lab, scene.system.namespace, scene.primary.name, POSTGRES, process="postgres")


def _kill_patroni(scene: Scene) -> None:
    words = ("exec", scene.primary.name, "--container", POSTGRES, "--", "python3", "-c", _KILL_PATRONI)
    scene.lab.kubectl("--namespace", scene.system.namespace, *words)


def _hang_patroni(scene: Scene) -> None:
    faults.pod_kill(scene.lab, scene.system.namespace, scene.primary.name, POSTGRES, "STOP", process="patroni")


def _kill_container(scene: Scene) -> None:
    faults.pod_kill(scene.lab, scene.system.namespace, scene.primary.name, POSTGRES)


def _power_off(scene: Scene) -> None:
    faults.kill(scene.lab, scene.primary.node)


def _freeze(scene: Scene) -> None:
    faults.pause(scene.lab, scene.primary.node)


def _unplug(scene: Scene) -> None:
    faults.unplug(scene.lab, scene.primary.node)


def _from_standbys(scene: Scene) -> None:
    for node in scene.nodes(scene.standbys):
        faults.partition(scene.lab, scene.primary.node, node)


def _to_standbys(scene: Scene) -> None:
    for node in scene.nodes(scene.standbys):
        faults.partition(scene.lab, scene.primary.node, node, one_way=True)


def _of_standbys(scene: Scene) -> None:
    for node in scene.nodes(scene.standbys):
        faults.partition(scene.lab, node, scene.primary.node, one_way=True)


def _from_api_server(scene: Scene) -> None:
    faults.partition(scene.lab, scene.primary.node, scene.lab.control_plane)


def _stop_api_server(scene: Scene) -> None:
    faults.stop_apiserver(scene.lab)
    time.sleep(API_SERVER_AWAY_SECONDS)  # this is the fault, not a wait for something
    faults.start_apiserver(scene.lab)


def _drain(scene: Scene) -> None:
    words = ("drain", scene.primary.node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={DRAIN_SECONDS:.0f}s")
    scene.lab.kubectl(*words, timeout_seconds=DRAIN_SECONDS + 10)


def _uncordon(scene: Scene) -> None:
    scene.lab.kubectl("uncordon", scene.primary.node)


def _roll(scene: Scene) -> None:
    scene.system.roll()


def _workers(scene: Scene) -> list[str]:
    """Standbys' nodes first, as a person who knows the primary would restart them."""
    names = [node.name for node in scene.lab.workers()]
    return sorted(names, key=lambda name: name == scene.primary.node)


def _restart_in_turn(scene: Scene) -> None:
    for node in _workers(scene):
        faults.kill(scene.lab, node)
        faults.start(scene.lab, node)
        scene.system.wait_whole()


def _restart_all(scene: Scene) -> None:
    faults.kill(scene.lab, *_workers(scene))
    faults.start(scene.lab, *_workers(scene))


def _cut_all(scene: Scene) -> None:
    faults.power_cut(scene.lab, *_workers(scene))


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("switchover", "planned switchover", _switchover),
        Fault("pod-delete", "primary's pod deleted", _delete_pod),
        Fault("postgres-kill", "postgres killed -9", _kill_postgres),
        Fault("patroni-kill", "Patroni killed -9", _kill_patroni),
        Fault("patroni-hang", "Patroni hangs, PostgreSQL goes on", _hang_patroni, _heal, PARTITION_SECONDS),
        Fault("container-kill", "primary's container killed -9", _kill_container),
        Fault("power-off", "primary's node powered off", _power_off, _heal),
        Fault("freeze", "primary's node frozen", _freeze, _heal),
        Fault("unplug", "primary's node unplugged", _unplug, _heal, PARTITION_SECONDS),
        Fault("partition-standbys", "primary cut from the standbys alone", _from_standbys, _heal, PARTITION_SECONDS),
        Fault("partition-to-standbys", "standbys do not hear the primary", _to_standbys, _heal, PARTITION_SECONDS),
        Fault("partition-of-standbys", "the primary does not hear the standbys", _of_standbys, _heal, PARTITION_SECONDS),
        Fault("partition-api", "primary cut from the API server alone", _from_api_server, _heal, PARTITION_SECONDS, True),
        Fault("api-server", "API server away for 2 min", _stop_api_server, _heal),
        Fault("drain", "primary's node drained", _drain, _uncordon),
        Fault("roll", "rolling update", _roll),
        Fault("restart-in-turn", "every node restarted, one after another", _restart_in_turn, _heal),
        Fault("restart-all", "all nodes restarted at once", _restart_all, _heal),
        Fault("power-cut", "true power cut of all nodes", _cut_all, _heal),
    )
}


def take_back_everything(lab: Cluster) -> None:
    """Whatever a test that failed may have left: faults of the lab, and nodes that take no pods."""
    faults.heal(lab)
    workers: list[Node] = lab.workers()
    lab.kubectl("uncordon", *[node.name for node in workers])
