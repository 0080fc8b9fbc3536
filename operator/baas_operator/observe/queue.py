"""What the cluster's objects and JetStream say about a replicated queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baas_operator.api.kinds import POD
from baas_operator.api.queue import Server, StreamStatus
from baas_operator.desired.queue import names
from baas_operator.observe.view import View, is_ready


@dataclass(frozen=True)
class Replica:
    """One copy of a stream, as the stream's leader sees it."""

    server: str
    current: bool
    lag: int = 0


@dataclass(frozen=True)
class StreamState:
    """A stream as it is. Its leader's own copy is always current."""

    config: Mapping[str, Any]
    leader: str | None
    replicas: tuple[Replica, ...] = ()

    def current_servers(self) -> list[str]:
        """Servers with an up-to-date copy."""
        return [*([self.leader] if self.leader else []), *(r.server for r in self.replicas if r.current and r.lag == 0)]


@dataclass(frozen=True)
class JetStreamState:
    """What JetStream's API said. `error` is the sentence of the last change that it refused."""

    meta_leader: str | None = None
    streams: Mapping[str, StreamState] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class QueueObservation:
    """A replicated queue as it is now. `jetstream` is None while its API does not answer."""

    servers: tuple[Server, ...]
    jetstream: JetStreamState | None

    @property
    def ready(self) -> list[Server]:
        """Servers that are ready."""
        return [each for each in self.servers if each.ready]

    @property
    def zones(self) -> set[str]:
        """Zones of the servers that are ready."""
        return {each.zone for each in self.ready if each.zone}

    def stream_status(self, name: str) -> StreamStatus | None:
        """The status of a stream, or None if JetStream has none of that name."""
        state = self.jetstream.streams.get(name) if self.jetstream else None
        if state is None:
            return None
        current = state.current_servers()
        zone = {each.name: each.zone for each in self.servers}
        return StreamStatus(
            name=name,
            leader=state.leader,
            replicas=int(state.config.get("num_replicas", 1)),
            current=len(current),
            zones=len({zone.get(server) for server in current} - {None}),
        )


def observe_queue(view: View) -> QueueObservation:
    """Read an EventQueue's children and what JetStream said."""
    state = view.external if isinstance(view.external, JetStreamState) else None
    meta = state.meta_leader if state else None
    servers = tuple(
        Server(
            name=pod["metadata"]["name"],
            zone=view.zone_of(pod),
            ready=is_ready(pod),
            meta_leader=pod["metadata"]["name"] == meta,
        )
        for pod in view.all(POD, names.COMPONENT)
    )
    return QueueObservation(servers=servers, jetstream=state)
