"""Dead letters, replayed or purged: which ones is decided first, then they are worked on, some seconds a step.

Each step's outcome is in the status before the next one begins. A step that was done and not noted is done again, and finds its letters
gone.
"""

from __future__ import annotations

from dataclasses import replace

from baas_operator.api.operation import (
    Action,
    LetterFilter,
    LetterProgress,
    OperationPhase,
    OperationResult,
    OperationSpec,
    OperationStatus,
    OperationStep,
)
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.dead_letters import dead_letters_of
from baas_operator.observe.moments import read_time, to_text, to_time
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View
from baas_operator.policy.operations.common import deadline, end, running, with_answer
from baas_operator.policy.plan import Finding, LetterWork, Plan, WorkOnLetters

SELECT = "Select"
_WORK = {Action.REPLAY_DEAD_LETTERS: "Replay", Action.PURGE_DEAD_LETTERS: "Purge"}
_DONE = {Action.REPLAY_DEAD_LETTERS: "replayed", Action.PURGE_DEAD_LETTERS: "purged"}


def plan_dead_letters(view: View, spec: OperationSpec, status: OperationStatus, queue: View) -> Plan:
    """Decide about dead letters of `queue`, the view of what the Operation is for."""
    stream = spec.parameters.stream or ""
    if finding := _unfit(spec, queue):
        return end(view, status, OperationPhase.REFUSED, finding)
    if not status.steps:
        # First the intent is written down: whoever else was begun at this moment sees it, and one of the two steps back.
        begun = status.model_copy(update={
            "phase": OperationPhase.RUNNING,
            "steps": [OperationStep(name=SELECT, started_at=to_text(view.now, "milliseconds"))],
            "letters": LetterProgress(),
            "result": OperationResult(),
        })  # fmt: skip
        return running(begun, f"Dead letters of {stream} are being looked at.")
    if view.now > deadline(view, spec):
        return end(view, status, OperationPhase.FAILED, Finding(
            "TimedOut",
            f"{_so_far(spec, status)} in {spec.timeout_seconds} s; the others are where they were: create another Operation.",
        ))  # fmt: skip
    parameters = spec.parameters
    work = WorkOnLetters(
        queue=spec.target.name, stream=stream, action=spec.action, letters=parameters.letters or LetterFilter(),
        rate=parameters.rate_per_second, limit=parameters.limit, operation_uid=view.owner.uid or view.owner.name,
        work=_work(spec, status),
    )  # fmt: skip
    return running(status, f"{_so_far(spec, status)}.", (work,))


def advanced(view: View, plan: Plan, work: LetterWork) -> Plan:
    """The plan of an Operation on dead letters, once the step that it asked for was done."""
    spec = OperationSpec.stored(view.spec)
    status = OperationStatus.stored(plan.status)
    now = to_text(view.now, "milliseconds")
    steps = list(status.steps)
    if work.last is not None and len(steps) == 1:
        steps[0] = steps[0].model_copy(update={"finished_at": now})
        if not work.finished:
            steps.append(OperationStep(name=_WORK[spec.action], started_at=now))
    result = OperationResult(
        selected=work.selected, left=work.left,
        duration_seconds=round((view.now - to_time(steps[0].started_at)).total_seconds(), 2),
    ).model_copy(update={_DONE[spec.action]: work.done})  # fmt: skip
    status = status.model_copy(update={
        "letters": LetterProgress(looked_at=work.looked_at, last=work.last), "steps": steps, "result": result,
    })  # fmt: skip
    if not work.finished:
        told = running(status, f"{_so_far(spec, status)}.")
        return with_answer(told, work.problem) if work.problem else told
    if steps[-1].finished_at is None:
        steps[-1] = steps[-1].model_copy(update={"finished_at": now})
    message = f"{_so_far(spec, status)}; {counted(work.left or 0, 'dead letter')} {are(work.left or 0)} left."
    replayed = spec.action is Action.REPLAY_DEAD_LETTERS
    why = Finding("DeadLettersReplayed", message) if replayed else Finding("DeadLettersPurged", message)
    ended = end(view, status.model_copy(update={"steps": steps}), OperationPhase.SUCCEEDED, why)
    return replace(ended, requeue_after=plan.requeue_after)  # once more, to delete Operations that are too many


def _unfit(spec: OperationSpec, queue: View) -> Finding | None:
    wanted = spec.parameters.letters or LetterFilter()
    for text in (wanted.since, wanted.until):
        if text and read_time(text) is None:
            return Finding("FilterInvalid", f"{text!r} is no time: write it as 2026-05-01T12:00:00Z.")
    keeping = list(dead_letters_of(EventQueueSpec.stored(queue.spec)))
    if spec.parameters.stream in keeping:
        return None
    known = f"those that have are {', '.join(sorted(keeping))}" if keeping else "none has"
    return Finding(
        "NoDeadLetters",
        f"{queue.owner.name} has no stream {spec.parameters.stream!r} with deadLetter or a webhook; {known}: check parameters.stream.",
    )


def _work(spec: OperationSpec, status: OperationStatus) -> LetterWork:
    """How far it is, as the status has it."""
    result, progress = status.result or OperationResult(), status.letters or LetterProgress()
    done = result.replayed if spec.action is Action.REPLAY_DEAD_LETTERS else result.purged
    return LetterWork(looked_at=progress.looked_at, last=progress.last, selected=result.selected or 0, done=done or 0, left=result.left)


def _so_far(spec: OperationSpec, status: OperationStatus) -> str:
    work = _work(spec, status)
    what = f"{work.done} of {counted(work.selected, 'dead letter')} of {spec.parameters.stream}"
    if work.last is None:
        return f"Dead letters of {spec.parameters.stream} are being looked at"
    return f"{what} {are(work.selected)} {_DONE[spec.action]}" if work.selected else f"No dead letter of {spec.parameters.stream} is meant"
