"""What a backend may reach, and use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from baas_operator.api.common import ApiModel, NamespaceName, Resources

Amount = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=20)]


class Peer(ApiModel):
    """Somebody in the cluster."""

    namespace: NamespaceName | None = None
    """Namespace; the instance's own when left out."""
    pod_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=10)] = {}
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
    egress: Annotated[list[Annotated[str, Field(pattern=r"^[0-9a-fA-F:.]+/[0-9]{1,3}$", max_length=50)]], Field(max_length=50)] = []
    """Networks (CIDR) that functions, workers, jobs and cloud code may reach; everything outside the cluster's own when left out."""
    quota: Annotated[dict[str, Amount], Field(max_length=30)] = {}
    """A ResourceQuota on the namespace, such as `requests.cpu: "8"`; none when left out."""
    limit_range: ContainerDefaults | None = None
    """A LimitRange on the namespace; none when left out."""
