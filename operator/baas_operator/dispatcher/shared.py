"""What all webhooks of a dispatcher share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver
from nats.aio.client import Client as Nats

from baas_operator.dead_letters.count import COUNT_SECONDS
from baas_operator.dead_letters.service import SWEEP_SECONDS
from baas_operator.dispatcher.addresses import Guard
from baas_operator.dispatcher.config import MakeGuard
from baas_operator.dispatcher.resolver import ApartResolver
from baas_operator.dispatcher.state import State


@dataclass(frozen=True)
class Timing:
    """Times in seconds, in one place for their relations."""

    slack: float = 5.0
    """What an attempt may take beyond the endpoint's time limit, until JetStream delivers its message again."""
    expires: float = 10.0
    """How long JetStream keeps a request for messages. It may go on giving messages to a dead dispatcher's for so long."""
    heartbeat: float = 2.5
    """How often it says that it still has one. After twice that and a second it has none any more: the consumer's leader is gone."""
    look: float = 5.0
    """How often what other dispatchers noted of an endpoint is read."""
    renew: float = 2.0
    """How often the lease of an ordered webhook is renewed."""
    lease: float = 8.0
    """Nothing is begun once it was not renewed for so long."""
    place: float = 30.0
    """How often it is looked whether the consumer is there of a webhook that no messages are asked for."""
    reload: float = 3.0
    """How often the configuration is read."""
    failing: float = 60.0
    """How long nothing must have succeeded before that is noted."""
    sweep: float = SWEEP_SECONDS
    """How often messages are looked for that were given up without a word."""
    count: float = COUNT_SECONDS
    """How often dead letters are counted."""

    def ack_wait(self, timeout_seconds: float) -> float:
        """How long JetStream waits for what becomes of a message."""
        return timeout_seconds + self.slack

    def silence(self, timeout_seconds: float) -> float:
        """How long the holder of a lease must have been silent before another takes it: by then none of its attempts is under way, and all
        that was delivered to it, or to its last request for messages, waits to be delivered again."""
        return self.lease + self.expires + self.ack_wait(timeout_seconds)


@dataclass(frozen=True)
class Shared:
    """What all webhooks share. `where` is NAMESPACE and NAME of the queue, `holder` a name of this process that no other has."""

    connection: Nats
    state: State
    where: tuple[str, str]
    holder: str
    guard: MakeGuard = Guard
    resolver: Callable[[], AbstractResolver] = ApartResolver
    timing: Timing = Timing()
