"""Workers and jobs of a backend: which may run, and what is told of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from types import MappingProxyType

from pydantic import ValidationError

from baas_operator.api.instance.programs import Program, ScheduledJob, Worker
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.instance.status import ProgramStatus
from baas_operator.api.kinds import BAAS_INSTANCE, CRON_JOB, DEPLOYMENT, EVENT_QUEUE, SECRET
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.instance import names
from baas_operator.desired.instance.engine import ProgramKeys
from baas_operator.desired.instance.programs import (
    ProgramFacts,
    Scaled,
    component_of,
    cron_job,
    programs,
    secrets_of,
)
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Manifest, checksum
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.observe.conditions import PROGRAMS_HEALTHY, Condition
from baas_operator.observe.programs import Seen, observe_job, observe_worker
from baas_operator.observe.text import counted
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.backlog import scaled_workers
from baas_operator.policy.placement import hard_spread
from baas_operator.policy.plan import Finding
from baas_operator.policy.queue.programs import impossible, programs_of, told_consumers, with_programs
from baas_operator.policy.windows import never_due

_WAIT_SECONDS = 2.0
"""How soon it is looked again for a login that a queue is to make: a Secret of another object's makes no event here."""


@dataclass(frozen=True)
class Programs:
    """What is decided of all programs, and told. `incomplete`: what is not as asked; `blocked`: that this does not pass before somebody
    acts. `again_seconds`: when to look again, where no event would tell."""

    facts: ProgramFacts = field(default_factory=ProgramFacts)
    statuses: tuple[ProgramStatus, ...] = ()
    condition: Condition | None = None
    incomplete: Finding | None = None
    blocked: bool = False
    again_seconds: float | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """None where there are no programs."""
        return (self.condition,) if self.condition else ()


def look_at_programs(
    spec: BaasInstanceSpec, view: View, keys: ProgramKeys, versions: Mapping[str, str] = MappingProxyType({})
) -> Programs:  # fmt: skip
    """Decide about them. `versions`: see desired/instance/engine.py."""
    if not (declared := programs(spec)):
        return Programs()
    queue = _Queue.of(view, names.queue_name(view.owner.name, spec))
    judged = [_judge(spec, view, queue, each) for each in declared]
    scaled = {each.program.name: each.scaled for each in judged if each.scaled}
    blocked = next((each.wrong for each in judged if each.wrong), None)
    waiting = next((each.waits for each in judged if each.waits), None)
    rolling = next((each.seen.rolling for each in judged if each.seen.rolling), None)
    unhealthy = blocked or next((found for each in judged if (found := each.failing)), None) or waiting
    again = [each.again for each in judged if each.again is not None] + ([_WAIT_SECONDS] if waiting and not spec.hibernate else [])
    if spec.hibernate:
        unhealthy = waiting = rolling = None
    return Programs(
        facts=ProgramFacts(
            started=frozenset(each.program.name for each in judged if each.runs),
            soft=frozenset(each.program.name for each in judged if each.soft),
            scaled=scaled,
            kept={each.program.name: each.kept for each in judged if each.kept},
            due={each.program.name: each.due for each in judged if each.due},
            rolls={each.name: _rolled(view, queue, each) or _rolls(spec, view, queue, keys, each, versions) for each in declared},
        ),
        statuses=tuple(each.status for each in judged),
        condition=_condition(spec, unhealthy),
        incomplete=blocked or waiting or (Finding("ProgramsRollingOut", rolling) if rolling else None),
        blocked=blocked is not None,
        again_seconds=min(again, default=None),
    )


def _condition(spec: BaasInstanceSpec, unhealthy: Finding | None) -> Condition:
    if unhealthy:
        return Condition(PROGRAMS_HEALTHY, False, unhealthy.reason, unhealthy.message)
    said = " and ".join(
        counted(len(some), noun) for some, noun in ((spec.workers, "worker"), (spec.jobs, "job")) if some
    )  # fmt: skip
    if spec.hibernate:
        return Condition(PROGRAMS_HEALTHY, True, "ProgramsRest", f"{said}: none runs while the backend hibernates.")
    return Condition(PROGRAMS_HEALTHY, True, "ProgramsWell", f"{said}: nothing is wrong with any.")


@dataclass(frozen=True)
class _Queue:
    """What there is of the queue. `spec` is None while it is not there, or says nothing that can be read. `pending`: (stream, consumer) ->
    messages that wait, of all consumers that are there. `programs`: of all backends that use it, by seniority; `told`: see
    policy/queue/programs.py."""

    name: str
    spec: EventQueueSpec | None
    secrets: Mapping[str, Manifest]
    pending: Mapping[tuple[str, str], int | None]
    programs: tuple[QueueProgram, ...] = ()
    told: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, view: View, name: str) -> _Queue:
        resource = view.others.get((EVENT_QUEUE.name, name))
        children = view.other_children.get((EVENT_QUEUE.name, name), {})
        try:
            spec = EventQueueSpec.stored(resource.get("spec")) if resource else None
        except ValidationError:  # it is told where that object is seen to
            spec = None
        streams = ((resource or {}).get("status") or {}).get("streams") or []
        return cls(
            name, spec,
            {child: each for (kind, child), each in children.items() if kind == SECRET.name},
            {(one["name"], each["name"]): each.get("pending") for one in streams for each in one.get("consumers") or []},
            tuple(programs_of(_seen_by(resource, view))) if resource else (),
            told_consumers(resource or {}),
        )  # fmt: skip

    def before(self, one: QueueProgram, own: Sequence[QueueProgram]) -> Sequence[QueueProgram]:
        """The programs that come before one, which those of its own backend do that are named first where the queue is not theirs yet."""
        order = self.programs if any(each.user == one.user for each in self.programs) else own
        return list(takewhile(lambda each: each.user != one.user, order))

    def backlog(self, one: QueueProgram) -> int | None:
        """Messages that wait for a worker, None while that is not known: a suspended queue goes on, and its status says what was."""
        if self.spec is None or self.spec.suspend or not isinstance(one.program, Worker):
            return None
        return self.pending.get((one.program.stream, one.consumer))


def _seen_by(queue: Manifest, view: View) -> View:
    """The backends of a queue as it sees them itself, this one included: both sides have to come to the same order."""
    return replace(view, resource=queue, others={**view.others, (BAAS_INSTANCE.name, view.owner.name): view.resource})


@dataclass(frozen=True)
class _Judged:
    """One program. `runs`: whether its objects are to be there; `wrong`: what somebody has to put right; `waits`: what passes by itself.
    `kept` and `due`: what stays of one that is there while it is wrong (ProgramFacts)."""

    program: Program
    seen: Seen
    status: ProgramStatus
    runs: bool
    wrong: Finding | None
    waits: Finding | None
    scaled: Scaled | None = None
    soft: bool = False
    again: float | None = None
    kept: Manifest | None = None
    due: tuple[str, str] | None = None

    @property
    def failing(self) -> Finding | None:
        """What is wrong with it while it runs."""
        if not self.seen.failing:
            return None
        if isinstance(self.program, Worker):
            return Finding("WorkerFailing", self.seen.failing)
        return Finding("JobFailed", self.seen.failing)


def _judge(spec: BaasInstanceSpec, view: View, queue: _Queue, program: Program) -> _Judged:
    one = QueueProgram(view.owner.name, program)
    if isinstance(program, ScheduledJob):
        return _judge_job(view, queue, one, program)
    assert isinstance(program, Worker)
    component = component_of(program)
    workload = view.child(DEPLOYMENT, f"{view.owner.name}-{component}")
    before = queue.before(one, [QueueProgram(view.owner.name, each) for each in spec.workers])
    wrong = None
    if queue.spec is not None:
        wrong = impossible(with_programs(queue.spec, queue.name, before, queue.told), queue.name, one, queue.told)
    # Once it runs it goes on, whatever becomes of its stream: it may have something in hand, and an edit elsewhere may be a mistake.
    waits = None if wrong or workload is not None else _waits(queue, one)
    scaled, again = scaled_workers(spec, view, queue.backlog(one), program, workload)
    seen = observe_worker(view, program.name, component)
    status = ProgramStatus(
        name=program.name, kind="Worker", replicas=seen.wanted, ready=seen.ready, backlog=queue.backlog(one),
        reason=found.message if (found := wrong or waits) else seen.failing or seen.rolling,
    )  # fmt: skip
    most = program.autoscaling.max_replicas if program.autoscaling else program.replicas
    return _Judged(
        program, seen, status, workload is not None or not (wrong or waits), wrong, waits, scaled,
        soft=not hard_spread(view, workload, most, program.placement), again=again,
        kept=workload["spec"]["template"] if wrong and workload is not None else None,
    )  # fmt: skip


def _judge_job(view: View, queue: _Queue, one: QueueProgram, job: ScheduledJob) -> _Judged:
    # Kubernetes' own reader takes `?` for `*`, in any field (robfig/cron v3, parser.go, `getRange`).
    why = _unknown_to_kubernetes(job.schedule) or never_due(job.schedule.replace("?", "*"), job.time_zone, view.now)
    there = view.child(CRON_JOB, cron_job(view.owner.name, job))
    done = "is run by its schedule of before" if there is not None else "is not run"
    wrong = Finding("JobNeverDue", f"Job {job.name} {done}: {why}") if why else None
    waits = None if wrong or there is not None else _waits(queue, one)
    seen, status = observe_job(view, job.name, component_of(job), there)
    status = status.model_copy(update={"reason": found.message if (found := wrong or waits) else seen.failing})
    # As where the API server refuses an edit: what is there goes on by its old line. Without it its run and all logs would go, too.
    due = (str(there["spec"]["schedule"]), str(there["spec"].get("timeZone") or "Etc/UTC")) if wrong and there is not None else None
    return _Judged(job, seen, status, there is not None or not (wrong or waits), wrong, waits, due=due)


def _unknown_to_kubernetes(schedule: str) -> str | None:
    """What Debian's cron and others know, and the API server refuses, with all that would be applied after it (measured on 1.34)."""
    fields = schedule.split()
    if len(fields) == 5 and (re.search("[LW#]", fields[2]) or re.search("[L#]|(?<!/)7", fields[4])):
        return f"{schedule!r} has what CronJobs do not know: L, W and #, or 7 for Sunday, which is 0."
    return None


def _waits(queue: _Queue, one: QueueProgram) -> Finding | None:
    """A pod that starts before the queue knows it would be turned away, and end."""
    if not one.has_login:
        return None
    who = f"{'Worker' if isinstance(one.program, Worker) else 'Job'} {one.program.name}"
    if one.secret(queue.name) not in queue.secrets:
        return Finding("ProgramWaiting", f"{who} waits for its login, which the EventQueue {queue.name} makes.")
    if isinstance(one.program, Worker) and (one.program.stream, one.consumer) not in queue.pending:
        return Finding(
            "ProgramWaiting",
            f"{who} waits for its consumer {one.consumer} of stream {one.program.stream}, which the EventQueue {queue.name} makes. If that "
            "stays, see its conditions; a workqueue gives each message to one consumer, and one of another backend may take these.",
        )
    return None


def _rolled(view: View, queue: _Queue, program: Program) -> str | None:
    """The hash that a program's pods were made with, while its login can not be seen: a queue that is being made anew finds it where it was
    kept."""
    one = QueueProgram(view.owner.name, program)
    if not one.has_login or one.secret(queue.name) in queue.secrets:
        return None
    if isinstance(program, ScheduledJob):
        there = view.child(CRON_JOB, cron_job(view.owner.name, program))
        spec = ((there or {}).get("spec") or {}).get("jobTemplate", {}).get("spec") or {}
    else:
        there = view.child(DEPLOYMENT, f"{view.owner.name}-{component_of(program)}")
        spec = (there or {}).get("spec") or {}
    found = (spec.get("template", {}).get("metadata", {}).get("annotations") or {}).get(CHECKSUM_ANNOTATION)
    return str(found) if found else None


def _rolls(
    spec: BaasInstanceSpec, view: View, queue: _Queue, keys: ProgramKeys, program: Program, versions: Mapping[str, str]
) -> str:  # fmt: skip
    """A hash of what a program may read once, when it starts: variables out of Secrets and ConfigMaps, and what it logs in with. A password
    may be one that somebody thought of, and a hash of it would let others try: of a login that rotates the name changes with it."""
    made: list[object] = [versions.get(ref.name) for each in program.env if (ref := each.secret or each.config_map)]
    for name, files in secrets_of(view.owner, spec, program, keys).items():
        secret = view.child(SECRET, name) or queue.secrets.get(name)
        if name == names.api_keys_secret(view.owner.name):  # signed tokens, which nobody thinks of
            made.append([secret_text(secret, key) for key in files])
        elif any(path.startswith("queue/") for path in files.values()):
            made.append(secret_text(secret, "username"))
        else:
            made.append(((secret or {}).get("metadata") or {}).get("uid"))
    return checksum(*made)
