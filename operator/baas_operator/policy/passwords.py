"""Passwords of a backend's roles in its database, from one rotation to the next.

A role has two names that take turns (desired/instance/logins.py). A rotation has three steps, each of which is one write to the role's
Secret; what PostgreSQL is told, and what pods log in with, follow from it:

1. Publish: the next password is drawn. The bootstrap's Job sets it for the name that is not in use, and ends once standbys have it, too.
2. Switch, once that Job has succeeded: the Secret says the other name, and all pods that log in with it are replaced.
3. Retire, the overlap later, and not before every pod logs in with the new name: the password before is taken out. The next Job takes it
   from PostgreSQL, and ends the sessions that are left.

No step is taken while PostgreSQL may not know what the Secrets say. Which one is due follows from the Secret and from what is seen, so an
operator that dies between any two goes on where it was; a write names the version that was judged, so of two leaders one takes the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from baas_operator.api.instance.keys import KeysPhase, PasswordsStatus
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import CRON_JOB, DATABASE_REPLICA, DEPLOYMENT, POD, SECRET
from baas_operator.desired.database import names as database_names
from baas_operator.desired.instance import names
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.instance.logins import LOGINS_ANNOTATION, RoleLogin
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import (
    EXPIRES_ANNOTATION,
    NEXT,
    OVERLAP_ANNOTATION,
    PREVIOUS,
    ROTATED_ANNOTATION,
    SecretRequest,
    marker,
)
from baas_operator.desired.sql_job import digest
from baas_operator.observe.instance import job_succeeded, rolled_out
from baas_operator.observe.moments import read_time, to_text
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.plan import Finding

Workloads = Mapping[tuple[str, str], str]
"""Kind and name of a workload -> the names that its pods are to log in with (`LOGINS_ANNOTATION`)."""


@dataclass(frozen=True)
class PasswordsPlan:
    """What is decided about passwords. `requests`: all that were given, where those that are due say so. `stalled`: what somebody has to
    put right, while all serves. `progress`: what a rotation waits for. `wake_seconds`: until the next step that no event would tell of."""

    requests: tuple[SecretRequest, ...]
    status: PasswordsStatus | None = None
    stalled: Finding | None = None
    progress: Finding | None = None
    wake_seconds: float | None = None


_LEAST_FAR = (KeysPhase.PUBLISHING, KeysPhase.SWITCHING, KeysPhase.OVERLAPPING, KeysPhase.STABLE)


def logins_of(view: View, requests: Iterable[SecretRequest]) -> dict[str, RoleLogin]:
    """Role -> how to log in as it, of those whose Secret is there."""
    made = {}
    for request in requests:
        live = view.child(SECRET, request.name)
        if request.retires and live is not None:
            made[request.name.removeprefix(names.role_secret(view.owner.name, ""))] = _login(request, live)
    return made


def _login(request: SecretRequest, live: Manifest) -> RoleLogin:
    first = RoleLogin.first(request.fixed["username"])
    said = secret_text(live, "username")
    username = said if said in first.names else first.role  # a hand made it something else, which would be somebody else's name
    login = replace(first, username=username)
    second = next((key for key in (NEXT, PREVIOUS) if secret_text(live, key)), None)
    mark = marker(username)
    return replace(
        login,
        slots={username: "password"} | ({login.other: second} if second else {}),
        marker=mark if secret_text(live, mark) is not None else None,
    )


def passwords_digest(view: View, spec: BaasInstanceSpec, logins: Mapping[str, RoleLogin]) -> str:
    """The digest of what the bootstrap sets; empty while not all of it is there."""
    files = ENGINES[spec.engine].bootstrap(spec, view.owner, logins).files
    database = names.database_name(view.owner.name, spec)
    theirs = view.other_children.get((DATABASE_REPLICA.name, database)) or {}
    superuser = secret_text(theirs.get((SECRET.name, database_names.role_secret(database, database_names.SUPERUSER))), "password")
    found = [
        secret_text(view.child(SECRET, names.role_secret(view.owner.name, who)), key) for _, (who, key) in sorted(files.items())
    ]  # fmt: skip
    passwords = [each for each in found if each is not None]
    return digest(superuser, passwords) if superuser is not None and len(passwords) == len(found) else ""


def plan_passwords(
    view: View, requests: Iterable[SecretRequest], wanted: Workloads, *, job: str | None, rotation_days: int
) -> PasswordsPlan:
    """Decide about the passwords of an instance. `requests` are all of its Secrets, `wanted` who is to log in; `job`: the bootstrap's Job
    that sets the passwords of now, None where it is not known which they are."""
    asked = tuple(requests)
    settled = job is not None and job_succeeded(view, job)
    judged = [_judge(view, each, wanted, settled=settled, rotation_days=rotation_days) for each in asked if each.retires]
    by_name = {each.request.name: each.request for each in judged}
    return PasswordsPlan(
        tuple(by_name.get(each.name, each) for each in asked),
        status=_status(judged),
        stalled=next((each.stalled for each in judged if each.stalled), None),
        progress=next((each.progress for each in judged if each.progress), None),
        wake_seconds=min((left for each in judged if each.at and (left := (each.at - view.now).total_seconds()) > 0), default=None),
    )


@dataclass(frozen=True)
class _Judged:
    """One Secret. `at`: when its next step may be due, where no event would tell. `phase`: None of one that can not be rotated."""

    request: SecretRequest
    stalled: Finding | None = None
    progress: Finding | None = None
    at: datetime | None = None
    phase: KeysPhase | None = None


def _status(judged: list[_Judged]) -> PasswordsStatus | None:
    phases = [each.phase for each in judged if each.phase]
    if not phases:
        return None
    starts = [each.at for each in judged if each.at and each.phase is KeysPhase.STABLE]
    return PasswordsStatus(phase=min(phases, key=_LEAST_FAR.index), next_rotation=to_text(min(starts)) if starts else None)


def _judge(view: View, request: SecretRequest, wanted: Workloads, *, settled: bool, rotation_days: int) -> _Judged:
    live = view.child(SECRET, request.name)
    if live is None:
        return _Judged(request)
    login = _login(request, live)
    annotations = live["metadata"].get("annotations") or {}
    text = annotations.get(EXPIRES_ANNOTATION)
    stalled = _stalled(live, text, rotation_days)
    if live.get("immutable"):
        return _Judged(request, stalled)
    due = replace(request, replaces=live["metadata"]["resourceVersion"])
    if secret_text(live, NEXT):
        if settled:
            why = f"{login.other} is going to log in in place of {login.username}."
            return _Judged(due, stalled, Finding("RotatingPasswords", why), phase=KeysPhase.PUBLISHING)
        why = f"The next password, of {login.other}, is made known to the database {names.sql_name(view.owner.name)}."
        return _Judged(request, stalled, Finding("RotatingPasswords", why), phase=KeysPhase.PUBLISHING)
    if secret_text(live, PREVIOUS):
        using = users(view, wanted, login.other)
        over = read_time(annotations.get(OVERLAP_ANNOTATION)) or view.now  # a hand that wrote no time ended it
        waits = (
            Finding("RotatingPasswords", f"Pods that log in as {login.other} are being replaced: {', '.join(using)}.") if using else None
        )
        phase = KeysPhase.SWITCHING if using else KeysPhase.OVERLAPPING
        return _Judged(due if settled and not using and view.now >= over else request, stalled, waits, over, phase)
    wish = _wish(live, text, rotation_days)
    return _Judged(due if settled and wish and view.now >= wish else request, stalled, at=wish, phase=KeysPhase.STABLE)


def _stalled(live: Manifest, asked: str | None, rotation_days: int) -> Finding | None:
    """What keeps a password from being rotated that is to be, as somebody noted on its Secret, or by the schedule. The latter is told long
    before it is due: for as long as it is not, the schedule looks as if it were kept."""
    name = live["metadata"]["name"]
    if asked is not None and (why := not_rotated(live, asked)):
        return Finding("PasswordNotRotated", f"Secret {name!r} has the annotation {EXPIRES_ANNOTATION}, but {why}.")
    if rotation_days and live.get("immutable"):
        return Finding(
            "PasswordNotRotated",
            f"spec.keys.passwordRotationDays is {rotation_days}, but Secret {name!r} is immutable: delete it, it comes back with what it "
            "held and can be changed.",
        )
    return None


def not_rotated(live: Manifest, asked: str | None) -> str | None:
    """Why a password that somebody asks to be another can not be, after a `but`. `asked`: by an annotation of this value."""
    if live.get("immutable"):
        return "it is immutable: delete it, it comes back with what it held and can be changed, and set the annotation again"
    if asked is not None and read_time(asked) is None:
        return "its value is no time: write one such as 2026-01-31T00:00:00Z"
    return None


def _wish(live: Manifest, asked: str | None, rotation_days: int) -> datetime | None:
    """When another password is wanted: as somebody noted on the Secret, or by the schedule."""
    metadata = live["metadata"]
    since = read_time((metadata.get("annotations") or {}).get(ROTATED_ANNOTATION)) or read_time(metadata.get("creationTimestamp"))
    scheduled = since + timedelta(days=rotation_days) if rotation_days and since else None
    return min((each for each in (read_time(asked), scheduled) if each), default=None)


def workloads_of(manifests: Iterable[Manifest]) -> Workloads:
    """Who is to log in to the database, and as whom. They may have to wait for their turn to be led there (one_at_a_time.py)."""
    found = {(each["kind"], each["metadata"]["name"]): _said(_template(each)) for each in manifests}
    return {key: said for key, said in found.items() if said is not None}


def users(view: View, wanted: Workloads, username: str) -> list[str]:
    """Who may still log in with a name: workloads that are not rolled out as they are wanted now, and pods that were made with it, those
    that are going included."""
    made = []
    for (kind, name), said in wanted.items():
        live = view.children.get((kind, name))
        if live is None:
            continue
        current = _said(_template(live))
        if current != said or username in said.split(",") or (kind == DEPLOYMENT.name and not rolled_out(live)):
            made.append(name)
    made += [each["metadata"]["name"] for each in view.all(POD) if username in (_said(each) or "").split(",") and not _over(each)]
    return made


def _over(pod: Manifest) -> bool:
    """Whether nothing runs in a pod any more, as in those that are kept of a CronJob's runs."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _template(workload: Manifest) -> Manifest:
    """The template of a Deployment's or a CronJob's pods; empty of anything else."""
    spec = workload.get("spec") or {}
    if workload["kind"] == CRON_JOB.name:
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    elif workload["kind"] != DEPLOYMENT.name:
        return {}
    return spec.get("template") or {}


def _said(pod: Manifest) -> str | None:
    found = ((pod.get("metadata") or {}).get("annotations") or {}).get(LOGINS_ANNOTATION)
    return None if found is None else str(found)
