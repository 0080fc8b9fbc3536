"""Workers and jobs of a backend -> Deployments and CronJobs.

Their pods are as restricted as the components'. What they log in with are files, never variables: those can be read by whoever may look at
the pod, are inherited by every process, and do not follow a rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baas_operator.api.instance.programs import Program, ScheduledJob, Worker
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Flow
from baas_operator.desired.instance.engine import ProgramKeys
from baas_operator.desired.instance.logins import LOGINS_ANNOTATION, RoleLogin
from baas_operator.desired.instance.manifests import container, environment, place, volumes
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Manifest, Owner, checksum
from baas_operator.desired.pods import (
    disruption_budget,
    pod_security,
    service_account,
    spread_for_surge,
)
from baas_operator.desired.queue import names as queue_names
from baas_operator.desired.queue.programs import QueueProgram

CREDENTIALS = "/etc/baas/credentials"
SCALED_ANNOTATION = "baas-operator.io/scaled-at"
"""On the Deployment of a worker that scales with its backlog: when the number of its pods last changed (RFC 3339)."""
PROGRAMS = "programs"
"""Component of what workers and jobs have in common."""
_SETTLE_SECONDS = 5
"""A pod that has run so long is taken for one that works: programs have no readiness of their own, and one that ends at its start must not
replace those that work."""
_LATE_SECONDS = 3600
"""A run that was missed is made up for so long. Without a limit the CronJob controller gives up for good after 100 missed runs (Kubernetes
documentation, "CronJob")."""
_CRON_JOB_NAME = 52
"""Characters of a CronJob's name at the most: its Jobs' names have 11 more (the same page)."""


@dataclass(frozen=True)
class Scaled:
    """Pods of a worker that scales with its backlog, and when that number last changed (RFC 3339)."""

    replicas: int
    since: str


@dataclass(frozen=True)
class ProgramFacts:
    """What the manifests depend on besides the spec. `started`: programs that may run, as what they need is there; None for all. `soft`:
    workers whose pods may be in one zone. `scaled`: those that scale. `rolls`: a hash, for each program, of what its pods may have read
    only when they started. `kept`: pod templates of workers that run and ask for what can not be: they go on as they are; `due`: schedule
    and time zone of jobs that are there and have such as no run would ever follow from."""

    started: frozenset[str] | None = None
    soft: frozenset[str] = frozenset()
    scaled: Mapping[str, Scaled] = field(default_factory=dict)
    rolls: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Manifest] = field(default_factory=dict)
    due: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def component_of(program: Program) -> str:
    """What its objects are labelled with, and called: `worker-NAME` or `job-NAME`."""
    return f"{'worker' if isinstance(program, Worker) else 'job'}-{program.name}"


def cron_job(instance: str, job: ScheduledJob) -> str:
    """Name of a job's CronJob. A long one is cut, and told from others by a hash."""
    whole = f"{instance}-{component_of(job)}"
    return whole if len(whole) <= _CRON_JOB_NAME else f"{whole[: _CRON_JOB_NAME - 9].rstrip('-')}-{checksum(whole)[:8]}"


def programs(spec: BaasInstanceSpec) -> list[Program]:
    """All of them."""
    return [*spec.workers, *spec.jobs]


def program_flows(spec: BaasInstanceSpec) -> dict[str, tuple[Flow, ...]]:
    """Component -> connections that it makes, beside DNS."""
    made = {}
    for each in programs(spec):
        flows = [Flow("gateway"), Flow("outside")]
        if QueueProgram("", each).has_login:
            flows.append(Flow("queue", queue_names.CLIENT_PORT))
        if each.database:
            flows.append(Flow("database", database_names.POSTGRES_PORT))
        made[component_of(each)] = tuple(flows)
    return made


def build_programs(
    owner: Owner, spec: BaasInstanceSpec, keys: ProgramKeys, facts: ProgramFacts, login: RoleLogin | None = None
) -> list[Manifest]:
    """The objects of all programs that may run. `login`: how those log in that use the database, as far as that is known."""
    wanted = [each for each in programs(spec) if facts.started is None or each.name in facts.started]
    if not wanted:
        return []
    queue = queue_names.host(names.queue_name(owner.name, spec), owner.namespace)
    places = {
        "gateway-url": names.gateway_url(owner),
        "queue-url": f"tls://{queue}:{queue_names.CLIENT_PORT}",
    }
    made = [owner.child("v1", "ConfigMap", f"{owner.name}-{PROGRAMS}", PROGRAMS, data=places)]
    for each in wanted:
        component = component_of(each)
        pod = _pod(owner, spec, each, keys, places, login)
        annotations = {CHECKSUM_ANNOTATION: facts.rolls.get(each.name, "")}
        if each.database and login:
            annotations[LOGINS_ANNOTATION] = login.username
        template = {"metadata": {"labels": owner.labels(component), "annotations": annotations}, "spec": pod}
        made.append(service_account(owner, f"{owner.name}-{component}", component))
        if isinstance(each, Worker):
            made.append(disruption_budget(owner, f"{owner.name}-{component}", component))
            made.append(_deployment(owner, spec, each, template, facts))
        elif isinstance(each, ScheduledJob):
            made.append(_cron_job(owner, spec, each, template, facts))
    return made


def _as_it_runs(live: Manifest, made: Manifest) -> Manifest:
    """The pod template that a worker has, with what it logs in with as it is now: a login that was rotated is not to be found any more, and
    pods have to start after the loss of a node."""
    credentials = {each["name"]: each for each in made["spec"]["volumes"] if each["name"] == "credentials"}
    before = live["metadata"].get("annotations") or {}
    return {
        "metadata": {**live["metadata"], "annotations": before | made["metadata"]["annotations"]},
        "spec": {**live["spec"], "volumes": [credentials.get(each["name"], each) for each in live["spec"].get("volumes") or []]},
    }


def _deployment(owner: Owner, spec: BaasInstanceSpec, worker: Worker, template: Manifest, facts: ProgramFacts) -> Manifest:
    component = component_of(worker)
    selector = owner.selector(component)
    scaled = facts.scaled.get(worker.name)
    template["spec"]["topologySpreadConstraints"] = spread_for_surge(selector, hard=worker.name not in facts.soft)
    return owner.child(
        "apps/v1", "Deployment", f"{owner.name}-{component}", component,
        annotations={SCALED_ANNOTATION: scaled.since} if scaled else None,
        spec={
            "replicas": 0 if spec.hibernate else scaled.replicas if scaled else worker_start(worker),
            "revisionHistoryLimit": 3,
            "minReadySeconds": _SETTLE_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": _as_it_runs(kept, template) if (kept := facts.kept.get(worker.name)) else template,
        },
    )  # fmt: skip


def worker_start(worker: Worker) -> int:
    """Pods that a worker has before it is known what waits for it."""
    scaling = worker.autoscaling
    return worker.replicas if scaling is None else min(max(worker.replicas, scaling.min_replicas), scaling.max_replicas)


def _cron_job(owner: Owner, spec: BaasInstanceSpec, job: ScheduledJob, template: Manifest, facts: ProgramFacts) -> Manifest:
    component = component_of(job)
    schedule, time_zone = facts.due.get(job.name, (job.schedule, job.time_zone))
    template["spec"]["restartPolicy"] = "Never"  # each try is a pod of its own, whose log stays; a podFailurePolicy asks for it, too
    return owner.child(
        "batch/v1", "CronJob", cron_job(owner.name, job), component,
        spec={
            "schedule": schedule,
            "timeZone": time_zone,
            "concurrencyPolicy": job.concurrency.value,
            "suspend": spec.hibernate,
            "startingDeadlineSeconds": _LATE_SECONDS,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": owner.labels(component)},
                "spec": {
                    "backoffLimit": job.retries,
                    "activeDeadlineSeconds": job.timeout_seconds,
                    # A pod that was evicted, or whose node was lost, has not failed (Kubernetes documentation, "Pod failure policy").
                    "podFailurePolicy": {
                        "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}],
                    },
                    "template": template,
                },
            },
        },
    )  # fmt: skip


def _pod(
    owner: Owner, spec: BaasInstanceSpec, program: Program, keys: ProgramKeys, places: Mapping[str, str], login: RoleLogin | None
) -> dict[str, Any]:  # fmt: skip
    added, added_mounts = volumes(program.volumes)
    mounts: list[dict[str, Any]] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
        {"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True},
        *added_mounts,
    ]
    made = container(
        "program", program.image, env=_env(owner, program, places), asked=program.resources, cpu="20m", memory="64Mi", mounts=mounts,
        command=program.command, args=program.args,
    )  # fmt: skip
    return {
        "serviceAccountName": f"{owner.name}-{component_of(program)}",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # Nobody connects to it, so there is nothing to wait for before SIGTERM: it has all of the time to finish what it has in hand.
        "terminationGracePeriodSeconds": program.grace_seconds if isinstance(program, Worker) else 30,
        "securityContext": pod_security(program.user_id),
        "containers": [made],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "credentials", "projected": {"defaultMode": 0o440, "sources": _sources(owner, spec, program, keys, login)}},
            *added,
        ],
    } | place(program)


def _env(owner: Owner, program: Program, places: Mapping[str, str]) -> list[dict[str, Any]]:
    """Nothing secret. What the operator sets wins."""
    one = QueueProgram(owner.name, program)
    ours = {"BAAS_CREDENTIALS": CREDENTIALS, "BAAS_GATEWAY_URL": places["gateway-url"]}
    if one.has_login:
        ours |= {"BAAS_QUEUE_URL": places["queue-url"], "BAAS_QUEUE_INBOX": queue_names.inbox(one.user)}
    if isinstance(program, Worker):
        ours |= {"BAAS_STREAM": program.stream, "BAAS_CONSUMER": one.consumer}
    return environment(program.env, ours)


def secrets_of(
    owner: Owner, spec: BaasInstanceSpec, program: Program, keys: ProgramKeys, login: RoleLogin | None = None
) -> dict[str, dict[str, str]]:
    """Secret -> key -> file of what a program logs in with, no more than it was given. With the marker of `login` none starts on a node
    that has the Secret of before (logins.py)."""
    made: dict[str, dict[str, str]] = {}
    for file, (secret, key) in {**keys.plain, **(keys.service if program.service_key else {})}.items():
        made.setdefault(secret, {})[key] = f"keys/{file}"
    one = QueueProgram(owner.name, program)
    if one.has_login:
        made[one.secret(names.queue_name(owner.name, spec))] = {key: f"queue/{key}" for key in ("username", "password", "ca.crt")}
    if program.database:
        marker = {login.marker: "database/login"} if login and login.marker else {}
        made[names.role_secret(owner.name, "owner")] = {key: f"database/{key}" for key in ("uri", "username", "password")} | marker
    return made


def _sources(
    owner: Owner, spec: BaasInstanceSpec, program: Program, keys: ProgramKeys, login: RoleLogin | None
) -> list[dict[str, Any]]:  # fmt: skip
    def items(files: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"key": key, "path": path} for key, path in files.items()]

    places = {"gateway-url": "gateway/url"} | ({"queue-url": "queue/url"} if QueueProgram(owner.name, program).has_login else {})
    return [
        {"configMap": {"name": f"{owner.name}-{PROGRAMS}", "items": items(places)}},
        *({"secret": {"name": name, "items": items(files)}} for name, files in secrets_of(owner, spec, program, keys, login).items()),
    ]
