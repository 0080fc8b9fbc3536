"""EventQueue: replicated durable queues on NATS JetStream, one server a zone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from baas_operator.api.common import ApiModel, DeletionPolicy, Quantity, Resources, StatusBase, StorageSpec, rule, rules

MAX_STREAM_AGE_HOURS = 24 * 365 * 10


class QueueDurability(StrEnum):
    """When an acknowledged message is on disk."""

    STRICT = "strict"
    BALANCED = "balanced"


class Retention(StrEnum):
    """When a stream lets go of a message (JetStream's retention policies)."""

    LIMITS = "limits"
    INTEREST = "interest"
    WORKQUEUE = "workqueue"


class Discard(StrEnum):
    """What a full stream does."""

    OLD = "old"
    NEW = "new"


class Stream(ApiModel):
    """One durable stream."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
    """Name of the stream: letters, digits, `-` and `_`."""
    subjects: Annotated[
        list[Annotated[str, Field(max_length=255, pattern=r"^[^\s.]+(\.[^\s.]+)*$")]],
        Field(
            min_length=1,
            max_length=50,
            json_schema_extra={"x-kubernetes-list-type": "set"}
            | rules(
                rule(
                    "self.all(s, !s.startsWith('$'))",
                    "subjects may not begin with '$': those belong to NATS itself.",
                ),
                rule(
                    "self.all(s, !s.contains('>') || s == '>' || (s.endsWith('.>') && s.indexOf('>') == size(s) - 1))",
                    "in subjects '>' may only stand alone at the end, as in 'orders.>'.",
                ),
                rule(
                    "self.all(s, s != '>')",
                    "subjects may not be '>' alone: it would also catch the replies of NATS itself. Give a prefix, as in 'orders.>'.",
                ),
            ),
        ),
    ]
    """Subjects whose messages the stream keeps; `*` stands for one token, `>` at the end for the rest."""
    retention: Annotated[Retention, Field(json_schema_extra=rules(rule(
        "self == oldSelf || (self != 'workqueue' && oldSelf != 'workqueue')",
        "retention can not be changed to or from workqueue: create a stream of another name and move the messages.",
    )))] = Retention.LIMITS  # fmt: skip
    """`limits` keeps messages until a limit is met, `interest` until every consumer has them, `workqueue` until one has."""
    max_age_hours: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS)] | None = None
    """Messages older than this go; unlimited when left out."""
    max_size: Quantity | None = None
    """Size limit of the stream on each server; limited by the volume alone when left out."""
    max_message_size: Quantity | None = None
    """Largest message that is taken, 1Mi when left out, as the server has it."""
    discard: Discard = Discard.OLD
    """What a full stream does: drop the `old`, or refuse the `new`."""
    duplicate_window_seconds: Annotated[int, Field(ge=1, le=86400)] = 120
    """For how long a message id that was seen is refused again."""


class EventQueueSpec(ApiModel):
    """What the user wants of a replicated queue; an empty spec is highly available."""

    replicas: Annotated[int, Field(json_schema_extra={"enum": [1, 3, 5]} | rules(rule(
        "self >= oldSelf", "replicas can not shrink yet: streams would lose their peers. Keep it, or create a new EventQueue.",
    )))] = 3  # fmt: skip
    """Servers; an odd number, as Raft needs a majority."""
    durability: QueueDurability = QueueDurability.STRICT
    """`strict` has every acknowledged message on the disks of a majority; `balanced` syncs every second and may lose that much when
    all zones lose power at once."""
    storage: StorageSpec = StorageSpec()
    """The volume of each server."""
    streams: Annotated[
        list[Stream],
        Field(max_length=100, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = []
    """Streams to keep. One that is taken out of the list stays as it is, with its messages."""
    resources: Resources = Resources()
    """CPU and memory of each server."""
    image: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Image of the servers; the operator's own default when left out."""
    suspend: bool = False
    """While true the operator leaves everything as it is; the queue itself goes on."""
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
    servers: Annotated[
        list[Server],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = []
    """The servers."""
    streams: Annotated[
        list[StreamStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ] = []
    """The declared streams."""
    loss_window_seconds: int | None = None
    """What a power cut of all zones at once can take back of what was acknowledged: 0 under `strict`."""
