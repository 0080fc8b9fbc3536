"""What the cluster's objects say about a backend's workers and jobs.

What a program itself says is not repeated: its log, and its last words, are the user's, and may hold what is nobody's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from baas_operator.api.instance.status import ProgramStatus
from baas_operator.api.kinds import DEPLOYMENT, JOB, POD
from baas_operator.desired.instance.programs import SCALED_ANNOTATION
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import is_true
from baas_operator.observe.instance import observe_component
from baas_operator.observe.moments import read_time, to_text
from baas_operator.observe.view import View, is_ready, trouble

START_SECONDS = 60.0
"""A worker may take so long to have a pod that runs, before that is a fault."""
_ENDS = 3
_RECENT_SECONDS = 600.0
"""A container that has ended so often, and the last time so lately, works no better for running at this moment: the kubelet waits 5 minutes
at the most before it is started again (Kubernetes documentation, "Pod Lifecycle")."""


@dataclass(frozen=True)
class Seen:
    """How a program is doing. `failing`, `rolling`: sentences, if it is."""

    wanted: int | None = None
    ready: int | None = None
    failing: str | None = None
    rolling: str | None = None


def observe_worker(view: View, name: str, component: str) -> Seen:
    """A worker's Deployment and pods."""
    deployment = view.child(DEPLOYMENT, f"{view.owner.name}-{component}")
    found = observe_component(view, component)
    if deployment is None or found is None:
        return Seen()
    failing = next((why for pod in view.all(POD, component) if (why := _failing(pod, view.now))), None)
    if failing is None and found.ready == 0 < found.replicas and not _starting(view, deployment, component):
        failing = "none of its pods runs"
    return Seen(
        wanted=found.replicas,
        ready=found.ready,
        failing=f"Worker {name}: {failing}." if failing else None,
        rolling=f"Worker {name} is being rolled out." if _rolling(deployment) else None,
    )


def _rolling(deployment: Manifest) -> bool:
    """Whether there are pods of an older revision; that more or fewer are wanted than there are is no roll-out."""
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return not seen or status.get("updatedReplicas", 0) < status.get("replicas", 0)


def _starting(view: View, deployment: Manifest, component: str) -> bool:
    metadata = deployment["metadata"]
    texts = [metadata.get("creationTimestamp"), (metadata.get("annotations") or {}).get(SCALED_ANNOTATION)]
    texts += [pod["metadata"].get("creationTimestamp") for pod in view.all(POD, component)]
    return any((view.now - moment).total_seconds() < START_SECONDS for text in texts if (moment := read_time(text)))


def _failing(pod: Manifest, now: datetime) -> str | None:
    if not is_ready(pod) and (why := trouble(pod)):
        return why
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        ended = (each.get("lastState") or {}).get("terminated") or {}
        last = read_time(ended.get("finishedAt"))
        if each.get("restartCount", 0) >= _ENDS and last and (now - last).total_seconds() < _RECENT_SECONDS:
            return f"it has ended {each['restartCount']} times, last with {_how(ended)}"
    return None


def _how(ended: dict[str, Any]) -> str:
    reason = ended.get("reason")
    return f"exit code {ended.get('exitCode')}" + (f" ({reason})" if reason not in (None, "Error", "Completed") else "")


def observe_job(view: View, name: str, component: str, there: Manifest | None) -> tuple[Seen, ProgramStatus]:
    """A CronJob's runs; one that somebody started from it by hand is one, too. Failing is a job whose last run that is over failed."""
    runs = sorted(view.all(JOB, component), key=_began)
    over = [each for each in runs if is_true(each, "Complete") or is_true(each, "Failed")]
    failed = over[-1] if over and is_true(over[-1], "Failed") else None
    succeeded = [read_time((each.get("status") or {}).get("completionTime")) for each in runs if is_true(each, "Complete")]
    succeeded.append(read_time(((there or {}).get("status") or {}).get("lastSuccessfulTime")))
    last = max(filter(None, succeeded), default=None)
    status = ProgramStatus(
        name=name, kind="Job",
        last_run_at=_began(runs[-1]) if runs else None,
        last_run=_state(runs[-1]) if runs else None,
        last_success_at=to_text(last) if last else None,
    )  # fmt: skip
    return Seen(failing=_why_failed(view, name, component, failed) if failed else None), status


def _began(run: Manifest) -> str:
    return str((run.get("status") or {}).get("startTime") or run["metadata"].get("creationTimestamp") or "")


def _state(run: Manifest) -> str:
    return "Succeeded" if is_true(run, "Complete") else "Failed" if is_true(run, "Failed") else "Running"


def _why_failed(view: View, name: str, component: str, run: Manifest) -> str:
    why = next((str(each.get("reason") or "") for each in run["status"]["conditions"] if each["type"] == "Failed"), "")
    said = {
        "BackoffLimitExceeded": "it was tried as often as `retries` says",
        "DeadlineExceeded": "it was not over after `timeoutSeconds`",
    }.get(why, why or "it gave up")
    run_name = run["metadata"]["name"]
    ended = [_how(each) for each in _ends(view, component, run_name)]
    return (
        f"Job {name} failed at its run of {_began(run)}: {said}{f', last with {ended[-1]}' if ended else ''}. "
        f"`kubectl logs job/{run_name}` has what it said, while its pods are there."
    )


def _ends(view: View, component: str, run: str) -> Iterator[dict[str, Any]]:
    for pod in sorted(view.all(POD, component), key=lambda pod: str(pod["metadata"].get("creationTimestamp") or "")):
        if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == run:
            for each in (pod.get("status") or {}).get("containerStatuses") or []:
                if ended := (each.get("state") or {}).get("terminated"):
                    yield ended
