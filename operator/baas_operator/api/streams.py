"""What an EventQueue keeps: streams and their consumers, dead letters, key-value and object stores, copies of streams from elsewhere."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import (
    BY_NAME,
    MAX_NAME_LENGTH,
    ApiModel,
    DeletionPolicy,
    DnsLabel,
    NamespaceName,
    Quantity,
    SecretRef,
    rule,
    rules,
)

MAX_STREAM_AGE_HOURS = 24 * 365 * 10
RESERVED_PREFIX = "BAAS_"
"""Streams of our own: dead letters, advisories. `_BAAS.` begins their subjects."""

StreamName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-]+$",
        max_length=50,
        json_schema_extra=rules(
            rule(
                "!self.startsWith('BAAS_') && !self.startsWith('KV_') && !self.startsWith('OBJ_')",
                "names that begin with BAAS_, KV_ and OBJ_ belong to dead letters, key-value and object stores: choose another.",
            )
        ),
    ),
]
"""Name of a stream or store: letters, digits, `-` and `_`; 50, as the names of what belongs to it are longer."""
ConsumerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=50)]
_WORD = r"[^\s.\x00-\x1f\x7f]+"
Subject = Annotated[str, Field(max_length=255, pattern=rf"^{_WORD}(\.{_WORD})*$")]
_WILDCARD = rule(
    "self.all(s, !s.contains('>') || s == '>' || (s.endsWith('.>') && s.indexOf('>') == size(s) - 1))",
    "in subjects '>' may only stand alone at the end, as in 'orders.>'.",
)
_RESERVED = rule(
    "self.all(s, !s.startsWith('$') && !s.startsWith('_'))",
    "subjects may not begin with '$' or '_': those belong to NATS and to this operator.",
)
_NAMED = rule(
    "self.all(s, !s.startsWith('*') && !s.startsWith('>'))",
    "a user's subjects may not begin with '*' or '>': those would also match what belongs to NATS. Give each prefix, as in 'orders.>'.",
)
Subjects = Annotated[
    list[Subject],
    Field(
        max_length=50,
        json_schema_extra={"x-kubernetes-list-type": "set"}
        | rules(
            _RESERVED,
            _WILDCARD,
            rule(
                "self.all(s, s != '>')",
                "subjects may not be '>' alone: it would also catch the replies of NATS itself. Give a prefix, as in 'orders.>'.",
            ),
        ),
    ),
]
UserSubjects = Annotated[
    list[Subject],
    Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"} | rules(_RESERVED, _WILDCARD, _NAMED)),
]
Filters = Annotated[list[Subject], Field(max_length=10, json_schema_extra={"x-kubernetes-list-type": "set"} | rules(_WILDCARD))]


class Retention(StrEnum):
    """When a stream lets go of a message (JetStream's retention policies)."""

    LIMITS = "limits"
    INTEREST = "interest"
    WORKQUEUE = "workqueue"


class Discard(StrEnum):
    """What a full stream does."""

    OLD = "old"
    NEW = "new"


class Deliver(StrEnum):
    """Where a new consumer begins."""

    ALL = "all"
    NEW = "new"
    LAST = "last"


class Consumer(ApiModel):
    """A durable pull consumer of a stream: who reads under its name shares its messages with others who do."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.backoffSeconds) || size(self.backoffSeconds) == 0 || (has(self.maxDeliveries) && "
                "self.maxDeliveries >= size(self.backoffSeconds))",
                "backoffSeconds has more steps than there are deliveries: set maxDeliveries to their number at least.",
            )
        )
    )

    name: ConsumerName
    """Name of the consumer."""
    filters: Filters = []
    """Subjects that it gets; all of the stream's when left out."""
    deliver: Annotated[Deliver, Field(json_schema_extra=rules(rule(
        "self == oldSelf", "deliver says where a consumer begins, and it has begun: create one of another name.",
    )))] = Deliver.ALL  # fmt: skip
    """Where it begins: with `all` that is kept, with `new` messages, or with the `last` one."""
    ack_wait_seconds: Annotated[int, Field(ge=1, le=86400)] = 30
    """For how long a message that was delivered waits for its acknowledgement before it is delivered again."""
    max_deliveries: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How often a message is delivered at the most; the stream's `deadLetter.maxDeliveries` when left out, or else without end."""
    backoff_seconds: Annotated[list[Annotated[int, Field(ge=1, le=604800)]], Field(max_length=20)] = []
    """How long the first, second, … delivery waits for its acknowledgement, in place of `ackWaitSeconds`; the last goes on."""
    max_ack_pending: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Messages that may be under way without an acknowledgement, over all who read."""


class DeadLetter(ApiModel):
    """What becomes of messages that nobody could process: a copy with the reason, in a stream of its own."""

    max_deliveries: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often a message is delivered before it is one, where its consumer does not say."""
    max_age_hours: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS)] = 720
    """For how long dead letters are kept."""
    max_size: Quantity | None = None
    """Size limit of the dead letters on each server. When they are full, messages stay where they were until there is room."""
    alarm_hours: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS)] = 72
    """This long before the oldest dead letter expires, the condition `DeadLettersExpiring` says so."""


class OtherQueue(ApiModel):
    """A queue to copy from: another EventQueue's, or any NATS server with JetStream."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.name) != has(self.url)",
                "give either the name of an EventQueue (and its namespace, if that is another) or the url of a NATS server.",
            ),
            rule(
                "has(self.url) == has(self.domain)",
                "a url needs the JetStream domain of the servers there, and nothing else does; an EventQueue's is NAMESPACE_NAME.",
            ),
            rule("!has(self.namespace) || has(self.name)", "a namespace belongs to the name of an EventQueue: give that, too."),
            rule(
                "has(self.credentials) || (has(self.name) && !has(self.namespace))",
                "another namespace's queue or another server lets nobody in without credentials: name the Secret that holds them.",
            ),
            rule(
                "!has(self.url) || self.url.startsWith('tls://')",
                "url has to begin with tls://: otherwise the password, and all that is copied, would cross the network in clear.",
            ),
        )
    )

    name: Annotated[DnsLabel, Field(max_length=MAX_NAME_LENGTH)] | None = None
    """Name of an EventQueue."""
    namespace: NamespaceName | None = None
    """Namespace of that EventQueue; this one's when left out."""
    url: Annotated[str, Field(pattern=r"^(nats|tls)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$", max_length=300)] | None = None
    """Address at which NATS servers take leaf nodes, such as `tls://queue.eu.example:7422`; an EventQueue's do at port 7422."""
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)] | None = None
    """JetStream domain of those servers: `NAMESPACE_NAME` of an EventQueue, elsewhere what their configuration says."""
    credentials: SecretRef | None = None
    """Secret with `username`, `password` and `ca.crt`, the authority of those servers, the only ones that are told the password: that of a
    user of the other EventQueue whose `copies` name the streams, copied here. Where a public authority signed it has, in place of `ca.crt`,
    the key `url`, which is the address given here. An EventQueue beside this one needs none."""


class Copy(ApiModel):
    """A stream that messages are copied from."""

    stream: StreamName
    """Name of the stream there."""
    queue: OtherQueue | None = None
    """Queue that it is in; this one when left out."""
    filters: Filters = []
    """Subjects that are copied; all when left out."""


class Stream(ApiModel):
    """One durable stream."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.mirror) != (has(self.subjects) && size(self.subjects) > 0) || (has(self.sources) && size(self.sources) > 0)",
                "a stream needs subjects, or a mirror, or sources; a mirror takes no subjects, as it is a copy.",
            ),
            rule(
                "!has(self.mirror) || !has(self.sources) || size(self.sources) == 0",
                "a stream is a mirror of one stream or is fed from several sources: give one of the two.",
            ),
            rule(
                "!has(self.mirror) || !has(self.deadLetter)",
                "a mirror is a copy that nothing is taken from: declare deadLetter where its messages come from.",
            ),
            rule(
                "has(self.mirror) == has(oldSelf.mirror)",
                "a stream can not become a mirror, nor a mirror a stream: create one of another name, and delete this one.",
            ),
        )
    )

    name: StreamName
    """Name of the stream: letters, digits, `-` and `_`."""
    subjects: Subjects = []
    """Subjects whose messages the stream keeps; `*` stands for one token, `>` at the end for the rest."""
    retention: Annotated[Retention, Field(json_schema_extra=rules(rule(
        "self == oldSelf || (self != 'workqueue' && oldSelf != 'workqueue')",
        "retention can not be changed to or from workqueue: create a stream of another name and move the messages.",
    )))] = Retention.LIMITS  # fmt: skip
    """`limits` keeps messages until a limit is met, `interest` until every consumer has them, `workqueue` until one has."""
    replicas: Annotated[int, Field(json_schema_extra={"enum": [1, 3, 5]})] | None = None
    """Copies, each on a server and in a zone of its own: three, or one where there is one server, when left out. Five take five zones. With
    one copy it is away as long as its server is, and goes with its volume."""
    max_age_hours: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS)] | None = None
    """Messages older than this go; unlimited when left out."""
    max_size: Quantity | None = None
    """Size limit of the stream on each server. Left out, it shares what no other stream has set aside for itself."""
    max_messages: Annotated[int, Field(ge=1)] | None = None
    """Most messages that it keeps; unlimited when left out."""
    max_messages_per_subject: Annotated[int, Field(ge=1)] | None = None
    """Most messages of one subject that it keeps; unlimited when left out."""
    max_message_size: Quantity | None = None
    """Largest message that is taken, 1Mi when left out, as the server has it."""
    discard: Discard = Discard.OLD
    """What a full stream does: drop the `old`, or refuse the `new`."""
    duplicate_window_seconds: Annotated[int, Field(ge=1, le=86400)] = 120
    """For how long a message id that was seen is refused again."""
    consumers: Annotated[
        list[Consumer],
        Field(max_length=40, json_schema_extra=BY_NAME),
    ] = []
    """Durable consumers. One that is taken out of the list is deleted, with its place in the stream, where `deletionPolicy` is `Delete`."""
    dead_letter: DeadLetter | None = None
    """Keeps what nobody could process. What no webhook's endpoint takes is kept in any case."""
    mirror: Copy | None = None
    """Makes it a copy of another stream, which takes no messages of its own."""
    sources: Annotated[list[Copy], Field(max_length=10)] = []
    """Streams whose messages are added to its own."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What becomes of the stream, and of consumers, once taken out of the spec: `Retain` leaves them as they are."""

    def others(self) -> list[OtherQueue]:
        """Queues that it is copied from."""
        return [each.queue for each in [*([self.mirror] if self.mirror else []), *self.sources] if each.queue is not None]


class KeyValue(ApiModel):
    """A key-value store: a bucket of NATS."""

    name: StreamName
    """Name of the bucket."""
    history: Annotated[int, Field(ge=1, le=64)] = 1
    """Values of a key that are kept, the last one included."""
    ttl_seconds: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS * 3600)] | None = None
    """Values older than this go; never when left out."""
    max_size: Quantity | None = None
    """Size limit on each server; a full store refuses new values."""
    max_value_size: Quantity | None = None
    """Largest value that is taken."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What becomes of it once taken out of the spec."""


class ObjectStore(ApiModel):
    """An object store of NATS: values of any size, in pieces."""

    name: StreamName
    """Name of the bucket."""
    ttl_seconds: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS * 3600)] | None = None
    """Objects older than this go; never when left out."""
    max_size: Quantity | None = None
    """Size limit on each server; a full store refuses new objects."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What becomes of it once taken out of the spec."""


class QueueUser(ApiModel):
    """A user with no more rights than it is given here. The Secret `NAME-user-USER` has its password and URI."""

    name: Annotated[
        DnsLabel,
        Field(max_length=16, json_schema_extra=rules(rule(
            "!(self in ['admin', 'app', 'system', 'route', 'agent', 'dispatcher']) && !self.endsWith('-alt')",
            "admin, app, system, route, agent, dispatcher and names that end with -alt are the queue's own: choose another name.",
        ))),
    ]  # fmt: skip
    """Name of the user, mostly that of the component that it is for."""
    publish: UserSubjects = []
    """Subjects that it may publish to."""
    subscribe: UserSubjects = []
    """Subjects that it may subscribe to, without a stream in between."""
    consume: Annotated[list[StreamName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Declared streams whose declared consumers it may read from."""
    consumers: Annotated[list[ConsumerName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Consumers of those streams that it may read from; all that are declared when left out."""
    key_values: Annotated[list[StreamName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Declared key-value stores that it may read, write and watch."""
    object_stores: Annotated[list[StreamName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Declared object stores that it may read and write."""
    copies: Annotated[list[StreamName], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Declared streams that another queue may copy as this user, by a mirror or a source. It can read all of them then."""
    private_inbox: bool = False
    """Replies come to `_INBOX_NAME.>` alone, where no other user listens; its clients have to be told so (`inbox prefix`)."""
