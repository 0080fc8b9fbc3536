"""What is done to a backend while clients call it, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from baas_lab import faults
from baas_lab.errors import LabError
from baas_lab.waiting import wait_until
from baas_operator.desired.secrets import OVERLAP_ANNOTATION
from tests.chaos.instance.backend import POLL_SECONDS, RATE, Loading, OursBackend, patch
from tests.chaos.instance.load import READS, WRITES, Load, away, failures, failures_after, slowest, worst_minute
from tests.harness.manifests import own

AFTER_SECONDS = 70.0
"""So long a zone stays away: longer than Kubernetes takes to say so."""
BACK = "taken back"
"""The mark of the moment in which what was done is taken back."""
ROLLED_SECONDS = 400.0
GONE_SECONDS = 120.0
TOLD_SECONDS = 2.0
"""So long the status may say what was."""
ROTATED_SECONDS = 900.0


@dataclass(frozen=True)
class Result:
    """Requests; those whose first attempt failed, of all and of the worst minute, and those that failed for good; seconds without reads and
    writes, seconds that 95 % were answered within, acknowledged rows that are not there, answers that came from standbys, and what went
    wrong."""

    scene: str
    requests: int
    failed: int
    failed_for_good: int
    minute_failed: int
    minute_requests: int
    reads_away: float
    writes_away: float
    p95_seconds: float
    lost: int
    acknowledged: int
    degraded: int
    skipped: int
    errors: list[tuple[str, int]] = field(default_factory=list)
    after: list[tuple[str, int, int, float]] = field(default_factory=list)
    """As `load.failures_after`."""
    rate: int = RATE
    """Requests a second that were due."""

    @property
    def minute_percent(self) -> float:
        """Failed of the worst minute, in percent."""
        return 100 * self.minute_failed / max(self.minute_requests, 1)

    def told(self) -> str:
        """One line, for people."""
        return (
            f"{self.failed} of {self.requests} failed at first ({self.failed_for_good} for good), {self.minute_percent:.2f} % of a minute, "
            f"reads away {self.reads_away:.2f} s, writes {self.writes_away:.2f} s, p95 {1000 * self.p95_seconds:.0f} ms, "
            f"{self.lost} of {self.acknowledged} lost, {self.degraded} from standbys"
        )


def judge(scene: str, load: Load, lost: set[int], began: float, marks: Sequence[tuple[float, str]] = (), rate: int = RATE) -> Result:
    """What came of a run in which something began at `began`."""
    after = [each for each in load.requests if each.began >= began]
    starts = sorted({began, *(each.began for each in after if not each.good)})
    failed, all_of_minute = max((worst_minute(after, start) for start in starts), key=lambda pair: pair[0] / max(pair[1], 1))
    return Result(
        scene=scene, requests=len(after), failed=sum(not each.good for each in after),
        failed_for_good=sum(not each.done for each in after), minute_failed=failed,
        minute_requests=all_of_minute, reads_away=away(load, READS, began, load.ended), writes_away=away(load, WRITES, began, load.ended),
        p95_seconds=slowest(after, 95), lost=len(lost), acknowledged=len(load.acknowledged()),
        degraded=sum(each.degraded for each in after), skipped=load.skipped, errors=failures(after),
        after=failures_after(after, marks, load.ended), rate=rate,
    )  # fmt: skip


def nothing(_backend: OursBackend, _loading: Loading) -> None:
    """An undisturbed minute."""
    time.sleep(60)


def each_pod(backend: OursBackend, loading: Loading) -> None:
    """Delete each pod in turn; the next one goes when that one is gone, which takes a primary a while, and the backend is whole again."""
    for name in backend.all_pods():
        leads = name == (backend.get("databasereplicas", f"{backend.name}-db").get("status") or {}).get("primary")
        loading.mark(f"{name}, the primary" if leads else name)
        backend.lab.kubectl(
            "--namespace", backend.namespace, "delete", "pod", name, "--ignore-not-found", "--timeout", f"{GONE_SECONDS:.0f}s",
            timeout_seconds=GONE_SECONDS + 10,
        )  # fmt: skip
        time.sleep(TOLD_SECONDS)
        backend.wait_whole()


def zone_away(backend: OursBackend, loading: Loading) -> None:
    """The zone that the database's primary is in loses power, and comes back."""
    node = backend.leader().node
    loading.mark(f"{node} loses power")
    with ExitStack() as stack:
        try:
            faults.kill(backend.lab, node)
            time.sleep(AFTER_SECONDS)
        finally:
            loading.mark(BACK)
            stack.enter_context(faults.aside(backend.lab, node))
            faults.heal(backend.lab)
        backend.wait_whole()
    loading.wait_steady(since=time.monotonic())


def roll(backend: OursBackend, _loading: Loading) -> None:
    """Every component's pods are made anew, as by a change of their images."""
    names = [each["metadata"]["name"] for each in _deployments(backend)]
    spec = backend.get("baasinstances", backend.name)["spec"]["components"]
    for name in names:
        component = name.removeprefix(f"{backend.name}-")
        before = ((spec.get(component) or {}).get("resources") or {}).get("requests", {}).get("memory")
        wanted = "72Mi" if before != "72Mi" else "80Mi"
        patch(
            backend, "baasinstances", backend.name, {"spec": {"components": {component: {"resources": {"requests": {"memory": wanted}}}}}}
        )
    time.sleep(5)
    wait_until(lambda: rolled(backend), timeout_seconds=ROLLED_SECONDS, what="all components are rolled", poll_seconds=POLL_SECONDS)
    backend.wait_whole()


def rotate(backend: OursBackend, _loading: Loading) -> None:
    """Another key signs; clients go on with what they have. Over once everybody who signs uses it."""
    _operate(backend, "rotate-keys")


def rotate_passwords(backend: OursBackend, _loading: Loading) -> None:
    """Those who use the database log in with other names and passwords, and those of before are taken away without waiting for a day."""
    _operate(backend, "rotate-passwords")
    selector = f"baas-operator.io/kind=BaasInstance,baas-operator.io/name={backend.name}"

    def two_logins() -> list[str]:
        found = backend.get("secrets", "--selector", selector)["items"]
        return [each["metadata"]["name"] for each in found if "-role-" in each["metadata"]["name"] and "previous" in each["data"]]

    for name in two_logins():
        patch(backend, "secrets", name, {"metadata": {"annotations": {OVERLAP_ANNOTATION: "2020-01-01T00:00:00Z"}}})
    wait_until(
        lambda: not two_logins(), timeout_seconds=ROLLED_SECONDS, what="the passwords of before are taken away", poll_seconds=POLL_SECONDS
    )
    backend.wait_whole()


def _operate(backend: OursBackend, action: str) -> None:
    operation = own("Operation", f"{action}-{int(time.time())}", {
        "action": action, "target": {"kind": "BaasInstance", "name": backend.name}, "timeoutSeconds": 1200,
    })  # fmt: skip
    backend.apply([operation])
    name = operation["metadata"]["name"]

    def over() -> bool:
        return str((backend.get("operations", name).get("status") or {}).get("phase")) in ("Succeeded", "Failed", "Refused")

    wait_until(over, timeout_seconds=ROTATED_SECONDS, what=f"Operation {name} is over", poll_seconds=POLL_SECONDS)
    phase = backend.get("operations", name)["status"]["phase"]
    if phase != "Succeeded":
        raise LabError(f"Operation {name} ended as {phase}.")
    wait_until(lambda: rolled(backend), timeout_seconds=ROLLED_SECONDS, what="all use what is new", poll_seconds=POLL_SECONDS)
    backend.wait_whole()


def rolled(backend: OursBackend) -> bool:
    """Whether all Deployments have the pods of their last template alone."""
    return all(
        (status := each.get("status") or {}).get("observedGeneration", 0) >= each["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == status.get("availableReplicas", 0)
        for each in _deployments(backend)
    )


def _deployments(backend: OursBackend) -> list[dict[str, dict[str, str]]]:
    selector = f"baas-operator.io/kind=BaasInstance,baas-operator.io/name={backend.name}"
    found: list[dict[str, dict[str, str]]] = backend.get("deployments", "--selector", selector)["items"]
    return [each for each in found if "-worker-" not in each["metadata"]["name"]]


SCENES: dict[str, tuple[str, Callable[[OursBackend, Loading], None]]] = {
    "nothing": ("a minute undisturbed", nothing),
    "each-pod": ("each pod deleted in turn", each_pod),
    "zone-away": ("the primary's zone powered off for 70 s", zone_away),
    "roll": ("all components rolled", roll),
    "rotation": ("signing keys rotated", rotate),
    "passwords": ("database passwords rotated", rotate_passwords),
}


def play(backend: OursBackend, name: str, *, in_zone: bool = True, rate: int = RATE) -> Result:
    """Have clients call it while that is done. Raises LabError, IncompleteLogError."""
    backend.wait_whole()
    with backend.loaded(backend.client_node(in_zone=in_zone), rate=rate) as loading:
        began = time.monotonic()
        SCENES[name][1](backend, loading)
        loading.wait_steady(since=time.monotonic())
        load = loading.load()
    return judge(name, load, loading.lost(load), began, loading.marks, rate)
