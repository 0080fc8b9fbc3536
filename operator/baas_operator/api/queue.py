"""EventQueue: replicated durable queues on NATS JetStream, one server a zone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from baas_operator.api.common import BY_NAME, ApiModel, DeletionPolicy, Resources, SecretRef, StatusBase, StorageSpec, rule, rules
from baas_operator.api.placement import Placement
from baas_operator.api.streams import KeyValue, ObjectStore, QueueUser, Stream
from baas_operator.api.webhooks import Dispatcher, Outbox, Webhook


def _by_name(most: int) -> Any:
    return Field(max_length=most, json_schema_extra=BY_NAME)


class QueueDurability(StrEnum):
    """When an acknowledged message is on disk."""

    STRICT = "strict"
    BALANCED = "balanced"


class EventQueueSpec(ApiModel):
    """What the user wants of a replicated queue; an empty spec is highly available."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.webhooks) || self.webhooks.all(w, has(self.streams) && self.streams.exists(s, s.name == w.stream))",
                "webhooks names a stream that is not in streams: declare it there.",
            ),
            rule(
                "!has(self.outboxes) || self.outboxes.all(o, has(self.streams) && self.streams.exists(s, s.name == o.stream))",
                "outboxes names a stream that is not in streams: declare it there.",
            ),
        )
    )

    replicas: Annotated[int, Field(json_schema_extra={"enum": [1, 3, 5]} | rules(
        rule(
            "self >= oldSelf || self == 3",
            "replicas can not shrink to 1: streams would lose the copies that outlive a zone. Keep 3, or create a new EventQueue.",
        ),
        rule(  # measured: half a minute after it joined a cluster it deletes every stream that it had ("Detected orphaned stream")
            "oldSelf != 1 || self == 1",
            "replicas can not grow from 1: a NATS server that joins a cluster deletes the streams that it had alone. Create a new "
            "EventQueue with 3, and copy the streams with sources.",
        ),
    ))] = 3  # fmt: skip
    """Servers; an odd number, as Raft needs a majority."""
    durability: QueueDurability = QueueDurability.STRICT
    """`strict` has every acknowledged message on the disks of a majority; `balanced` syncs every second and may lose that much when
    all zones lose power at once."""
    storage: StorageSpec = StorageSpec()
    """The volume of each server."""
    streams: Annotated[list[Stream], _by_name(100)] = []
    """Streams to keep. One that is taken out of the list stays as it is, with its messages, unless its `deletionPolicy` is `Delete`."""
    key_values: Annotated[list[KeyValue], _by_name(100)] = []
    """Key-value stores to keep."""
    object_stores: Annotated[list[ObjectStore], _by_name(50)] = []
    """Object stores to keep."""
    users: Annotated[list[QueueUser], _by_name(50)] = []
    """Users with rights of their own, beside `app`, which may read and publish everything."""
    webhooks: Annotated[list[Webhook], _by_name(100)] = []
    """Endpoints that messages are delivered to by HTTP."""
    dispatcher: Dispatcher = Dispatcher()
    """The pods that deliver webhooks, keep dead letters and relay outboxes; there are none while nothing of that is declared."""
    outboxes: Annotated[list[Outbox], _by_name(20)] = []
    """Tables of databases whose rows become messages."""
    resources: Resources = Resources()
    """CPU and memory of each server."""
    placement: Placement = Placement()
    """Nodes that the servers may run on."""
    image: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Image of the servers; the operator's own default when left out."""
    image_pull_secrets: Annotated[list[SecretRef], _by_name(10)] = []
    """Secrets that the images are pulled with."""
    suspend: bool = False
    """While true the operator leaves everything as it is; the queue itself goes on. Certificates are not renewed
    meanwhile either: the last of them may run out a month later."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """`Retain` keeps volumes and passwords when this object is deleted, so that one of the same name takes them up again."""


class Server(ApiModel):
    """One NATS server."""

    name: str
    """Name of its pod."""
    zone: str | None = None
    """Zone of its node."""
    ready: bool
    """Whether its pod is ready."""
    meta_leader: bool = False
    """Whether it leads the cluster's metadata group."""
    leads: int | None = None
    """Streams that it leads."""


class CopyStatus(ApiModel):
    """How far a mirror or source is behind."""

    name: str
    """Name of the stream that is copied."""
    lag: int
    """Messages that it has and this one has not."""
    active_seconds_ago: int | None = None
    """When something was last heard of it; not there while it never was."""


class ConsumerStatus(ApiModel):
    """What the consumer's leader says."""

    name: str
    """Name of the consumer."""
    pending: int | None = None
    """Messages that wait for it, those that were delivered and not acknowledged included; two digits of it are exact. Not there while it
    has no leader."""


class StreamStatus(ApiModel):
    """What the stream's leader says."""

    name: str
    """Name of the stream."""
    leader: str | None = None
    """Server that leads it."""
    replicas: int
    """Copies that it has."""
    current: int
    """Copies that are up to date."""
    zones: int
    """Zones that those are in."""
    messages: int | None = None
    """Messages in it."""
    bytes: int | None = None
    """Bytes in it, of one copy."""
    dead_letters: int | None = None
    """Dead letters of it that wait for somebody."""
    consumers: Annotated[list[ConsumerStatus], _by_name(500)] = []
    """Its consumers: the declared ones, and those of backends' workers."""
    copies: Annotated[list[CopyStatus], _by_name(10)] = []
    """Its mirror, or its sources."""


class EndpointState(StrEnum):
    """How a webhook's endpoint is doing."""

    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"
    DISABLED = "Disabled"
    PAUSED = "Paused"


class WebhookStatus(ApiModel):
    """What the dispatchers say of an endpoint."""

    name: str
    """Name of the webhook."""
    state: EndpointState
    """State of its circuit breaker; `Disabled` after 410 or long failure, `Paused` while it is not enabled."""
    reason: str | None = None
    """Why it is not `Closed`, or what was wrong last."""
    disabled_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When it was disabled for what its endpoint answered, or did not; not there where the spec or a Secret keeps it from being
    delivered."""
    failing_since: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the first of the attempts was made of which none has succeeded; not there before they have failed for a minute."""
    success_rate: float | None = None
    """Part of the attempts of the last minutes that succeeded, from 0 to 1."""
    p95_milliseconds: int | None = None
    """95 of 100 answers came within this time."""
    consecutive_failures: int | None = None
    """Attempts in a row that failed, as that dispatcher saw it that saw most."""
    pending: int | None = None
    """Messages that wait for delivery, the ones that are tried again included."""
    oldest_pending_seconds: int | None = None
    """Age of the oldest of those."""


class OutboxState(StrEnum):
    """What becomes of an outbox's rows."""

    STARTING = "Starting"
    RELAYING = "Relaying"
    FAILING = "Failing"


class OutboxStatus(ApiModel):
    """What the dispatchers say of an outbox."""

    name: str
    """Name of the outbox."""
    state: OutboxState
    """`Relaying` while a dispatcher publishes its rows; `Failing` while none can."""
    reason: str | None = None
    """Why none can, or which row was put aside last."""
    pending: int | None = None
    """Rows that wait to be published, counted up to 100,000."""
    oldest_pending_seconds: int | None = None
    """Age of the next of those."""


class EventQueueStatus(StatusBase):
    """What the operator sees of a replicated queue."""

    replicas: int | None = None
    """Servers that exist."""
    ready_replicas: int | None = None
    """Servers that are ready."""
    selector: str | None = None
    """Label selector of the servers, for the scale subresource."""
    zones: int | None = None
    """Zones that ready servers are in."""
    servers: Annotated[list[Server], _by_name(50)] = []
    """The servers."""
    streams: Annotated[list[StreamStatus], _by_name(300)] = []
    """The declared streams."""
    webhooks: Annotated[list[WebhookStatus], _by_name(200)] = []
    """The declared webhooks."""
    outboxes: Annotated[list[OutboxStatus], _by_name(50)] = []
    """The declared outboxes."""
    ready_dispatchers: int | None = None
    """Dispatchers that are ready; not there where there is nothing for them to do."""
    loss_window_seconds: int | None = None
    """What a power cut of all zones at once can take back of what was acknowledged: 0 under `strict`."""
