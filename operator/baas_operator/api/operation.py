"""Operation: one thing done once to one of the other kinds, with its steps and its measured result kept to be read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import MAX_NAME_LENGTH, ApiModel, DnsLabel, StatusBase, rule, rules


class Action(StrEnum):
    """What can be done."""

    SWITCHOVER = "switchover"


class TargetKind(StrEnum):
    """What it can be done to."""

    DATABASE_REPLICA = "DatabaseReplica"


class Target(ApiModel):
    """The object that it is done to, in the same namespace."""

    kind: TargetKind = TargetKind.DATABASE_REPLICA
    """Kind of the object."""
    name: Annotated[DnsLabel, Field(max_length=MAX_NAME_LENGTH)]
    """Name of the object."""


class Parameters(ApiModel):
    """Parameters of the action."""

    to: Annotated[str, Field(max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """switchover: member that becomes the primary; the one with the least lag when left out."""


class OperationSpec(ApiModel):
    """What is to be done. It can not be changed: create another Operation instead."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "an Operation can not be changed once it exists: create another one."),
        )
    )

    target: Target
    """The object that it is done to."""
    action: Action
    """What is done: `switchover` makes another member of a DatabaseReplica the primary."""
    parameters: Parameters = Parameters()
    """Parameters of the action."""
    reason: Annotated[str, Field(max_length=500)] | None = None
    """Why, for people to read; the operator says it in the Operations that it makes itself."""
    timeout_seconds: Annotated[int, Field(ge=5, le=3600)] = 120
    """This long after its creation it is given up, which leaves everything as it then is; what was not begun by then never is."""


class OperationPhase(StrEnum):
    """How far it is; the last three are final. One at a time is carried out on an object: the others are `Pending`."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    REFUSED = "Refused"
    FAILED = "Failed"

    @property
    def over(self) -> bool:
        """Whether nothing comes after it."""
        return self in (OperationPhase.SUCCEEDED, OperationPhase.REFUSED, OperationPhase.FAILED)


class OperationStep(ApiModel):
    """One step of it."""

    name: str
    """Name of the step."""
    started_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When it began."""
    finished_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When it was done."""


class OperationResult(ApiModel):
    """What came of it."""

    from_member: str | None = None
    """switchover: the primary before."""
    to_member: str | None = None
    """switchover: the primary after; only of one that succeeded."""
    duration_seconds: float | None = None
    """From the request to the new primary being routed to, in seconds, as the operator saw it."""


class OperationStatus(StatusBase):
    """How far it is and what came of it."""

    phase: OperationPhase | None = None
    """How far it is."""
    steps: Annotated[
        list[OperationStep],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = []
    """Its steps so far."""
    candidate: str | None = None
    """switchover: member that is to become the primary, once that is decided."""
    result: OperationResult | None = None
    """What came of it."""
