"""Where a database's pods may be, where its primary should be, and when the operator may move it there by itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import ApiModel, rule, rules

Zone = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)]
"""A zone as nodes are labelled with it (a label's value)."""


LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_KEY_LENGTH = 253 + 1 + 63
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
"""Kubernetes documentation, "Labels and Selectors", "Syntax and character set"; taints have the same."""
LabelKey = Annotated[str, Field(pattern=LABEL_KEY, max_length=LABEL_KEY_LENGTH)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)]


class TolerationOperator(StrEnum):
    """How a toleration is compared with a taint."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A toleration of a taint, as pods have it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.key) || self.operator == 'Exists'",
                "a toleration without a key is for all taints: set its operator to Exists, or give the key.",
            ),
            rule(
                "!has(self.value) || self.operator == 'Equal'",
                "a toleration with operator Exists is for any value: leave the value out, or set operator to Equal.",
            ),
            rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds say how long a pod stays where it would be evicted: set effect to NoExecute, or leave them out.",
            ),
        )
    )

    key: LabelKey | None = None
    """Key of the taint; any, with operator `Exists`, when left out."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """`Equal`: the taint's value has to be `value`. `Exists`: whatever it is."""
    value: LabelValue | None = None
    """Value of the taint; the empty one when left out."""
    effect: TaintEffect | None = None
    """Effect of the taint; any when left out."""
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """Seconds for which a pod stays on a node with a `NoExecute` taint; for ever when left out."""


class NodePlacement(ApiModel):
    """Which nodes pods may be on."""

    node_selector: Annotated[
        dict[str, LabelValue],
        Field(
            max_length=20,
            json_schema_extra=rules(
                rule(
                    f"self.all(k, size(k) <= {LABEL_KEY_LENGTH} && k.matches('{LABEL_KEY}'))",
                    "placement.nodeSelector has a key that no label can have: use letters, digits, '-', '_', '.', and a prefix with '/'.",
                )
            )
            | {"additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}},
        ),
    ] = {}
    """Labels of the nodes that pods may run on; any when empty. Only zones that have such nodes count. A change rolls the pods; one whose
    volume is on no such node does not start again until there is one."""
    tolerations: Annotated[list[Toleration], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Taints of nodes that pods may run on all the same. A change rolls the pods. The list is one whole, as in a pod: nothing in an item is
    its name."""


class Placement(NodePlacement):
    """Where a database's members should be."""

    preferred_zones: Annotated[list[Zone], Field(max_length=10, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Zones for the primary, the best first. A failover goes where the most of the log is; once the database is whole again, the primary
    is moved to the best of these zones that has a fit standby: in `maintenanceWindows`, or at any time where there are none."""


ANYWHERE = NodePlacement()
"""That of kinds that have no say in it."""


class MaintenanceWindow(ApiModel):
    """A time, again and again, at which clients bear a stall of a second."""

    schedule: Annotated[str, Field(pattern=r"^[0-9A-Za-z*/,#-]+( [0-9A-Za-z*/,#-]+){4}$", max_length=100)]
    """When it opens, as a cron line of five fields: `0 2 * * SUN`."""
    duration_minutes: Annotated[int, Field(ge=5, le=10080)] = 60
    """How long it is open."""
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", max_length=64)] = "Etc/UTC"
    """Time zone of the schedule by its IANA name: `Europe/Berlin`."""
