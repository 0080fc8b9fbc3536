"""What `kubectl baas status` knows: the stable structure behind its tree, and what `-o json` and `-o yaml` print.

Fields are camelCase on the wire, as in the API. They are only ever added; a field that changes its meaning gets another name.

    ready: bool                     everything below is Ready, and there is an operator that would say if it were not
    operator: Operator | null       `running`, and `lastSeen` (RFC 3339 | null); null where that is not known, as without permission
    instances: [Instance]           BaasInstances, each with the database and the queue that it uses
    databases: [Database]           DatabaseReplicas that no shown instance uses
    queues: [Queue]                 EventQueues that no shown instance uses

Every object has `kind`, `namespace`, `name`, `exists` (false: named by an instance, and not there), `ready`, `reason` and
`message` (why it is not ready), `suspended`, `createdAt`, `conditions` (as in its status); further, what its status has.
"""

from __future__ import annotations

from baas_operator.api.common import ApiModel, Condition
from baas_operator.api.database import Member
from baas_operator.api.instance.status import ComponentStatus
from baas_operator.api.operation import OperationResult
from baas_operator.api.queue import Server, StreamStatus


class OperationView(ApiModel):
    """An Operation, newest first in its target's list."""

    name: str
    action: str
    phase: str
    reason: str | None = None
    message: str | None = None
    created_at: str
    result: OperationResult | None = None

    @property
    def running(self) -> bool:
        """Whether it is not over yet."""
        return self.phase in ("Pending", "Running")


class ObjectView(ApiModel):
    """What all objects have."""

    kind: str
    namespace: str
    name: str
    exists: bool = True
    ready: bool
    reason: str | None = None
    message: str | None = None
    suspended: bool = False
    created_at: str | None = None
    conditions: list[Condition] = []


class DatabaseView(ObjectView):
    """A DatabaseReplica. `replicas` are wanted, `readyReplicas` there."""

    replicas: int | None = None
    ready_replicas: int = 0
    zones: int = 0
    primary: str | None = None
    members: list[Member] = []
    operations: list[OperationView] = []


class QueueView(ObjectView):
    """An EventQueue. `replicas` are wanted, `readyReplicas` there."""

    replicas: int | None = None
    ready_replicas: int = 0
    zones: int = 0
    loss_window_seconds: int | None = None
    servers: list[Server] = []
    streams: list[StreamStatus] = []


class InstanceView(ObjectView):
    """A BaasInstance with what it stands on."""

    engine: str | None = None
    endpoint: str | None = None
    components: list[ComponentStatus] = []
    database: DatabaseView
    queue: QueueView


class OperatorView(ApiModel):
    """Whether somebody keeps what is shown up to date. `lastSeen` is when it last renewed its Lease."""

    running: bool
    last_seen: str | None = None


class Fleet(ApiModel):
    """All that is shown."""

    ready: bool
    operator: OperatorView | None = None
    instances: list[InstanceView] = []
    databases: list[DatabaseView] = []
    queues: list[QueueView] = []

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.instances or self.databases or self.queues)
