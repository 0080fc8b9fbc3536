"""What the kinds share: the base model, bounds, and the small value objects of a spec.

A model here is the single source of truth: `crd.py` turns it into the CRD's schema, so a description, a bound or a CEL rule
is written once, beside the field. Rules that span fields are CEL (`rules(...)`), so that the API server refuses nonsense
before the operator ever sees it; the operator trusts what passed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_NAME_LENGTH = 40
"""Longest name of one of our objects: children add up to 23 characters and Services end at 63 (RFC 1035)."""

Quantity = Annotated[str, Field(pattern=r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti)$", max_length=20)]
"""A size in bytes with a binary suffix, such as `20Gi`."""

DnsLabel = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""An RFC 1035 label, which is what a Service may be called."""

NamespaceName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""An RFC 1123 label, which may begin with a digit."""

DnsSubdomain = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)]
"""An RFC 1123 subdomain, which is what most objects may be called."""

SqlName = Annotated[str, Field(pattern=r"^_*[a-z]([a-z0-9_]*[a-z0-9])?$", max_length=63)]
"""A PostgreSQL identifier that needs no quotes (PostgreSQL manual, 4.1.1; NAMEDATALEN - 1 = 63). One of `_` alone could not be part of
a Secret's name."""


PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
"""A TCP port as part of a pattern, 1 to 65535: nothing else bounds a number inside a text."""


class ApiModel(BaseModel):
    """Base of all API objects: camelCase on the wire, immutable in memory, unknown fields are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def stored(cls, said: object) -> Self:
        """What the cluster holds, as far as this operator knows it. The API server lets nobody write what its CRDs do not know; newer ones
        than this operator's fill in fields of theirs.

        Raises:
            pydantic.ValidationError: what it does know is not as it should be.
        """
        return cls.model_validate(said or {}, extra="ignore")


def rule(expression: str, message: str) -> dict[str, str]:
    """One CEL rule of a CRD schema: `message` is the sentence that the user reads when `expression` is false."""
    return {"rule": expression, "message": message}


def rules(*each: dict[str, str]) -> dict[str, Any]:
    """CEL rules as `json_schema_extra`, to be given to a model's config or to a Field."""
    return {"x-kubernetes-validations": list(each)}


def immutable(what: str, instead: str) -> dict[str, Any]:
    """A field that may be set at creation only; `instead` says what to do when it must change."""
    return rules(rule("self == oldSelf", f"{what} can not be changed: {instead}"))


Cidr = Annotated[str, Field(max_length=43, json_schema_extra=rules(rule(
    "isCIDR(self)", "this is no network: give an address and the length of its prefix, such as 10.20.0.0/16.",
)))]  # fmt: skip
"""A network, of either family."""

BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
"""A list whose items are known by their names (Kubernetes documentation, "Merge strategy")."""


class DeletionPolicy(StrEnum):
    """What happens to data when its object is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


def storage_rules() -> tuple[dict[str, str], ...]:
    """What a change of a volume may not do."""
    return (
        rule(
            "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
            "storage.size can not shrink: a volume only grows. Give the same size or a larger one.",
        ),
        rule(
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "storage.storageClassName can not be changed: create a new object with the other class and move the data.",
        ),
    )


class StorageSpec(ApiModel):
    """The volume of each member."""

    model_config = ConfigDict(json_schema_extra=rules(*storage_rules()))

    size: Quantity = "5Gi"
    """Size of each member's volume. It can grow where the storage class allows it, never shrink."""
    storage_class_name: DnsSubdomain | None = None
    """StorageClass of the volumes; the cluster's default class when left out."""


class Resources(ApiModel):
    """CPU and memory of a container, as Kubernetes quantities."""

    class Amounts(ApiModel):
        """An amount of CPU and of memory."""

        cpu: Annotated[str, Field(pattern=r"^([1-9][0-9]*m|[0-9]+(\.[0-9]+)?)$", max_length=12)] | None = None
        """Cores, such as `500m` or `2`."""
        memory: Quantity | None = None
        """Memory, such as `512Mi`."""

    requests: Amounts | None = None
    """What the scheduler sets aside for the container; where nothing is said a small amount, and never more than the limit."""
    limits: Amounts | None = None
    """What the container may use at the most."""


class LocalRef(ApiModel):
    """The name of an object in the same namespace."""

    name: Annotated[DnsLabel, Field(max_length=MAX_NAME_LENGTH)]
    """Name of the object, in the namespace of this one."""


class SecretRef(ApiModel):
    """The name of a Secret in the same namespace."""

    name: DnsSubdomain
    """Name of the Secret, in the namespace of this object."""


class Condition(ApiModel):
    """A condition by the Kubernetes API conventions."""

    type: Annotated[str, Field(max_length=63)]
    """What the condition is about."""
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=128)]
    """Why, as one PascalCase word that programs can match."""
    message: Annotated[str, Field(max_length=4096)]
    """Why, as a sentence for people."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    observed_generation: int | None = None
    """The generation of the spec that the condition speaks of."""


class StatusBase(ApiModel):
    """What every status has."""

    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""
    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Conditions: `Ready` is always there; `Reconciling`, `Stalled` and `Suspended` only while they are true."""
