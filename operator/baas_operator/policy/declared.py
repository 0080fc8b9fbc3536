"""What is declared inside PostgreSQL: whether it is so, which passwords are due, and what PostgreSQL refuses.

What PostgreSQL refuses is for the user to change, and takes nothing from what serves: `Ready` stays, `Stalled` has the sentences.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import POD, SECRET
from baas_operator.desired.database import names
from baas_operator.desired.database.build import database_secrets
from baas_operator.desired.database.declared import digest
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, SecretRequest
from baas_operator.observe.conditions import READY, is_true
from baas_operator.observe.database import annotations_of
from baas_operator.observe.instance import job_refusals, job_succeeded, job_trouble
from baas_operator.observe.moments import read_time
from baas_operator.observe.text import counted, shorten
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.plan import Finding

_QUOTED = 3
"""So many refusals are told; the Job's log has all."""
_QUOTE = 200


@dataclass(frozen=True)
class Declared:
    """`pending`: it is not so yet. `refused`: it will not be before somebody changes something. `ever`: it was once, or all but what was
    refused, so that what is pending is a change and no reason not to be Ready."""

    pending: Finding | None = None
    refused: Finding | None = None
    ever: bool = True


def passwords(view: View, spec: DatabaseReplicaSpec) -> str:
    """The digest of the passwords as they are now in their Secrets."""
    return digest(spec, view.owner, lambda name: secret_text(view.child(SECRET, name), "password"))


def judge(view: View, spec: DatabaseReplicaSpec, job: str | None, leader: str | None) -> Declared:
    """How it stands with the Job of that name (None: none is wanted), and with the parameters on the leader."""
    refusals = job_refusals(view, job) if job and not job_succeeded(view, job) else []
    refused = _refused(refusals, _parameters(view, spec, leader)) or _not_rotated(view, spec)
    if job is None or job_succeeded(view, job) or refusals:
        return Declared(refused=refused)
    trouble = job_trouble(view, "databases")
    why = f" {trouble}" if trouble else ""
    pending = Finding("CreatingDatabases", f"The databases and roles of the spec are being made.{why}")
    ever = (view.resource.get("status") or {}).get("declaredOnce") is True or is_true(view.resource, READY)
    return Declared(pending, refused, ever=ever)


def _refused(declarations: list[str], parameters: list[str]) -> Finding | None:
    sentences = declarations + parameters
    told = "; ".join(shorten(each, _QUOTE) for each in sentences[:_QUOTED])
    more = f"; and {len(sentences) - _QUOTED} more" if len(sentences) > _QUOTED else ""
    message = f"PostgreSQL refuses {counted(len(sentences), 'part')} of the spec, and has the others: {told}{more}"
    if declarations:
        return Finding("DeclarationRefused", message)
    return Finding("ParameterRefused", message) if parameters else None


def _parameters(view: View, spec: DatabaseReplicaSpec, leader: str | None) -> list[str]:
    """What the agent beside the leader notes of parameters that are not as declared (agent/settings.py)."""
    pod = view.child(POD, leader) if leader else None
    try:
        found = json.loads(annotations_of(pod).get(names.PARAMETERS_ANNOTATION) or "{}")
    except (ValueError, RecursionError):
        return []  # a hand made it something else
    if not isinstance(found, dict):
        return []
    return [f"parameter {name}: {why}" for name, why in sorted(found.items()) if name in spec.parameters and isinstance(why, str)]


def _not_rotated(view: View, spec: DatabaseReplicaSpec) -> Finding | None:
    """A password that somebody asked to be another, and that can not be."""
    for request in database_secrets(spec, view.owner):
        live = view.child(SECRET, request.name)
        if live is None or EXPIRES_ANNOTATION not in annotations_of(live):
            continue
        if not request.rotates:
            why = "passwords that members and poolers read at their start can not be rotated yet: remove the annotation"
        elif live.get("immutable"):
            why = "it is immutable: delete it, it comes back with what it held and can be changed, and set the annotation again"
        elif _end(live) is None:
            why = "its value is no time: write one such as 2026-01-31T00:00:00Z"
        else:
            continue
        return Finding("PasswordNotRotated", f"Secret {request.name!r} has the annotation {EXPIRES_ANNOTATION}, but {why}.")
    return None


def with_due_passwords(view: View, requests: Iterable[SecretRequest], *, settled: bool) -> tuple[SecretRequest, ...]:
    """The requests; those whose password is to be another say which version of the Secret. `settled`: PostgreSQL has the passwords of the
    Secrets, and can be given others. Before that none is due, as the one that PostgreSQL has would be lost."""
    return tuple(_judged(view, each) if settled and each.rotates else each for each in requests)


def _judged(view: View, request: SecretRequest) -> SecretRequest:
    live = view.child(SECRET, request.name)
    if live is None or live.get("immutable") or (end := _end(live)) is None or view.now < end:
        return request
    return replace(request, replaces=live["metadata"]["resourceVersion"])


def _end(live: Manifest) -> datetime | None:
    """When a password ends; None if it does not, or a hand wrote something else."""
    return read_time(annotations_of(live).get(EXPIRES_ANNOTATION))
