"""What the operator sees of a backend."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from baas_operator.api.common import BY_NAME, ApiModel, StatusBase
from baas_operator.api.instance.keys import KeysStatus, PasswordsStatus


class ComponentStatus(ApiModel):
    """One component."""

    name: str
    """Name of the component."""
    replicas: int
    """Pods that are wanted."""
    ready: int
    """Pods that are ready."""
    zones: int
    """Zones that those are in."""
    reason: str | None = None
    """Why it is not as wanted, when it is not."""


class ProbeStatus(ApiModel):
    """What came of one synthetic transaction, in each zone that it is made from."""

    transaction: str
    """Name of the transaction."""
    zones: list[str] = []
    """Zones from which it succeeds."""
    failing: list[str] = []
    """Zones from which it has failed twice in a row, or more often."""
    last_failure_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When it last began to fail, from any zone."""
    last_failure: str | None = None
    """How, from which zone."""


class ProgramStatus(ApiModel):
    """One worker or job."""

    name: str
    """Name of the program."""
    kind: Annotated[str, Field(json_schema_extra={"enum": ["Worker", "Job"]})]
    """Which of the two it is."""
    replicas: int | None = None
    """Pods that a worker should have now."""
    ready: int | None = None
    """Pods of it that are ready."""
    backlog: int | None = None
    """Messages that wait for a worker, those that are under way included; two digits of it are exact."""
    last_run_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When a job last began."""
    last_run: Annotated[str, Field(json_schema_extra={"enum": ["Running", "Succeeded", "Failed"]})] | None = None
    """What became of that run."""
    last_success_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When a run of a job last succeeded."""
    reason: str | None = None
    """Why it is not as wanted, when it is not."""


class BaasInstanceStatus(StatusBase):
    """What the operator sees of a backend."""

    endpoint: str | None = None
    """Address of the gateway inside the cluster."""
    database: str | None = None
    """DatabaseReplica that is used."""
    queue: str | None = None
    """EventQueue that is used."""
    replicas: int | None = None
    """Gateway pods that exist."""
    selector: str | None = None
    """Label selector of the gateway's pods, for the scale subresource."""
    keys: KeysStatus | None = None
    """The keys that tokens are signed with."""
    passwords: PasswordsStatus | None = None
    """The passwords that components log in to the database with."""
    components: Annotated[
        list[ComponentStatus],
        Field(json_schema_extra=BY_NAME),
    ] = []
    """The components."""
    probes: Annotated[
        list[ProbeStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["transaction"]}),
    ] = []
    """Synthetic transactions, as they went lately."""
    programs: Annotated[
        list[ProgramStatus],
        Field(json_schema_extra=BY_NAME),
    ] = []
    """Workers and jobs."""
