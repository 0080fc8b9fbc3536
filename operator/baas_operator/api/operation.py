"""Operation: one thing done once to one of the other kinds, with its steps and its measured result kept to be read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from baas_operator.api.common import BY_NAME, MAX_NAME_LENGTH, ApiModel, DnsLabel, StatusBase, rule, rules
from baas_operator.api.streams import ConsumerName, StreamName, Subject
from baas_operator.api.webhooks import WebhookName


class Action(StrEnum):
    """What can be done."""

    SWITCHOVER = "switchover"
    REPLAY_DEAD_LETTERS = "replay-dead-letters"
    PURGE_DEAD_LETTERS = "purge-dead-letters"
    ENABLE_WEBHOOK = "enable-webhook"
    ROTATE_KEYS = "rotate-keys"
    ROTATE_PASSWORDS = "rotate-passwords"


class TargetKind(StrEnum):
    """What it can be done to."""

    DATABASE_REPLICA = "DatabaseReplica"
    EVENT_QUEUE = "EventQueue"
    BAAS_INSTANCE = "BaasInstance"


class Target(ApiModel):
    """The object that it is done to, in the same namespace."""

    kind: TargetKind = TargetKind.DATABASE_REPLICA
    """Kind of the object."""
    name: Annotated[DnsLabel, Field(max_length=MAX_NAME_LENGTH)]
    """Name of the object."""


class HeaderMatch(ApiModel):
    """A header that a message has to have."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the header, in any case."""
    value: Annotated[str, Field(max_length=1000)]
    """Its value, whole."""


Moment = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]


class LetterFilter(ApiModel):
    """Which dead letters are meant: those that all of it fits; all when it is left out."""

    consumer: ConsumerName | None = None
    """Consumer that failed at them."""
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]+$", max_length=50)] | None = None
    """Why they are dead letters, such as `MaxDeliveries`, `Terminated` or `Swept`."""
    subject: Subject | None = None
    """Subject of the messages; `*` stands for one token, `>` at the end for the rest."""
    since: Moment | None = None
    """Those that were buried at this time or later."""
    until: Moment | None = None
    """Those that were buried before this time."""
    first_sequence: Annotated[int, Field(ge=1)] | None = None
    """From this sequence on, of the dead letters' own, as `kubectl baas dlq list` shows it."""
    last_sequence: Annotated[int, Field(ge=1)] | None = None
    """Up to this sequence."""
    headers: Annotated[
        list[HeaderMatch],
        Field(max_length=10, json_schema_extra=BY_NAME),
    ] = []
    """Headers that the messages have."""


class Parameters(ApiModel):
    """Parameters of the action."""

    to: Annotated[str, Field(max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")] | None = None
    """switchover: member that becomes the primary; the one with the least lag when left out."""
    stream: StreamName | None = None
    """Of dead letters: stream whose they are."""
    letters: LetterFilter | None = None
    """Of dead letters: which of them; all that there are when it begins when left out."""
    rate_per_second: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """replay-dead-letters: most messages a second; as fast as the stream takes them when left out."""
    limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Of dead letters: most of them, the oldest first."""
    webhook: WebhookName | None = None
    """enable-webhook: the webhook."""


class OperationSpec(ApiModel):
    """What is to be done. It can not be changed: create another Operation instead."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "an Operation can not be changed once it exists: create another one."),
            rule(
                "(self.action == 'switchover') == (self.target.kind == 'DatabaseReplica')",
                "switchover is done to a DatabaseReplica, and nothing else is: set target.kind.",
            ),
            rule(
                "self.action.startsWith('rotate-') == (self.target.kind == 'BaasInstance')",
                "rotate-keys and rotate-passwords are done to a BaasInstance, and nothing else is: set target.kind.",
            ),
            rule(
                "!self.action.startsWith('rotate-') || self.timeoutSeconds >= 600",
                "a rotation takes minutes, as all pods that use keys or passwords are replaced: set timeoutSeconds to 600 or more.",
            ),
            rule(
                "!self.action.endsWith('-dead-letters') || (has(self.parameters) && has(self.parameters.stream))",
                "say in parameters.stream whose dead letters are meant.",
            ),
            rule(
                "self.action.endsWith('-dead-letters') || !has(self.parameters) || !(has(self.parameters.stream) "
                "|| has(self.parameters.letters) || has(self.parameters.ratePerSecond) || has(self.parameters.limit))",
                "stream, letters, ratePerSecond and limit are about dead letters: leave them out.",
            ),
            rule(
                "self.action == 'switchover' || !has(self.parameters) || !has(self.parameters.to)",
                "parameters.to is the member that a switchover is made to: leave it out.",
            ),
            rule(
                "self.action == 'replay-dead-letters' || !has(self.parameters) || !has(self.parameters.ratePerSecond)",
                "parameters.ratePerSecond is for replay-dead-letters alone: leave it out.",
            ),
            rule(
                "(self.action == 'enable-webhook') == (has(self.parameters) && has(self.parameters.webhook))",
                "enable-webhook needs the name of the webhook in parameters.webhook, and nothing else takes it.",
            ),
        )
    )

    target: Target
    """The object that it is done to."""
    action: Action
    """What is done: `switchover` makes another member of a DatabaseReplica the primary; `replay-dead-letters` publishes dead letters of an
    EventQueue to the stream that they come from again, where all of its consumers get them; `purge-dead-letters` deletes them;
    `enable-webhook` forgets what a webhook was disabled for; `rotate-keys` has another key sign the tokens of a BaasInstance;
    `rotate-passwords` gives the roles of its database other passwords."""
    parameters: Parameters = Parameters()
    """Parameters of the action."""
    reason: Annotated[str, Field(max_length=500)] | None = None
    """Why, for people to read; the operator says it in the Operations that it makes itself."""
    timeout_seconds: Annotated[int, Field(ge=5, le=3600)] = 120
    """This long after its creation it is given up, which leaves everything as it then is; what was not begun by then never is."""


class OperationPhase(StrEnum):
    """How far it is; the last three are final. One at a time is carried out on an object: the others are `Pending`."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    REFUSED = "Refused"
    FAILED = "Failed"

    @property
    def over(self) -> bool:
        """Whether nothing comes after it."""
        return self in (OperationPhase.SUCCEEDED, OperationPhase.REFUSED, OperationPhase.FAILED)


class OperationStep(ApiModel):
    """One step of it."""

    name: str
    """Name of the step."""
    started_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When it began."""
    finished_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When it was done."""


class OperationResult(ApiModel):
    """What came of it."""

    from_member: str | None = None
    """switchover: the primary before."""
    to_member: str | None = None
    """switchover: the primary after; only of one that succeeded."""
    duration_seconds: float | None = None
    """From the beginning to the end in seconds, as the operator saw it; of a switchover, to the new primary being routed to."""
    key: str | None = None
    """rotate-keys: id of the key that signs now; only of one that succeeded."""
    previous_key: str | None = None
    """rotate-keys: id of the key that signed before."""
    retires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """rotate-keys, rotate-passwords: when tokens, or passwords, of before count no more, as it was planned at the end."""
    logins: list[str] | None = None
    """rotate-passwords: names that are logged in to the database with now; only of one that succeeded."""
    selected: int | None = None
    """Of dead letters: how many are meant, as far as they were looked at."""
    replayed: int | None = None
    """replay-dead-letters: how many were published again so far; an operator that is killed forgets those of two seconds."""
    purged: int | None = None
    """purge-dead-letters: how many were deleted so far, as above."""
    left: int | None = None
    """Of dead letters: how many the stream has left, whether or not they are meant."""


class LetterProgress(ApiModel):
    """How far an Operation on dead letters is. What is meant is decided first, and is not what comes later: a message that fails again is
    another dead letter."""

    looked_at: int = 0
    """Up to this sequence they were looked at, in the step that is at work."""
    last: int | None = None
    """Sequence of the last one that is meant, once that is decided."""


class OperationStatus(StatusBase):
    """How far it is and what came of it."""

    phase: OperationPhase | None = None
    """How far it is."""
    steps: Annotated[
        list[OperationStep],
        Field(json_schema_extra=BY_NAME),
    ] = []
    """Its steps so far."""
    candidate: str | None = None
    """switchover: member that is to become the primary, once that is decided."""
    letters: LetterProgress | None = None
    """Of dead letters: how far it is."""
    result: OperationResult | None = None
    """What came of it."""
