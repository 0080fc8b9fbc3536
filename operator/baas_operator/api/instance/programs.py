"""Programs of the user's own that belong to a backend: workers that read a stream, and jobs that run by the clock; and the streams of the
queue that is made for it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import ApiModel, DeletionPolicy, DnsLabel, rule, rules
from baas_operator.api.instance.component import MAX_REPLICAS, SCALING_RULES, Image, PodOptions, Words
from baas_operator.api.streams import (
    MAX_STREAM_AGE_HOURS,
    ConsumerName,
    DeadLetter,
    Retention,
    StreamName,
    Subject,
    Subjects,
    UserSubjects,
)

ProgramName = Annotated[DnsLabel, Field(max_length=20)]


class QueueStream(ApiModel):
    """A stream of the queue that is made for a backend, in the words of an EventQueue, which has more of them."""

    name: StreamName
    """Name of the stream."""
    subjects: Annotated[Subjects, Field(min_length=1)]
    """Subjects whose messages the stream keeps; `*` stands for one token, `>` at the end for the rest."""
    retention: Annotated[Retention, Field(json_schema_extra=rules(rule(
        "self == oldSelf || (self != 'workqueue' && oldSelf != 'workqueue')",
        "retention can not be changed to or from workqueue: create a stream of another name and move the messages.",
    )))] = Retention.LIMITS  # fmt: skip
    """`limits` keeps messages until a limit is met, `interest` until every consumer has them, `workqueue` until one has."""
    max_age_hours: Annotated[int, Field(ge=1, le=MAX_STREAM_AGE_HOURS)] | None = None
    """Messages older than this go; unlimited when left out."""
    dead_letter: DeadLetter | None = None
    """Keeps what nobody could process."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What becomes of the stream, and of its consumers, once taken out of the spec: `Retain` leaves them as they are."""


class BacklogScaling(ApiModel):
    """How workers scale with what waits for them."""

    model_config = SCALING_RULES

    min_replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Pods when nothing waits; 0 lets the last one go."""
    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 10
    """Pods at the most."""
    backlog_per_replica: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Messages that may wait for each pod before there is another; those that are under way count."""


class Program(PodOptions):
    """What workers and jobs have in common. The backend's credentials are files in /etc/baas/credentials, which follow a rotation."""

    name: ProgramName
    """Name of the program."""
    image: Image
    """Its image."""
    command: Words = []
    """Command; the image's own when left out."""
    args: Words = []
    """Arguments."""
    user_id: Annotated[int, Field(ge=1, le=2_147_483_647)] = 1000
    """User that it runs as, whatever the image says; root is nobody."""
    service_key: bool = True
    """Give it the key for which rules do not count, too: `keys/service_role` (parse: `keys/masterKey`)."""
    database: bool = False
    """Give it the login of the role that owns the backend's database, `database/uri` among others: it may do everything there."""
    publish: Annotated[UserSubjects, Field(max_length=20)] = []
    """Subjects of the queue that it may publish to."""


class Worker(Program):
    """A program that reads a stream of the instance's queue, in as many pods as are wanted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.consumer) || !(has(self.filter) || has(self.ackWaitSeconds))",
                "a worker with a consumer reads what that is declared to in the EventQueue: leave filter and ackWaitSeconds out, or "
                "leave consumer out.",
            )
        )
    )

    stream: StreamName
    """Stream that it reads."""
    consumer: ConsumerName | None = None
    """A consumer that the EventQueue declares, for its pods to share. When left out there is one of its own, `INSTANCE_WORKER`."""
    filter: Subject | None = None
    """Subjects that it reads, of its own consumer; all of the stream's when left out."""
    ack_wait_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """For how long its own consumer waits for a message's acknowledgement before it is delivered again; 30 when left out."""
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 2
    """Pods, spread over the zones."""
    autoscaling: BacklogScaling | None = None
    """Have the number of pods follow what waits. `replicas` is then no more than where it begins."""
    grace_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """How long a pod may take to finish what it has in hand after SIGTERM."""


class Concurrency(StrEnum):
    """What happens when a job is due while its last run goes on."""

    FORBID = "Forbid"
    REPLACE = "Replace"
    ALLOW = "Allow"


class ScheduledJob(Program):
    """A program that runs by the clock."""

    schedule: Annotated[str, Field(pattern=r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( \S+){4})$", max_length=100)]
    """When: five fields of cron, or `@daily` and the like."""
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+/-]+$", max_length=60)] = "Etc/UTC"
    """Time zone of the schedule."""
    concurrency: Concurrency = Concurrency.FORBID
    """What happens when it is due while its last run goes on."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """How often a run that failed is tried again. What a drain or a lost node ends does not count."""
    timeout_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 3600
    """How long a run may take, all its tries together."""
