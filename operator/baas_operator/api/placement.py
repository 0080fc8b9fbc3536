"""Where a database's primary should be, and when the operator may move it there by itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from baas_operator.api.common import ApiModel

Zone = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)]
"""A zone as nodes are labelled with it (a label's value)."""


class Placement(ApiModel):
    """Where members should be."""

    preferred_zones: Annotated[list[Zone], Field(max_length=10, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Zones for the primary, the best first. A failover goes where the most of the log is; once the database is whole again, the primary
    is moved to the best of these zones that has a fit standby: in `maintenanceWindows`, or at any time where there are none."""


class MaintenanceWindow(ApiModel):
    """A time, again and again, at which clients bear a stall of a second."""

    schedule: Annotated[str, Field(pattern=r"^[0-9A-Za-z*/,#-]+( [0-9A-Za-z*/,#-]+){4}$", max_length=100)]
    """When it opens, as a cron line of five fields: `0 2 * * SUN`."""
    duration_minutes: Annotated[int, Field(ge=5, le=10080)] = 60
    """How long it is open."""
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", max_length=64)] = "Etc/UTC"
    """Time zone of the schedule by its IANA name: `Europe/Berlin`."""
