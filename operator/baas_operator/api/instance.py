"""BaasInstance: one backend, a gateway and its components over a database and a queue."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import (
    ApiModel,
    DeletionPolicy,
    LocalRef,
    Resources,
    SqlName,
    StatusBase,
    immutable,
    rule,
    rules,
)


class Engine(StrEnum):
    """Which backend is run."""

    SUPABASE = "supabase"


class Component(ApiModel):
    """What every component lets the user say."""

    replicas: Annotated[int, Field(ge=1, le=50)] = 3
    """Pods, spread over the zones."""
    resources: Resources = Resources()
    """CPU and memory of each pod."""
    image: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Image; the operator's own default when left out."""


class ServiceType(StrEnum):
    """How the gateway is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class GatewayService(ApiModel):
    """The Service in front of the gateway."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.nodePort) || self.type != 'ClusterIP'",
                "service.nodePort needs service.type NodePort or LoadBalancer: set the type or leave the port out.",
            )
        )
    )

    type: ServiceType = ServiceType.CLUSTER_IP
    """Type of the Service."""
    node_port: Annotated[int, Field(ge=30000, le=32767)] | None = None
    """Port on every node; Kubernetes chooses one when left out."""


class Gateway(Component):
    """Envoy, the way in."""

    service: GatewayService = GatewayService()
    """The Service in front of it."""


class Rest(Component):
    """PostgREST, the data API."""

    schemas: Annotated[
        list[SqlName],
        Field(
            min_length=1,
            max_length=20,
            json_schema_extra=rules(
                rule(
                    "self.all(s, !s.startsWith('pg_') && s != 'information_schema')",
                    "rest.schemas has a system schema (pg_*, information_schema): exposing those gives the catalogue away. Name your own.",
                )
            ),
        ),
    ] = ["public"]
    """Schemas that the API shows; the first is the default."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Most rows of one answer."""


class Components(ApiModel):
    """The components of the backend."""

    gateway: Gateway = Gateway()
    """Envoy: routes, key checks, health checks."""
    rest: Rest = Rest()
    """PostgREST: tables and functions of the database over HTTP."""


class BaasInstanceSpec(ApiModel):
    """What the user wants of a backend; an empty spec is highly available."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.databaseRef) == has(oldSelf.databaseRef)",
                "databaseRef can not be added or removed later: the data would stay behind. Create a new BaasInstance.",
            ),
            rule(
                "has(self.queueRef) == has(oldSelf.queueRef)",
                "queueRef can not be added or removed later: the messages would stay behind. Create a new BaasInstance.",
            ),
        )
    )

    engine: Annotated[Engine, Field(json_schema_extra=immutable(
        "engine", "create a new BaasInstance with the other engine.",
    ))] = Engine.SUPABASE  # fmt: skip
    """Which backend is run: `supabase`."""
    database_ref: Annotated[LocalRef, Field(json_schema_extra=immutable(
        "databaseRef", "create a new BaasInstance on the other database.",
    ))] | None = None  # fmt: skip
    """DatabaseReplica to use; one named `NAME-db` is made when left out."""
    queue_ref: Annotated[LocalRef, Field(json_schema_extra=immutable(
        "queueRef", "create a new BaasInstance on the other queue.",
    ))] | None = None  # fmt: skip
    """EventQueue to use; one named `NAME-events` is made when left out."""
    components: Components = Components()
    """The components and their sizes."""
    suspend: bool = False
    """While true the operator leaves everything as it is; the backend itself goes on."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """`Retain` keeps keys, and the data of the database and the queue that were made for this object, when it is deleted."""


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
    components: Annotated[
        list[ComponentStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = []
    """The components."""
