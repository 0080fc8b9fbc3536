"""Webhooks: messages of a stream, delivered by HTTP as Standard Webhooks 1.0 says. And the outbox that brings rows into a stream."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import ApiModel, Cidr, DnsLabel, DnsSubdomain, LocalRef, Quantity, Resources, SecretRef, SqlName, rule, rules
from baas_operator.api.streams import Filters, StreamName

RETRY_SECONDS = [5, 300, 1800, 7200, 18000, 36000, 36000]
"""Svix, "Retry Schedule", which Standard Webhooks recommends to begin with."""


WebhookName = Annotated[DnsLabel, Field(max_length=30)]


class OrderBy(StrEnum):
    """What messages have in common that are delivered one after another."""

    NOTHING = "nothing"
    SUBJECT = "subject"
    HEADER = "header"


class Ordering(ApiModel):
    """Which messages are delivered in the order of the stream: the next only once the one before it was taken, or is a dead letter."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("(self.by == 'header') == has(self.header)", "ordering by a header needs its name in `header`, and nothing else does."),
        )
    )

    by: OrderBy = OrderBy.NOTHING
    """`nothing`: as they come, the fastest; `subject`: those of one subject; `header`: those with the same value of a header."""
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=100)] | None = None
    """Name of the message's header."""


class CircuitBreaker(ApiModel):
    """When an endpoint that fails is left alone for a while."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 10
    """Failures in a row, of connections, time limits and 5xx, after which nothing more is sent."""
    open_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """For so long; then one message at a time is tried until one is taken."""


class CloudEvents(ApiModel):
    """CloudEvents attributes of the deliveries, in `ce-` headers (binary content mode)."""

    source: Annotated[str, Field(max_length=300)] | None = None
    """`ce-source`; `/namespaces/NAMESPACE/eventqueues/NAME/streams/STREAM` when left out."""
    type: Annotated[str, Field(max_length=300)] | None = None
    """`ce-type`; the message's subject when left out."""


class Webhook(ApiModel):
    """An endpoint, and the messages that it is sent."""

    name: WebhookName
    """Name of the webhook."""
    stream: StreamName
    """Declared stream that its messages come from."""
    filters: Filters = []
    """Subjects that it gets; all of the stream's when left out."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+([/?][^\s#]*)?$", max_length=2000)]
    """Where messages are posted to. Names that lead to private addresses are refused, whenever they do."""
    secret_name: DnsSubdomain | None = None
    """Secret whose key `secret` holds `whsec_…`, or several with spaces between, all of which then sign. Left out, `NAME-webhook-WEBHOOK`
    is made."""
    enabled: bool = True
    """Whether messages are sent; while they are not, they wait in the stream."""
    rate_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Most deliveries a second, over all dispatchers; as fast as it answers when left out."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 20
    """Most deliveries under way at a time, of each dispatcher."""
    timeout_seconds: Annotated[int, Field(ge=1, le=120)] = 20
    """For how long an endpoint may take to answer."""
    max_payload: Quantity = "256Ki"
    """Messages that are larger become dead letters at once."""
    retry_seconds: Annotated[list[Annotated[int, Field(ge=1, le=604800)]], Field(min_length=1, max_length=20)] = RETRY_SECONDS
    """How long after a failure the next attempt is made, with up to a fifth more by chance; after the last one the message is a dead
    letter."""
    disable_after_hours: Annotated[int, Field(ge=1, le=8760)] = 120
    """So long nothing may succeed before the endpoint is disabled, as it is at once when it answers 410 (Gone)."""
    ordering: Ordering = Ordering()
    """Which messages are delivered one after another."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    """When an endpoint that fails is left alone for a while."""
    cloud_events: CloudEvents = CloudEvents()
    """CloudEvents attributes of the deliveries."""
    allow_networks: Annotated[list[Cidr], Field(max_length=20)] = []
    """Private networks that it may lead to, such as that of a cluster's Services. Loopback and link-local addresses stay refused."""
    ca: SecretRef | None = None
    """Secret whose key `ca.crt` has the authority that signed the endpoint's certificate, where no public one has."""


class Dispatcher(ApiModel):
    """The pods that deliver webhooks, keep dead letters and relay outboxes."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.maxReplicas >= self.replicas", "dispatcher.maxReplicas is below its replicas: raise it."))
    )

    replicas: Annotated[int, Field(ge=1, le=50)] = 2
    """Pods, spread over zones."""
    max_replicas: Annotated[int, Field(ge=1, le=50)] = 6
    """Pods that there may be while messages wait."""
    backlog_per_replica: Annotated[int, Field(ge=1)] = 10_000
    """Messages that wait for delivery for which one more pod is started."""
    resources: Resources = Resources()
    """CPU and memory of each."""


class Outbox(ApiModel):
    """A table whose rows become messages: what a transaction inserts is published once it has committed, and exactly once in the stream."""

    name: Annotated[DnsLabel, Field(max_length=30)]
    """Name of the outbox."""
    database_ref: LocalRef
    """DatabaseReplica that has the table."""
    database: SqlName
    """Declared database in it."""
    role: SqlName | None = None
    """Declared role that reads the table and deletes what was published; the database's owner when left out."""
    schema_: Annotated[SqlName, Field(alias="schema")] = "public"
    """Schema of the table."""
    table: SqlName = "outbox"
    """Table; it is made when it is not there."""
    stream: StreamName
    """Declared stream that its messages go to; a row's `subject` has to be one of the stream's."""
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 100
    """Rows that are published at a time."""
