"""The faults that any system can meet: how each is brought about, and what takes it back. The lab's own faults do the work.

`inject` returns when the fault is there, or, of one that passes by itself, when it is over. What only a database or only a queue has stands
in the `faults.py` of those, with the table of all that is done to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from baas_lab import faults
from baas_lab.cluster import Cluster, Node
from tests.chaos.systems import Member, System

API_SERVER_AWAY_SECONDS = 120.0
DRAIN_SECONDS = 300.0
SETTLE_SECONDS = 6.0
"""A fault whose effect may begin a moment after it was brought about is watched for so long at least."""
PARTITION_SECONDS = 40.0
"""Twice the shortest ttl of Patroni's lock, and four elections of NATS: whatever a partition leads to has begun by then."""


@dataclass(frozen=True)
class Scene:
    """The system as it was before the fault."""

    lab: Cluster
    system: System[Any]
    leader: Member
    others: tuple[Member, ...]

    def kill(self, signal: str = "KILL", *, process: str = "") -> None:
        """Send a signal to the leader's container, or to a process in it."""
        faults.pod_kill(self.lab, self.system.namespace, self.leader.name, self.system.container, signal, process=process)


def _nothing(scene: Scene) -> None:
    """It passes by itself."""


def heal(scene: Scene) -> None:
    """Take back all that the lab has broken."""
    faults.heal(scene.lab)


@dataclass(frozen=True)
class Fault:
    """`seconds`: how long it lasts at least before it is taken back. `client_beside_other`: clients are on the node of a member that
    does not lead, because the fault concerns the control plane's, where they are otherwise."""

    name: str
    told: str
    inject: Callable[[Scene], None]
    heal: Callable[[Scene], None] = _nothing
    seconds: float = SETTLE_SECONDS
    client_beside_other: bool = False


def _move(scene: Scene) -> None:
    scene.system.move()


def _delete_pod(scene: Scene) -> None:
    scene.lab.kubectl("--namespace", scene.system.namespace, "delete", "pod", scene.leader.name, "--wait=false")


def _kill_container(scene: Scene) -> None:
    scene.kill()


def _power_off(scene: Scene) -> None:
    faults.kill(scene.lab, scene.leader.node)


def _freeze(scene: Scene) -> None:
    faults.pause(scene.lab, scene.leader.node)


def _unplug(scene: Scene) -> None:
    faults.unplug(scene.lab, scene.leader.node)


def _nodes(members: Iterable[Member]) -> list[str]:
    return [member.node for member in members]


def _from_others(scene: Scene) -> None:
    for node in _nodes(scene.others):
        faults.partition(scene.lab, scene.leader.node, node)


def _to_others(scene: Scene) -> None:
    for node in _nodes(scene.others):
        faults.partition(scene.lab, scene.leader.node, node, one_way=True)


def _of_others(scene: Scene) -> None:
    for node in _nodes(scene.others):
        faults.partition(scene.lab, node, scene.leader.node, one_way=True)


def _from_api_server(scene: Scene) -> None:
    faults.partition(scene.lab, scene.leader.node, scene.lab.control_plane)


def _stop_api_server(scene: Scene) -> None:
    faults.stop_apiserver(scene.lab)
    time.sleep(API_SERVER_AWAY_SECONDS)  # this is the fault, not a wait for something
    faults.start_apiserver(scene.lab)


def _drain(scene: Scene) -> None:
    words = ("drain", scene.leader.node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={DRAIN_SECONDS:.0f}s")
    scene.lab.kubectl(*words, timeout_seconds=DRAIN_SECONDS + 10)


def _uncordon(scene: Scene) -> None:
    scene.lab.kubectl("uncordon", scene.leader.node)


def _roll(scene: Scene) -> None:
    scene.system.roll()


def _workers(scene: Scene) -> list[str]:
    """The others' nodes first, as a person who knows who leads would restart them."""
    names = [node.name for node in scene.lab.workers()]
    return sorted(names, key=lambda name: name == scene.leader.node)


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


def table(*, leader: str, others: str, move: tuple[str, str], own: Iterable[Fault]) -> dict[str, Fault]:
    """All faults of a kind of system, by name. `leader` and `others` are what its members are called, `move` is the name of a planned
    move and how it is told, `own` what it alone can meet."""
    made = (
        Fault(move[0], move[1], _move),
        Fault("pod-delete", f"{leader}'s pod deleted", _delete_pod),
        *own,
        Fault("container-kill", f"{leader}'s container killed -9", _kill_container),
        Fault("power-off", f"{leader}'s node powered off", _power_off, heal),
        Fault("freeze", f"{leader}'s node frozen", _freeze, heal),
        Fault("unplug", f"{leader}'s node unplugged", _unplug, heal, PARTITION_SECONDS),
        Fault(f"partition-{others}", f"{leader} cut from the {others} alone", _from_others, heal, PARTITION_SECONDS),
        Fault(f"partition-to-{others}", f"{others} do not hear the {leader}", _to_others, heal, PARTITION_SECONDS),
        Fault(f"partition-of-{others}", f"the {leader} does not hear the {others}", _of_others, heal, PARTITION_SECONDS),
        Fault("partition-api", f"{leader} cut from the API server alone", _from_api_server, heal, PARTITION_SECONDS, True),
        Fault("api-server", "API server away for 2 min", _stop_api_server, heal),
        Fault("drain", f"{leader}'s node drained", _drain, _uncordon),
        Fault("roll", "rolling update", _roll),
        Fault("restart-in-turn", "every node restarted, one after another", _restart_in_turn, heal),
        Fault("restart-all", "all nodes restarted at once", _restart_all, heal),
        Fault("power-cut", "true power cut of all nodes", _cut_all, heal),
    )
    return {fault.name: fault for fault in made}


def take_back_everything(lab: Cluster) -> None:
    """Whatever a test that failed may have left: faults of the lab, and nodes that take no pods."""
    faults.heal(lab)
    workers: list[Node] = lab.workers()
    lab.kubectl("uncordon", *[node.name for node in workers])
