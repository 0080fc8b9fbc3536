"""The gateway of a backend: how it is reached, who may come in, and how much."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import PORT, ApiModel, DnsSubdomain, NamespaceName, rule, rules
from baas_operator.api.instance.component import Component, ConfigName

Host = Annotated[
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=253)
]  # fmt: skip
"""A host name, as certificates have it (RFC 1123), without wildcards."""


class ServiceType(StrEnum):
    """How the gateway is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ExternalTraffic(StrEnum):
    """Where what comes to a node from outside of the cluster goes."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class GatewayService(ApiModel):
    """The Service in front of the gateway."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.nodePort) || self.type != 'ClusterIP'",
                "service.nodePort needs service.type NodePort or LoadBalancer: set the type or leave the port out.",
            ),
            rule(
                "self.externalTrafficPolicy == 'Cluster' || self.type != 'ClusterIP'",
                "service.externalTrafficPolicy Local needs service.type NodePort or LoadBalancer: set the type or leave the policy out.",
            ),
        )
    )

    type: ServiceType = ServiceType.CLUSTER_IP
    """Type of the Service."""
    node_port: Annotated[int, Field(ge=30000, le=32767)] | None = None
    """Port on every node, which leads to HTTPS where TLS ends at the gateway; Kubernetes chooses one when left out."""
    external_traffic_policy: ExternalTraffic = ExternalTraffic.CLUSTER
    """Of NodePort and LoadBalancer. `Cluster`: any node leads to any gateway, which takes that node's address for the client's. `Local`: a
    node leads to its own gateways alone, which see the client's address; one without any takes nothing."""


class IssuerRef(ApiModel):
    """An issuer of cert-manager."""

    name: DnsSubdomain
    """Name of the issuer."""
    kind: Annotated[str, Field(json_schema_extra={"enum": ["Issuer", "ClusterIssuer"]})] = "Issuer"
    """`Issuer` in the same namespace, or `ClusterIssuer`."""


class GatewayTls(ApiModel):
    """TLS at the gateway. Plain HTTP is then answered with a redirect, but to the names of its Service, which are for clients inside the
    cluster."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.secretName) != has(self.issuerRef)",
                "tls has one of secretName (a certificate of your own) and issuerRef (cert-manager makes one for spec.hosts).",
            )
        )
    )

    secret_name: ConfigName | None = None
    """Secret of type kubernetes.io/tls. When it is renewed the gateway takes it up without a restart."""
    issuer_ref: IssuerRef | None = None
    """Issuer of cert-manager that signs a certificate for `spec.hosts`."""


class Cors(ApiModel):
    """Which web pages may call the backend from a browser."""

    origins: Annotated[list[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$", max_length=300)]], Field(max_length=50)] = ["*"]
    """Origins, such as `https://shop.example`; `*` stands for all."""


class KeyLimit(ApiModel):
    """How much one client may ask for."""

    requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)]
    """Requests a second, on average."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests at once; twice `requestsPerSecond` when left out."""


class Limits(ApiModel):
    """How much is let in. What is more is answered with 429 and Retry-After."""

    total: KeyLimit | None = None
    """Of all clients together; no limit when left out."""
    per_client: KeyLimit | None = None
    """Of each client: a signed-in user, else an address; probers are none. No limit when left out."""
    body_bytes: Annotated[int, Field(ge=1024, le=5 * 2**30)] = 50 * 2**20
    """Largest body of a request."""
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Longest time that the answer to a request may take. Files have five minutes, functions and meta a minute, and data what statements
    may take (`rest.statementSeconds`), where that is longer."""


class IngressOptions(ApiModel):
    """An Ingress for `spec.hosts`."""

    class_name: DnsSubdomain | None = None
    """IngressClass; the cluster's default when left out."""


class ParentRef(ApiModel):
    """A Gateway of the Gateway API."""

    name: DnsSubdomain
    """Name of the Gateway."""
    namespace: NamespaceName | None = None
    """Its namespace; this one when left out."""
    section_name: DnsSubdomain | None = None
    """Its listener; all when left out."""


class Tracing(ApiModel):
    """Where traces go."""

    endpoint: Annotated[str, Field(pattern=rf"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?:{PORT}$", max_length=300)]
    """Host and port of an OpenTelemetry collector (OTLP over gRPC)."""
    sample_percent: Annotated[int, Field(ge=0, le=100)] = 1
    """Requests that a trace begins with here, of those that bring none."""


class Gateway(Component):
    """Envoy, the way in."""

    service: GatewayService = GatewayService()
    """The Service in front of it."""
    tls: GatewayTls | None = None
    """TLS; plain HTTP when left out."""
    cors: Cors = Cors()
    """Which web pages may call it."""
    limits: Limits = Limits()
    """How much is let in."""
    ingress: IngressOptions | None = None
    """Make an Ingress that leads to it."""
    http_route: Annotated[ParentRef, Field()] | None = None
    """Make an HTTPRoute of the Gateway API that leads to it, attached to this Gateway."""
    tracing: Tracing | None = None
    """Traces; trace context of clients is passed on also without."""
