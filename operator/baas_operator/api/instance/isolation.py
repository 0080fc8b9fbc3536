"""What a backend may reach, and use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from baas_operator.api.common import ApiModel, Cidr, NamespaceName, Resources, rule, rules
from baas_operator.api.placement import LABEL_KEY, LABEL_KEY_LENGTH, LABEL_VALUE, LabelValue

Amount = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=20)]


class Peer(ApiModel):
    """Somebody in the cluster."""

    namespace: NamespaceName | None = None
    """Namespace; the instance's own when left out."""
    pod_labels: Annotated[
        dict[str, LabelValue],
        Field(
            max_length=10,
            json_schema_extra=rules(
                rule(
                    f"self.all(k, size(k) <= {LABEL_KEY_LENGTH} && k.matches('{LABEL_KEY}'))",
                    "isolation.clients has a key that no label can have: use letters, digits, '-', '_', '.', and a prefix with '/'.",
                )
            )
            | {"additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE}},
        ),
    ] = {}
    """Labels of the pods; all pods of the namespace when left out."""


class ContainerDefaults(ApiModel):
    """What a container of the namespace has that says nothing itself."""

    default: Resources.Amounts | None = None
    """Limits."""
    default_request: Resources.Amounts | None = None
    """Requests."""


class Isolation(ApiModel):
    """What the pods of a backend may reach and use."""

    network_policy: bool = True
    """Let each pod reach, and be reached by, those that it has to do with, and nobody else (the cluster's network has to enforce it)."""
    clients: Annotated[list[Peer], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Who may reach the gateway; everybody when left out."""
    egress: Annotated[list[Cidr], Field(max_length=50)] = []
    """Networks (CIDR) that functions, workers, jobs, cloud code and auth (mail relays, identity providers) may reach; everything outside
    the cluster's own when left out."""
    quota: Annotated[dict[str, Amount], Field(max_length=30)] = {}
    """A ResourceQuota on the namespace, such as `requests.cpu: "8"`; none when left out."""
    limit_range: ContainerDefaults | None = None
    """A LimitRange on the namespace; none when left out."""
