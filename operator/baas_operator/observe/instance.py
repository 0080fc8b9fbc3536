"""What the cluster's objects say about a backend's components."""

from __future__ import annotations

import json

from baas_operator.api.instance.status import ComponentStatus
from baas_operator.api.kinds import DEPLOYMENT, JOB, POD
from baas_operator.desired.meta import Manifest
from baas_operator.desired.sql_job import REFUSED_CODE
from baas_operator.observe.text import are, counted, shorten
from baas_operator.observe.view import View, is_ready, trouble

_MAX_WORDS = 200
"""Characters of what a program said last: the cause comes first."""
_JOB_LABEL = "batch.kubernetes.io/job-name"


def observe_component(view: View, name: str) -> ComponentStatus | None:
    """A component's Deployment and pods, or None if it is not there yet."""
    deployment = view.child(DEPLOYMENT, f"{view.owner.name}-{name}")
    if deployment is None:
        return None
    pods = list(view.all(POD, name))
    ready = [pod for pod in pods if is_ready(pod)]
    wanted = int(deployment["spec"].get("replicas", 1))
    reasons = [why for pod in pods if not is_ready(pod) and (why := trouble(pod))]
    return ComponentStatus(
        name=name,
        replicas=wanted,
        ready=len(ready),
        zones=len({view.zone_of(pod) for pod in ready} - {None}),
        reason=(reasons[0] if reasons else f"{len(ready)} of {counted(wanted, 'pod')} {are(len(ready))} ready")
        if len(ready) < wanted
        else None,
    )


def public_set(text: str | None) -> str | None:
    """A public key set without what is not public: keys that have a private part, or are symmetric. Whoever may write the Secret that it
    is in can put one there, and a gateway is given none. Anything else is as it was."""
    try:
        given = json.loads(text or "")["keys"]
        keys = [each for each in given if not {"d", "k"} & set(each)]
        return text if len(keys) == len(given) else json.dumps({"keys": keys})
    except (ValueError, TypeError, KeyError, RecursionError):
        return text


def rolled_out(deployment: Manifest | None) -> bool:
    """Whether all pods of a Deployment are of its latest revision (the rule of `kubectl rollout status`)."""
    if deployment is None:
        return False
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("replicas", 0) <= wanted
    )


def every_gateway_has(view: View, port: str) -> bool:
    """Whether all gateways that there are have a port, those that are on their way out left aside. Some do not while it is new: their
    configuration may follow the spec, but where they listen, and a certificate that is mounted, does not."""
    pods = [each["spec"] for each in view.all(POD, "gateway") if not each["metadata"].get("deletionTimestamp") and not is_over(each)]
    ports = [
        {each.get("name") for container in pod["containers"] for each in container.get("ports") or []}
        for pod in pods
        if pod.get("containers")
    ]
    return all(port in each for each in ports)


def is_over(pod: Manifest) -> bool:
    """Whether a pod has ended for good (Kubernetes documentation, "Pod Lifecycle"): its workload has another by then."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def rollout_trouble(view: View, name: str) -> str | None:
    """Why a component's new pods do not come, in a few words: none can be made (as by a quota), or those that were made do not get ready.
    None while all is well, or may still become so (Kubernetes documentation, "Deployments", "Failed Deployment")."""
    deployment = view.child(DEPLOYMENT, f"{view.owner.name}-{name}")
    for each in (deployment or {}).get("status", {}).get("conditions") or []:
        if each["type"] == "ReplicaFailure" and each["status"] == "True":
            return shorten(str(each.get("message") or "pods can not be made"), _MAX_WORDS)
        if each["type"] == "Progressing" and each.get("reason") == "DeploymentPaused" and not rolled_out(deployment):
            return "somebody paused it (spec.paused of its Deployment)"
        if each["type"] == "Progressing" and each["status"] == "False" and not rolled_out(deployment):
            said = next((why for pod in view.all(POD, name) if not is_ready(pod) and (why := trouble(pod))), None)
            return said or "its new pods do not get ready"
    return None


def job_succeeded(view: View, name: str | None) -> bool:
    """Whether the Job of that name is there and has succeeded."""
    job = view.child(JOB, name) if name else None
    return job is not None and bool((job.get("status") or {}).get("succeeded"))


def job_trouble(view: View, component: str) -> str | None:
    """Why the pods of a Job do not get on: what the program said last, and else what keeps it from running."""
    for pod in view.all(POD, component):
        said = _last_words(pod)
        first = said[1].strip().partition("\n")[0] if said else ""
        if why := shorten(first, _MAX_WORDS) or trouble(pod):
            return why
    return None


def job_refusals(view: View, name: str) -> list[str]:
    """What PostgreSQL refused of a Job's SQL, a sentence each, when it was last run to its end."""
    for pod in view.all(POD):
        if (pod["metadata"].get("labels") or {}).get(_JOB_LABEL) == name and (said := _last_words(pod)) and said[0] == REFUSED_CODE:
            return list(dict.fromkeys(line for each in said[1].splitlines() if (line := each.strip())))
    return []


def _last_words(pod: Manifest) -> tuple[int, str] | None:
    """Exit code and message of a container that failed, as the kubelet has it (Kubernetes documentation, "Determine the Reason for Pod
    Failure"); also while it waits to be started again, or runs again."""
    for each in (pod.get("status") or {}).get("containerStatuses") or []:
        for state in (each.get("state") or {}, each.get("lastState") or {}):
            ended = state.get("terminated")
            if ended and ended.get("exitCode"):
                return int(ended["exitCode"]), str(ended.get("message") or "")
    return None
