"""All that is done to a queue. Who leads the ledger's stream takes its writes, as a primary does."""

from __future__ import annotations

from baas_lab import faults
from baas_lab.waiting import wait_until
from baas_operator.observe.vitals import OUT_OF_SERVICE
from baas_operator.policy.queue.repair import PATIENCE_SECONDS
from tests.chaos.faults import PARTITION_SECONDS, Fault, Scene, heal, table

REPLACED_SECONDS = PATIENCE_SECONDS + 180.0


def _kill_server(scene: Scene) -> None:
    scene.kill(process="nats-server")


def _hang_server(scene: Scene) -> None:
    scene.kill("STOP", process="nats-server")


def _lose_volume(scene: Scene) -> None:
    """The node is said to be out of service for good (Kubernetes documentation, "Non-graceful node shutdown"). Its zone has no other, so
    the server waits for this one, with an empty volume as of a new disk."""
    before = _claim(scene)
    faults.kill(scene.lab, scene.leader.node)
    scene.lab.kubectl("taint", "node", scene.leader.node, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute")
    wait_until(
        lambda: _claim(scene) not in ("", before),
        timeout_seconds=REPLACED_SECONDS, what=f"{scene.leader.name} has another volume", poll_seconds=2,
    )  # fmt: skip


def _claim(scene: Scene) -> str:
    """UID of the claim of who led; empty while there is none."""
    words = ("persistentvolumeclaim", f"data-{scene.leader.name}", "--ignore-not-found", "--output", "jsonpath={.metadata.uid}")
    return scene.lab.kubectl("--namespace", scene.system.namespace, "get", *words).strip()


def _new_node(scene: Scene) -> None:
    heal(scene)
    scene.lab.kubectl("taint", "node", scene.leader.node, f"{OUT_OF_SERVICE}-")


FAULTS: dict[str, Fault] = table(
    leader="leader",
    others="followers",
    move=("stepdown", "planned move of the stream's leader"),
    own=(
        Fault("nats-kill", "nats-server killed -9", _kill_server),
        Fault("nats-hang", "nats-server hangs", _hang_server, heal, PARTITION_SECONDS),
        Fault("volume-lost", "leader's node gone for good, with its volume", _lose_volume, _new_node),
    ),
)
