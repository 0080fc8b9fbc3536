"""What the cluster's objects and JetStream say about a replicated queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from baas_operator.api.kinds import POD
from baas_operator.api.queue import ConsumerStatus, CopyStatus, Server, StreamStatus
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dead_letters import dead_letter_stream
from baas_operator.desired.queue.room import Held
from baas_operator.observe.dispatchers import DispatcherReport
from baas_operator.observe.view import View, is_ready


@dataclass(frozen=True)
class Replica:
    """One copy of a stream, as the stream's leader sees it. `offline`: whether that server is known to be gone, and not only silent."""

    server: str
    current: bool
    lag: int = 0
    offline: bool = False

    @property
    def level(self) -> bool:
        """Whether it has all that its leader has."""
        return self.current and self.lag == 0


@dataclass(frozen=True)
class CopyState:
    """A mirror's origin, or one of a stream's sources. `lag` is from when something was last heard of it, `active_seconds` ago; None:
    never."""

    name: str
    lag: int
    active_seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Group:
    """Servers that keep copies of one thing and agree on it by Raft. Its leader's own copy is always current. `moving`: its members are
    being changed."""

    leader: str | None
    replicas: tuple[Replica, ...] = ()
    moving: bool = False

    def servers(self) -> list[str]:
        """Servers with a copy."""
        return [*([self.leader] if self.leader else []), *(each.server for each in self.replicas)]

    def current_servers(self) -> list[str]:
        """Servers with an up-to-date copy."""
        return [*([self.leader] if self.leader else []), *(each.server for each in self.replicas if each.level)]

    def behind(self) -> str | None:
        """A server whose copy is not level; its leader, where there is none, is called just that."""
        if self.leader is None:
            return "a leader"
        return next((each.server for each in self.replicas if not each.level), None)


@dataclass(frozen=True)
class ConsumerState(Group):
    """A consumer as it is. `idle_seconds`: for so long nobody has asked it for messages; None while somebody waits for some."""

    config: Mapping[str, Any] = field(default_factory=dict)
    idle_seconds: float | None = None
    pending: int | None = None
    """Messages that wait for it, those that are under way included; None while that was not told."""


@dataclass(frozen=True)
class StreamState:
    """A stream as it is. Its leader's own copy is always current."""

    config: Mapping[str, Any]
    leader: str | None
    replicas: tuple[Replica, ...] = ()
    moving: bool = False
    led_seconds: float | None = None
    """For so long its leader has led it."""
    messages: int | None = None
    bytes: int | None = None
    oldest: str | None = None
    """When its first message was stored, in RFC 3339; None where it has none."""
    copies: tuple[CopyState, ...] = ()
    consumers: Mapping[str, ConsumerState] = field(default_factory=dict)

    @property
    def group(self) -> Group:
        """The servers that have it."""
        return Group(self.leader, self.replicas, self.moving)

    def current_servers(self) -> list[str]:
        """Servers with an up-to-date copy."""
        return self.group.current_servers()


@dataclass(frozen=True)
class JetStreamState:
    """What JetStream's API said. `error` is the sentence of the last change that it refused. `silent`: streams that are there, and whose
    leader did not answer or is not there. `meta`: the servers that know which streams there are, None while that was not told."""

    meta_leader: str | None = None
    streams: Mapping[str, StreamState] = field(default_factory=dict)
    error: str | None = None
    silent: frozenset[str] = frozenset()
    meta: Group | None = None
    dispatchers: tuple[DispatcherReport, ...] = ()
    """What those dispatchers say that are ready and answered."""

    def groups(self) -> Iterator[tuple[str, str, str | None, Group]]:
        """What people call it, stream, consumer (None: the stream itself) and servers of all that is replicated."""
        for name, stream in sorted(self.streams.items()):
            yield f"stream {name}", name, None, stream.group
            for consumer, state in sorted(stream.consumers.items()):
                yield f"consumer {consumer} of stream {name}", name, consumer, state


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

    def zone_of(self, server: str) -> str | None:
        """Zone of a server."""
        return next((each.zone for each in self.servers if each.name == server), None)

    def held(self) -> dict[str, Held]:
        """What each stream may hold, and holds."""
        found = self.jetstream.streams if self.jetstream else {}
        return {name: Held(int(each.config.get("max_bytes", -1)), each.bytes or 0) for name, each in found.items()}

    def stream_status(self, name: str, consumers: Iterable[str] = ()) -> StreamStatus | None:
        """The status of a stream and of these consumers of it, or None if JetStream has none of that name, or tells nothing of it."""
        state = self.jetstream.streams.get(name) if self.jetstream else None
        if self.jetstream is None or state is None:
            return None
        current = state.current_servers()
        letters = self.jetstream.streams.get(dead_letter_stream(name))
        return StreamStatus(
            name=name,
            leader=state.leader,
            replicas=int(state.config.get("num_replicas", 1)),
            current=len(current),
            zones=len({self.zone_of(server) for server in current} - {None}),
            messages=state.messages,
            bytes=state.bytes,
            dead_letters=letters.messages if letters else None,
            consumers=[
                ConsumerStatus(name=each, pending=rounded(found.pending)) for each in consumers if (found := state.consumers.get(each))
            ],
            copies=[
                CopyStatus(
                    name=each.name, lag=each.lag, active_seconds_ago=None if each.active_seconds is None else int(each.active_seconds)
                )
                for each in state.copies
            ],
        )


def rounded(number: int | None) -> int | None:
    """A number with two digits that are exact, and never less than it was: who goes by it needs no more, and what moves seldom is seldom
    written."""
    if number is None or number < 100:
        return number
    step = int(10 ** (len(str(number)) - 2))
    return -(-number // step) * step


def observe_queue(view: View) -> QueueObservation:
    """Read an EventQueue's children and what JetStream said."""
    state = view.external if isinstance(view.external, JetStreamState) else None
    meta = state.meta_leader if state else None
    told = state is not None and bool(state.streams)
    leads = [each.leader for each in state.streams.values()] if state else []
    servers = tuple(
        Server(
            name=pod["metadata"]["name"],
            zone=view.zone_of(pod),
            ready=is_ready(pod),
            meta_leader=pod["metadata"]["name"] == meta,
            leads=leads.count(pod["metadata"]["name"]) if told else None,
        )
        for pod in view.all(POD, names.COMPONENT)
    )
    return QueueObservation(servers=servers, jetstream=state)
