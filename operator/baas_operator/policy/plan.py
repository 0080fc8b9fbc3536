"""What a decision is: manifests to have, secrets to draw, effects to bring about, and the status to tell.

A plan is derived from a View alone and may be made and thrown away at any time: the engine carries it out in order and, whatever
happens between two steps, the next plan starts from what is then there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baas_operator.desired.meta import Manifest
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


Effect = (
    PatchAnnotation | EnsureStream | GrowVolume | Switchover | StartOperation | Discard | DeletePod | RestartPostgres | Reclone
    | ReplaceVolume
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A decision. `refused`: nothing is applied or pruned, the conditions say why. `finalizer`: whether the object should hold
    ours. `requeue_after`: seconds until the next look, where no event would tell of a change."""

    conditions: tuple[Condition, ...]
    status: Mapping[str, Any] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    secrets: tuple[SecretRequest, ...] = ()
    effects: tuple[Effect, ...] = ()
    refused: bool = False
    finalizer: bool = False
    requeue_after: float | None = None


def refusal(reason: str, message: str, *, status: Mapping[str, Any] | None = None, ready: bool = False) -> Plan:
    """A plan that changes nothing, because the user must act first. `ready`: what runs goes on serving."""
    return Plan(
        conditions=(
            Condition(READY, ready, reason, message),
            Condition(STALLED, True, reason, message),
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
