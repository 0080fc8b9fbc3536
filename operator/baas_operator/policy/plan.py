"""What a decision is: manifests to have, secrets to draw, effects to bring about, and the status to tell.

A plan is derived from a View alone and may be made and thrown away at any time: the engine carries it out in order and, whatever
happens between two steps, the next plan starts from what is then there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from baas_operator.api.operation import Action, LetterFilter
from baas_operator.desired.meta import Manifest
from baas_operator.desired.needs import Ref
from baas_operator.desired.secrets import SecretRequest
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, ZONE_TOLERANT, Condition
from baas_operator.observe.text import sentence


@dataclass(frozen=True)
class PatchAnnotation:
    """Set one annotation of an object that another program owns, only if the object is still at `version`."""

    kind: str
    name: str
    key: str
    value: str
    version: str


@dataclass(frozen=True)
class EnsureStream:
    """Create or update a JetStream stream."""

    config: Mapping[str, Any]
    exists: bool


@dataclass(frozen=True)
class EnsureConsumer:
    """Create or update a durable consumer of a stream."""

    stream: str
    config: Mapping[str, Any]
    exists: bool


@dataclass(frozen=True)
class DeleteStream:
    """Delete a stream with its messages, if its own mark still says that it is this queue's."""

    name: str
    queue: str


@dataclass(frozen=True)
class DeleteConsumer:
    """Delete a consumer with its place in the stream, if its own mark still says that it is this queue's, or its name that it is a
    webhook's."""

    stream: str
    name: str
    queue: str


@dataclass(frozen=True)
class StepDown:
    """Have another server lead a stream, or a consumer of it, or, without either, JetStream's metadata."""

    to: str
    stream: str | None = None
    consumer: str | None = None


@dataclass(frozen=True)
class Evacuate:
    """Have a stream's copy, and its consumers', moved from a server to another. The old one goes at once: there is a copy less until
    the new one is filled."""

    stream: str
    server: str


@dataclass(frozen=True)
class RemoveServer:
    """Strike a server that is gone off those that know which streams there are. One of that name is taken in again 5 minutes later."""

    server: str


QueueEffect = EnsureStream | EnsureConsumer | DeleteStream | DeleteConsumer | StepDown | Evacuate | RemoveServer


@dataclass(frozen=True)
class GrowVolume:
    """Ask for a larger volume. Whether it can grow is up to its StorageClass."""

    claim: str
    size: str


@dataclass(frozen=True)
class Switchover:
    """Ask the agent beside the leader to hand over. It looks once more and refuses what would not work."""

    database: str
    leader: str
    leader_ip: str
    candidate: str
    patient: bool = False
    """Whether it had better wait for a calm moment, as the node is being drained."""


@dataclass(frozen=True)
class StartOperation:
    """Make an Operation, unless there is one of its name: then that is it."""

    manifest: Manifest


@dataclass(frozen=True)
class Discard:
    """Delete an Operation that has been over for long."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeletePod:
    """Let a workload make one of its pods anew: this very one, by its uid."""

    name: str
    uid: str


@dataclass(frozen=True)
class TellPod:
    """Write an annotation on a pod, this very one by its uid: its kubelet then looks at once what it mounts."""

    name: str
    uid: str
    key: str
    value: str


@dataclass(frozen=True)
class Scale:
    """Have a workload, of that kind, run so many pods, only if it is still at `version`. What manifests say of it stays as it is: they are
    applied before an operand was asked, and the number follows from what that says."""

    kind: str
    name: str
    replicas: int
    version: str


@dataclass(frozen=True)
class Apply:
    """Apply a manifest that follows from what an operand says, for the same reason. The next plan, made before anybody was asked, has to
    have it the same: what was decided is read off the live object."""

    manifest: Manifest


@dataclass(frozen=True)
class RestartPostgres:
    """Ask a member's Patroni to restart PostgreSQL in its place."""

    name: str
    ip: str


@dataclass(frozen=True)
class Reclone:
    """Ask a standby's Patroni to copy the primary anew, over what it has. It is asked once more how the standby is doing."""

    name: str
    ip: str


@dataclass(frozen=True)
class ReplaceVolume:
    """Delete a pod that has no place and, before it, the claim of its volume, each this very one by its uid: they are made anew elsewhere.
    Only if the volume can still be used on no other host than the `node` that is gone; that is looked at once more."""

    pod: str
    pod_uid: str
    claim: str
    claim_uid: str
    node: str


@dataclass(frozen=True)
class LetterWork:
    """How far an Operation on dead letters is. `last`: the sequence of the last letter that is meant, None while that is being decided.
    `looked_at`: the sequence that the step at work has come to. `problem`: why the last one came no further."""

    looked_at: int = 0
    last: int | None = None
    selected: int = 0
    done: int = 0
    left: int | None = None
    finished: bool = False
    problem: str = ""


@dataclass(frozen=True)
class WorkOnLetters:
    """Go on with replaying or purging dead letters, for some seconds. What came of it is the next LetterWork."""

    queue: str
    stream: str
    action: Action
    letters: LetterFilter
    rate: int | None
    limit: int | None
    operation_uid: str
    work: LetterWork


@dataclass(frozen=True)
class EnableWebhook:
    """Have dispatchers forget what a webhook was disabled for, and since when it fails. What was known is the Forgotten."""

    queue: str
    webhook: str


@dataclass(frozen=True)
class Forgotten:
    """What was known of a webhook's endpoint. `disabled`: why it was; None where it was not, or not any more."""

    disabled: str | None


Effect = (
    PatchAnnotation | QueueEffect | GrowVolume | Switchover | StartOperation | Discard | DeletePod | RestartPostgres | Reclone
    | ReplaceVolume | Scale | Apply | WorkOnLetters | EnableWebhook | TellPod
)  # fmt: skip
Came = LetterWork | Forgotten
"""What came of an effect, where the status has to tell."""


@dataclass(frozen=True)
class Plan:
    """A decision. `refused`: nothing is pruned, and nothing applied but what is in it all the same, the conditions say why. `finalizer`:
    whether the object should hold ours. `requeue_after`: seconds until the next look, where no event would tell of a change. `urgent`:
    manifests that are applied, with what they need, whatever else is refused or has to wait."""

    conditions: tuple[Condition, ...]
    status: Mapping[str, Any] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    urgent: frozenset[Ref] = frozenset()
    secrets: tuple[SecretRequest, ...] = ()
    effects: tuple[Effect, ...] = ()
    refused: bool = False
    finalizer: bool = False
    requeue_after: float | None = None


def refusal(finding: Finding, *, status: Mapping[str, Any] | None = None, ready: bool = False, beside: Sequence[Condition] = ()) -> Plan:
    """A plan that changes nothing, because the user must act first. `ready`: what runs goes on serving, and `status` and `beside`, other
    conditions, go on telling of it."""
    reason, message = finding.reason, finding.message
    return Plan(
        conditions=(
            Condition(READY, ready, reason, message),
            Condition(STALLED, True, reason, message),
            *beside,
        ),
        status=status or {},
        refused=True,
    )


@dataclass(frozen=True)
class Finding:
    """Why something is not as it should be: a reason for programs and a sentence for people."""

    reason: str
    message: str

    def __post_init__(self) -> None:
        """What others said may end the message, with a full stop or without."""
        object.__setattr__(self, "message", sentence(self.message))


def conditions(
    *, unready: Finding | None, incomplete: Finding | None, fragile: Finding | None, ready_message: str,
    tolerant_message: str, stuck: bool = False,
) -> tuple[Condition, ...]:  # fmt: skip
    """The usual conditions. `unready`: it does not serve; `incomplete`: it is not yet as asked; `fragile`: a zone may not be lost;
    `stuck`: what keeps it from serving does not pass before somebody acts."""
    made = [Condition(READY, False, unready.reason, unready.message) if unready else Condition(READY, True, "Serving", ready_message)]
    progress = unready or incomplete
    if progress:
        made.append(Condition(STALLED if stuck else RECONCILING, True, progress.reason, progress.message))
    made.append(
        Condition(ZONE_TOLERANT, False, fragile.reason, fragile.message)
        if fragile
        else Condition(ZONE_TOLERANT, True, "AnyZoneCanBeLost", tolerant_message)
    )
    return tuple(made)
